"""The front's links with workers of other hosts: reached, cut off, void, taken over."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from structlog.testing import capture_logs

from relay.bus import envelopes
from relay.bus.doorkeeper import Doorkeeper
from relay.bus.envelopes import VOID, FrontBatch, RequestNumber, SendToUser, ToWorker
from relay.bus.sockets import bind_router, tcp_endpoint
from relay.bus.topology import Topology, WorkerAddress
from relay.front.links import FromWorker, Links, WorkerLink
from relay.protocol.slots import SLOT_COUNT, Slot
from tests import plain
from tests.abroad import PUBLIC, Way, remote

SLOT = Slot(0)
WITHIN_S = 5.0
FRONT = "front-a-0-1"


class Owner:
    """The owner of the one range, played by the test: one after another, on hosts a and b."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._doorkeeper = Doorkeeper(self._context, PUBLIC)
        self._routers: list[zmq.Socket[bytes]] = []
        self._ways: list[Way] = []
        self._epoch = 0
        self.origin = b""
        self.life = self.number = self._sent = 0

    def next(self, host: str) -> WorkerAddress:
        """Start the next one on `host`; `way` leads to one on host b."""
        self._epoch += 1
        self._sent = 0
        endpoint = f"ipc://{self._run_dir}/w0-{self._epoch}.sock"
        self._routers.append(bind_router(self._context, endpoint, remote=remote(host)))
        self._ways.append(Way(tcp_endpoint(self._routers[-1])))
        return WorkerAddress(
            0, 0, SLOT_COUNT - 1, endpoint, self._epoch, host, self._ways[-1].endpoint
        )

    @property
    def way(self) -> Way:
        return self._ways[-1]

    async def receive(self) -> list[ToWorker]:
        """Return the next batch that holds anything."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                self._doorkeeper.answer()
                if not self._routers[-1].poll(0):
                    await asyncio.sleep(0.005)
                    continue
                self.origin, payload = self._routers[-1].recv_multipart()
                batch = envelopes.decode_worker_batch(payload)
                self.life, self.number = batch.incarnation, batch.number
                if batch.items:
                    return batch.items

    def confirm(self, received: int) -> None:
        self._sent += 1
        self._say(FrontBatch(self._sent, received, []))

    def call_off(self) -> None:
        self._say(FrontBatch(VOID, 0, []))
        self._sent = 0

    def _say(self, batch: FrontBatch) -> None:
        self._routers[-1].send_multipart((self.origin, envelopes.encode(batch)))

    async def look(self) -> None:
        """Let in who waits, for a while."""
        for _ in range(20):
            self._doorkeeper.answer()
            await asyncio.sleep(0.005)

    def close(self) -> None:
        for way in self._ways:
            way.close()
        for router in self._routers:
            router.close()
        self._doorkeeper.close()
        self._context.term()


def send(request: int) -> SendToUser:
    return SendToUser(
        RequestNumber(request), "alice", "bob", f"M{request}", 1000, b"12345678", b"frame"
    )


def of(*workers: WorkerAddress) -> Topology:
    return Topology(epoch=1, workers=workers)


HELLO = plain.open_session(1, "bob", envelopes.LIVE, 0)


def run(scene: Callable[[Links, Owner], Coroutine[Any, Any, None]]) -> None:
    """Play a scene with the links of a front of host a, which announces one session."""

    async def play() -> None:
        with tempfile.TemporaryDirectory(prefix="relay-test-") as run_dir:
            owner = Owner(Path(run_dir))

            def receive(items: Iterator[FromWorker], ends_s: float) -> bool:
                return not list(items) or True

            def announce(link: WorkerLink) -> None:
                link.request(HELLO, durable=False)

            links = Links(
                FRONT,
                loop=asyncio.get_running_loop(),
                max_link_bytes=1_000_000,
                receive=receive,
                announce=announce,
                has_room=lambda link: None,
                remote=remote("a"),
            )
            try:
                await scene(links, owner)
            finally:
                links.close()
                owner.close()

    asyncio.run(play())


async def until(condition: Callable[[], object], owner: Owner) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            owner._doorkeeper.answer()
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a cut be noticed soon, and tries follow soon."""
    monkeypatch.setattr("relay.bus.sockets.HEARTBEAT_S", 0.1)
    monkeypatch.setattr("relay.bus.sockets.SILENT_S", 0.3)
    monkeypatch.setattr("relay.front.links.REACH_AGAIN_S", 0.02)


def test_a_worker_of_this_host_is_connected_to_by_ipc_at_once() -> None:
    async def scene(links: Links, owner: Owner) -> None:
        address = owner.next("a")
        owner.way.cut()
        links.follow(of(address))

        assert links.link_of(SLOT).address == address
        assert links.is_whole
        assert await owner.receive() == [HELLO]
        assert owner.origin == FRONT.encode()

    run(scene)


def test_a_worker_of_another_host_is_away_until_it_is_reached() -> None:
    async def scene(links: Links, owner: Owner) -> None:
        address = owner.next("b")
        links.follow(of(address))
        link = links.link_of(SLOT)
        link.request(send(1), durable=True)
        await asyncio.sleep(0)
        assert link.address is None
        assert not links.is_whole
        await asyncio.sleep(0.01)
        assert links.lacking_s() >= 0.01

        assert await owner.receive() == [HELLO]
        assert await owner.receive() == [send(1)]
        assert (owner.origin, owner.life) == (FRONT.encode(), address.life)
        assert link.address == address
        assert links.is_whole
        assert links.lacking_s() == 0

    run(scene)


