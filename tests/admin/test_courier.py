"""The courier between workers that die and an endpoint that says what it wants."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.admin.asker import Process, Seat, Silence
from relay.admin.courier.courier import HttpCourier
from relay.admin.courier.letters import MAX_HELD, Answer
from relay.inquiries.webhooks import AskEvents, EventsKept, Kept, OrderEvents, Taken
from relay.process.eventloop import run_to_its_end
from relay.settings.webhooks import WebhookSettings
from relay.webhooks.events import Event, Place, UserOnline, encode, id_of
from tests.outside.receiver import SECRET

DEADLINE_S = 10.0


class FakeWorker:
    """Keeps events; what it is told of them it does when it sweeps, unless it dies before."""

    def __init__(self) -> None:
        self.incarnation = 1
        self.rounds = 0
        self.events: dict[Place, bytes] = {}
        self.buried: dict[Place, str] = {}
        self.told: list[Any] = []
        self.is_up = True

    def note(self, seq: int) -> Place:
        place = Place(seq, f"u{seq}")
        self.events[place] = encode(Event(1000, UserOnline()))
        return place

    def sweep(self) -> None:
        for each in self.told:
            event = self.events.pop(Place(each.seq, each.owner), None)
            if each.what == "bury" and event is not None:
                self.buried[Place(each.seq, each.owner)] = each.reason
        self.told.clear()

    def die(self) -> None:
        self.told.clear()
        self.incarnation += 1

    def answer(self, inquiry: Any) -> Any:
        match inquiry:
            case AskEvents(limit, seq, owner):
                found = sorted(place for place in self.events if place > (seq, owner))
                kept = [Kept(*place, self.events[place]) for place in found[:limit]]
                return EventsKept(kept, self.rounds, more=len(found) > limit)
            case OrderEvents(orders):
                self.told += orders
                return Taken(len(orders))
        raise AssertionError(inquiry)


class FakeAsker:
    def __init__(self, worker: FakeWorker) -> None:
        self.seats = [Seat("worker", 0), Seat("front", 0)]
        self._worker = worker

    def who_is(self, seat: Seat) -> Process | None:
        return Process(seat, self._worker.incarnation) if self._worker.is_up else None

    async def ask(self, seat: Seat, inquiry: Any) -> Any:
        await asyncio.sleep(0)
        if not self._worker.is_up:
            return Silence("worker", 0, "it is gone")
        return self._worker.answer(inquiry)


class Endpoint:
    """What was posted, and what is answered: a status, or nothing until `release`."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.status = 200
        self.holds = False
        self._release = asyncio.Event()

    def release(self) -> None:
        self.holds = False
        self._release.set()

    async def send(self, name: str, body: bytes, timeout_s: float) -> Answer:
        self.got.append(name)
        if self.holds:
            await self._release.wait()
        await asyncio.sleep(0)
        return Answer(self.status, f"HTTP {self.status}")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def settings(tmp_path: Path) -> WebhookSettings:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    return WebhookSettings(
        url="https://example.org/x",
        secret_file=str(secret),
        retry_min_s=0.05,
        retry_max_s=0.1,
    )