@pytest.mark.slow
def test_i9_what_a_worker_did_not_confirm_before_a_cut_is_repeated_once_behind_the_sessions() -> (
    None
):
    async def scene(links: Links, owner: Owner) -> None:
        links.follow(of(owner.next("b")))
        link = links.link_of(SLOT)
        assert await owner.receive() == [HELLO]
        link.request(send(1), durable=True)
        assert await owner.receive() == [send(1)]
        owner.confirm(owner.number)
        await until(lambda: not link.unconfirmed_bytes, owner)

        with capture_logs() as lines:
            owner.way.cut()
            link.request(send(2), durable=True)
            await asyncio.sleep(0)
            await until(lambda: link.address is None, owner)
            link.request(send(3), durable=True)
            await asyncio.sleep(0.1)
            owner.way.heal()
        assert [line["event"] for line in lines] == ["link.over"], "once, however often it tries"
        assert [line["host"] for line in lines] == ["b"]

        received = []
        while owner.origin != f"{FRONT}.1".encode():
            received = [await owner.receive()]
        received.append(await owner.receive())
        assert received == [[HELLO], [send(2), send(3)]]
        assert owner.number == 2

    run(scene)


def test_a_link_that_a_worker_calls_void_begins_anew_on_another_connection() -> None:
    async def scene(links: Links, owner: Owner) -> None:
        links.follow(of(owner.next("b")))
        link = links.link_of(SLOT)
        assert await owner.receive() == [HELLO]
        link.request(send(1), durable=True)
        assert await owner.receive() == [send(1)]

        for again in (1, 2, 3):
            owner.call_off()
            assert await owner.receive() == [HELLO]
            assert owner.origin == f"{FRONT}.{again}".encode()
            assert await owner.receive() == [send(1)]

    run(scene)


def test_of_this_host_a_void_link_begins_anew_too() -> None:
    async def scene(links: Links, owner: Owner) -> None:
        links.follow(of(owner.next("a")))
        assert await owner.receive() == [HELLO]
        owner.call_off()
        assert await owner.receive() == [HELLO]
        assert owner.origin == f"{FRONT}.1".encode()

    run(scene)


@pytest.mark.of_source
def test_a_worker_that_takes_nothing_is_told_ever_less_often() -> None:
    """Each time all sessions are announced to it."""

    async def scene(links: Links, owner: Owner) -> None:
        links.follow(of(owner.next("b")))
        link = links.link_of(SLOT)
        waits = []
        for _ in range(4):
            assert await owner.receive() == [HELLO]
            owner.call_off()
            await until(lambda: link.address is None, owner)
            waits.append(link._again_s)
        assert waits == [0.04, 0.08, 0.16, 0.32]

        assert await owner.receive() == [HELLO]
        owner.confirm(1)
        await until(lambda: link._incoming.received, owner)
        owner.call_off()
        await until(lambda: link.address is None, owner)
        assert link._again_s == 0.02

    run(scene)


def test_a_range_that_moves_to_another_host_is_announced_to_there_and_back() -> None:
    async def scene(links: Links, owner: Owner) -> None:
        links.follow(of(owner.next("a")))
        link = links.link_of(SLOT)
        assert await owner.receive() == [HELLO]
        link.request(send(1), durable=True)
        assert await owner.receive() == [send(1)]

        links.follow(of(owner.next("b")))
        assert await owner.receive() == [HELLO]
        assert await owner.receive() == [send(1)]
        assert owner.origin == FRONT.encode(), "that worker has not heard of it before"

        links.follow(of(owner.next("a")))
        assert await owner.receive() == [HELLO]
        assert await owner.receive() == [send(1)]

    run(scene)


def test_c6_a_range_s_older_owner_is_not_gone_back_to() -> None:
    async def scene(links: Links, owner: Owner) -> None:
        older = owner.next("a")
        links.follow(of(older))
        links.follow(of(owner.next("b")))
        assert await owner.receive() == [HELLO]

        links.follow(of(older))

        link = links.link_of(SLOT)
        assert link.address is None
        assert link.target is None

    run(scene)


def test_a_worker_that_is_gone_is_tried_no_more() -> None:
    async def scene(links: Links, owner: Owner) -> None:
        links.follow(of(owner.next("b")))
        link = links.link_of(SLOT)
        assert await owner.receive() == [HELLO]
        owner.call_off()
        await until(lambda: link.address is None, owner)
        links.follow(of())
        await owner.look()

        assert link.address is None
        assert link._again is None
        assert link._reaching is None

    run(scene)


@pytest.mark.parametrize("host", ["a", "b"])
def test_a_worker_that_was_out_of_sight_is_connected_to_by_another_connection(host: str) -> None:
    """It may know the one of before, and take what comes by it for repeated."""

    async def scene(links: Links, owner: Owner) -> None:
        address = owner.next(host)
        links.follow(of(address))
        assert await owner.receive() == [HELLO]
        links.follow(of())
        links.link_of(SLOT).request(send(1), durable=True)

        links.follow(of(address))

        assert await owner.receive() == [HELLO]
        assert (owner.origin, owner.number) == (f"{FRONT}.1".encode(), 1)
        assert await owner.receive() == [send(1)]

    run(scene)