@asynccontextmanager
async def at_work(
    settings: WebhookSettings,
    data: Path,
    worker: FakeWorker,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[HttpCourier]:
    monkeypatch.setattr("relay.admin.courier.courier.LOOK_S", 0.01)
    asker: Any = FakeAsker(worker)
    courier = HttpCourier(settings, data, asker, Counter())
    monkeypatch.setattr(courier._post, "send", endpoint.send)
    courier.start()
    yield courier
    await courier.close()


@pytest.fixture
def run(
    settings: WebhookSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    def run(scene: Callable[[HttpCourier, FakeWorker, Endpoint], Any], **changes: Any) -> None:
        async def play() -> None:
            worker, endpoint = FakeWorker(), Endpoint()
            changed = WebhookSettings(
                **{name: getattr(settings, name) for name in settings.__struct_fields__} | changes
            )
            async with at_work(changed, tmp_path, worker, endpoint, monkeypatch) as courier:
                await scene(courier, worker, endpoint)

        asyncio.run(play())

    return run


def test_what_a_worker_forgot_with_its_life_is_told_again_and_not_posted_again(
    run: Callable[..., None],
) -> None:
    async def scene(courier: HttpCourier, worker: FakeWorker, endpoint: Endpoint) -> None:
        places = [worker.note(seq) for seq in (1, 2, 3)]
        await until(lambda: len(worker.told) == 3)
        worker.die()
        await until(lambda: len(worker.told) == 3)
        worker.sweep()

        assert worker.events == {}
        assert endpoint.got == [id_of(place) for place in places]

    run(scene)


def test_what_is_under_way_while_a_worker_dies_is_posted_once(run: Callable[..., None]) -> None:
    async def scene(courier: HttpCourier, worker: FakeWorker, endpoint: Endpoint) -> None:
        endpoint.holds = True
        place = worker.note(1)
        await until(lambda: len(endpoint.got) == 1)
        worker.is_up = False
        worker.die()
        endpoint.release()
        await asyncio.sleep(0.05)
        worker.is_up = True
        await until(lambda: bool(worker.told))
        worker.sweep()
        await asyncio.sleep(0.05)

        assert worker.events == {}
        assert endpoint.got == [id_of(place)]

    run(scene)


def test_what_comes_to_wait_before_others_is_found(run: Callable[..., None]) -> None:
    async def scene(courier: HttpCourier, worker: FakeWorker, endpoint: Endpoint) -> None:
        worker.note(5)
        await until(lambda: len(worker.told) == 1)
        worker.sweep()
        early = worker.note(2)  # a dead letter that an operator wants posted
        await asyncio.sleep(0.05)
        assert len(endpoint.got) == 1
        worker.rounds += 1
        await until(lambda: len(endpoint.got) == 2)

        assert endpoint.got[1] == id_of(early)

    run(scene)


def test_more_than_it_holds_comes_in_order_and_once(run: Callable[..., None]) -> None:
    async def scene(courier: HttpCourier, worker: FakeWorker, endpoint: Endpoint) -> None:
        count = MAX_HELD + 700
        places = [worker.note(seq) for seq in range(1, count + 1)]
        endpoint.holds = True
        await until(lambda: courier.report().held == MAX_HELD)
        await asyncio.sleep(0.05)
        assert courier.report().held == MAX_HELD
        endpoint.release()
        await until(lambda: len(endpoint.got) == count)
        await until(lambda: len(worker.told) == count)
        worker.sweep()

        assert sorted(endpoint.got) == [id_of(place) for place in places]
        assert worker.events == {}

    run(scene)


def test_what_cannot_be_read_is_dead_and_the_rest_goes_on(run: Callable[..., None]) -> None:
    async def scene(courier: HttpCourier, worker: FakeWorker, endpoint: Endpoint) -> None:
        bad = worker.note(1)
        worker.events[bad] = b"\xc1"
        good = worker.note(2)
        await until(lambda: len(worker.told) == 2)
        worker.sweep()

        assert list(worker.buried) == [bad]
        assert endpoint.got == [id_of(good)]

    run(scene)


def test_gone_is_kept_for_the_next_admin_and_another_url_begins_anew(
    run: Callable[..., None],
) -> None:
    async def gone(courier: HttpCourier, worker: FakeWorker, endpoint: Endpoint) -> None:
        endpoint.status = 410
        worker.note(1)
        await until(lambda: courier.report().state == "gone")

    async def still(courier: HttpCourier, worker: FakeWorker, endpoint: Endpoint) -> None:
        worker.note(1)
        await asyncio.sleep(0.1)
        assert courier.report().state == "gone"
        assert endpoint.got == []

    async def anew(courier: HttpCourier, worker: FakeWorker, endpoint: Endpoint) -> None:
        worker.note(1)
        await until(lambda: len(endpoint.got) == 1)

    async def resumed(courier: HttpCourier, worker: FakeWorker, endpoint: Endpoint) -> None:
        worker.note(1)
        courier.resume()
        await until(lambda: len(endpoint.got) == 1)

    run(gone)
    run(still)
    run(anew, url="https://example.org/other")
    run(still)
    run(resumed)
    run(anew)


def test_what_fails_for_too_long_is_told_to_be_dead_with_the_reason(
    run: Callable[..., None],
) -> None:
    async def scene(courier: HttpCourier, worker: FakeWorker, endpoint: Endpoint) -> None:
        endpoint.status = 500
        place = worker.note(1)
        await until(lambda: bool(worker.told))
        worker.sweep()

        assert worker.buried == {place: "HTTP 500"}
        assert len(set(endpoint.got)) == 1
        assert len(endpoint.got) > 1

    run(scene, give_up_days=0.2 / 86_400)


@pytest.mark.parametrize("where", ["_hear", "_bury"])
def test_a_fault_of_its_own_ends_the_process(
    where: str, settings: WebhookSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the loop, or in a post: who is told nothing of it would never know."""

    async def work(loop: asyncio.AbstractEventLoop) -> None:
        worker = FakeWorker()
        worker.note(1)
        async with at_work(settings, tmp_path, worker, Endpoint(), monkeypatch) as courier:
            monkeypatch.setattr(courier, where, fail)
            await asyncio.sleep(DEADLINE_S)

    def fail(*_: object) -> bool:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        run_to_its_end(asyncio.run, work)
