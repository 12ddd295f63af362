"""Batches whose records are on their way: what is said of them, when, and in which order.

The loop, the links and the store are the real ones. A test plays the log, the front and the ROUTER
between them, one turn at a time.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from relay.bus import envelopes
from relay.bus.envelopes import (
    LOGIN,
    Deliver,
    Page,
    Refused,
    RequestNumber,
    SendToUser,
    Stored,
    ToFront,
    ToWorker,
    WorkerBatch,
)
from relay.bus.link import Outgoing
from relay.errors import Fenced
from relay.process.channel import ChildEnd, child_end, supervisor_end
from relay.process.place import Place
from relay.settings.tables import ServerSettings, Settings, StoreSettings
from tests import plain
from workers import loop
from workers.opening import open_store
from workers.rangelog import Promotion
from workers.shard.shard import NO_EXTENSIONS
from workers.store.store import Store
from workers.tools.reshard import reshard

FRONT = b"front-0-1"
AUTHOR, READER, OTHER = "910000000001", "910000000002", "910000000003"
TIME_S = 1_566_970_629
NOTHING_ON_THE_DISK = "the disk is full"


class PlayedLog:
    """A log that confirms when it is told to, or when nothing else can go on."""

    most_bytes = 1 << 26

    epoch = 1
    due_ms = 1 << 62

    def __init__(self, records: list[bytes], in_flight: int) -> None:
        self.records = records  # that of number 1 first
        self.refusal = ""
        self.confirmed = len(records)
        self.in_flight = in_flight
        self.is_fenced = False
        self.waits = 0
        self.parts = 0  # that a record has besides its last
        self.on_wait: Callable[[], None] = lambda: None
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK)
        self._coming = 0  # was confirmed, which was not looked at

    @property
    def has_room(self) -> bool:
        return len(self.records) - self.confirmed < self.in_flight

    def append(self, number: int, payload: bytes) -> int:
        assert self.has_room, "a batch was begun while the window was full"
        assert number == len(self.records) + 1
        for body in (*[b""] * self.parts, payload):
            while not self.has_room:
                self.wait()
            self.records.append(body)
        return len(self.records)

    def confirm(self, most: int = 1) -> None:
        """Let the news of so many records come."""
        self._coming = min(len(self.records) - self.confirmed, self._coming + most)
        os.eventfd_write(self.descriptor, 1)

    def look(self, most_s: float = 0.0) -> None:
        if select.select([self.descriptor], [], [], most_s)[0]:
            os.eventfd_read(self.descriptor)
        if self.is_fenced:
            raise Fenced(99)
        self.confirmed += self._coming
        self._coming = 0

    def wait(self) -> None:
        self.waits += 1
        self.confirm()
        self.look()

    def tick(self, clock_ms: int) -> None:
        self.look()

    def hand_over(self, number: int, to: str) -> None:
        self.records.append(b"")
        self.confirmed = number

    def close(self) -> None:
        os.close(self.descriptor)


class Router:
    """The ROUTER as the loop sees it, with one front behind it."""

    def __init__(self) -> None:
        self.to_worker: deque[bytes] = deque()
        self.to_front: list[bytes] = []
        self._payload = b""

    def get(self, _: int) -> int:
        return int(zmq.POLLIN) if self.to_worker else 0

    def recv(self, _: int) -> bytes:
        if not self._payload:
            self._payload = self.to_worker.popleft()
            return FRONT
        payload, self._payload = self._payload, b""
        return payload

    def send(self, content: bytes, flags: int) -> None:
        if not flags & zmq.SNDMORE:
            self.to_front.append(content)

    def close(self) -> None:
        pass


class Owner:
    """One life of the owner of a range, turned by hand."""

    def __init__(self, run_dir: Path, records: list[bytes], *, in_flight: int) -> None:
        self.life = 1
        self._ends: tuple[socket.socket, ChildEnd]
        ours, theirs = socket.socketpair()
        self._ends = (ours, child_end(theirs.detach()))
        supervisor_end(ours)
        config = Settings(
            server=ServerSettings(data=str(run_dir / "data"), workers=1),
            store=StoreSettings(map_bytes=1 << 24),
        )
        if not (run_dir / "data").exists():
            (run_dir / "data").mkdir()
            reshard(run_dir / "data", config)
        place = Place(run_dir, 0, 1, config, self._ends[1])
        self.store: Store = open_store(place, NO_EXTENSIONS, "log")
        self.stored_at_start = self.store.last_number
        for number in range(self.store.last_number + 1, len(records) + 1):
            self.store.apply(number, records[number - 1])
        self.log = PlayedLog(records, in_flight)
        self.worker = loop.Worker(place, NO_EXTENSIONS, promotion=Promotion(self.log, self.store))
        self.router = Router()
        links: Any = self.worker._links
        links._watch.remove(links._router)
        links._router.close()
        links._router = self.router
        links._watch._used = set()

    def turn(self) -> None:
        """Do one turn of the loop with what has come."""
        ready: Any = {self.router} if self.router.to_worker else set()
        self.worker._turn(self.worker._drain(ready))

    def look(self) -> None:
        assert self.worker._unconfirmed is not None
        self.worker._unconfirmed.look()

    def refuse(self, refusal: str) -> None:
        self.worker._gate.refusal = refusal

    def finish(self) -> None:
        self.worker._finish()

    def end(self) -> None:
        """End the process as a kill does: nothing more is said or stored."""
        self.worker._reception.close()
        self.worker._links.close()
        self.worker._rhythm.close()
        self.log.close()
        self.store.close()
        for each in self._ends:
            each.close()


class Front:
    """What a front keeps until it is confirmed, and what it was told."""

    def __init__(self) -> None:
        self.link: Outgoing[SendToUser] = Outgoing(1 << 20)
        self.asked: list[int] = []  # requests, in the order in which they were sent
        self.sent: dict[int, SendToUser] = {}
        self.answered: dict[int, ToFront] = {}
        self.answers: list[int] = []  # of this link, in order
        self.frames: list[bytes] = []
        self._received = 0

    def begin(self, owner: Owner) -> None:
        """Send the next owner all that the one before has not confirmed."""
        again = list(self.link.unconfirmed())
        self.link.restart()
        self._received = 0
        self.answers = []
        if again:
            self._send(owner, again)

    def send(self, owner: Owner, sends: list[SendToUser]) -> None:
        for each in sends:
            self.sent[each.request] = each
        self._send(owner, sends)

    def _send(self, owner: Owner, sends: list[SendToUser]) -> None:
        self.post(owner, list(sends))
        self.link.sent(1, tuple(sends))

    def post(self, owner: Owner, items: list[ToWorker]) -> None:
        number = self.link.next_number
        batch = WorkerBatch(owner.life, number, self._received, len(items), items)
        owner.router.to_worker.append(envelopes.encode(batch))

    def hear(self, owner: Owner) -> None:
        for payload in owner.router.to_front:
            batch = envelopes.decode_front_batch(payload)
            assert batch.number == self._received + 1, "none is missing and none is twice"
            self._received = batch.number
            for item in batch.items:
                match item:
                    case Stored() | Refused():
                        self.answered[item.request] = item
                        self.answers.append(item.request)
                    case Page():
                        self.frames += [each.frame for each in item.entries]
                    case Deliver():
                        self.frames.append(item.frame)
                    case _:
                        pass
            for keep in self.link.confirm(batch.received, batch.begun):
                for each in filter(None, keep):
                    assert each.request in self.answered, "it would be forgotten by all"
        owner.router.to_front.clear()


def frame_of(number: int) -> bytes:
    return b"frame-%d;" % number


def message(request: int, number: int, chat: str = READER) -> SendToUser:
    return SendToUser(
        *(RequestNumber(request), AUTHOR, chat, f"ID{number}"),
        *(TIME_S, bytes(8), frame_of(number)),
    )


@pytest.fixture
def start(run_dir: Path) -> Iterator[Any]:
    started: list[Owner] = []

    def start(in_flight: int = 4, records: list[bytes] | None = None) -> Owner:
        started.append(Owner(run_dir, records if records is not None else [], in_flight=in_flight))
        return started[-1]

    yield start
    started[-1].end()


def test_what_a_batch_says_leaves_when_its_record_is_confirmed_and_in_order(start: Any) -> None:
    owner, front = start(), Front()
    for number in (1, 2, 3):
        front.send(owner, [message(number, number)])
        owner.turn()
    assert len(owner.log.records) == 3
    owner.look()
    assert owner.router.to_front == []
    assert owner.store.last_number == 0, "nor is it here"

    owner.log.confirm(2)
    owner.look()

    front.hear(owner)
    assert front.answers == [1, 2]
    assert [each.request for each in front.link.unconfirmed()] == [3]
    assert owner.store.last_number == 2


def test_the_answer_to_a_repeat_of_what_is_on_its_way_waits_for_that(start: Any) -> None:
    owner, front = start(), Front()
    front.send(owner, [message(1, 1)])
    owner.turn()
    front.send(owner, [message(2, 1)])
    owner.turn()

    owner.look()
    front.hear(owner)
    assert front.answers == []
    owner.log.confirm(9)
    owner.look()

    front.hear(owner)
    assert front.answers == [1, 2]


def test_what_is_refused_waits_behind_what_was_sent_before(start: Any) -> None:
    owner, front = start(), Front()
    front.send(owner, [message(1, 1)])
    owner.turn()
    owner.refuse(NOTHING_ON_THE_DISK)
    front.send(owner, [message(2, 2)])
    owner.turn()
    owner.look()
    assert owner.router.to_front == []

    owner.finish()

    front.hear(owner)
    assert front.answers == [1, 2]
    assert isinstance(front.answered[2], Refused)


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_batch_ends_when_there_is_room_for_the_next(start: Any, in_flight: int) -> None:
    owner, front = start(in_flight), Front()
    for number in range(1, in_flight):
        front.send(owner, [message(number, number)])
        owner.turn()
    assert owner.log.waits == 0

    front.send(owner, [message(in_flight, in_flight)])
    owner.turn()

    assert owner.log.waits == 1
    front.hear(owner)
    assert front.answers == [1]


def test_nothing_is_folded_that_is_not_confirmed(start: Any) -> None:
    owner, front = start(), Front()
    front.send(owner, [message(1, 1)])
    owner.turn()
    owner.log.confirm()
    owner.look()
    front.send(owner, [message(2, 2)])
    owner.turn()

    assert not owner.store.fold(at_once=True)
    owner.finish()
    assert owner.store.fold(at_once=True)


def test_when_it_is_time_to_fold_it_waits_for_all_first(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, front = start(), Front()
    front.send(owner, [message(1, 1)])
    owner.turn()
    owner.log.confirm()
    owner.look()
    monkeypatch.setattr(owner.store._journal, "_due_s", 0.0)

    front.send(owner, [message(2, 2)])
    owner.turn()

    assert owner.log.confirmed == 2
    assert not owner.store.has_unfolded


def test_who_is_fenced_says_nothing_of_what_is_on_its_way(start: Any) -> None:
    owner, front = start(), Front()
    front.send(owner, [message(1, 1)])
    owner.turn()
    owner.log.is_fenced = True

    with pytest.raises(Fenced):
        owner.look()

    assert owner.router.to_front == []
    assert owner.store.last_number == 0


class UnconfirmedMachine(RuleBasedStateMachine):
    """A front and owners of a range, each of which may be killed at any time."""

    @initialize(in_flight=st.integers(min_value=1, max_value=5))
    def begin(self, in_flight: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="relay-test-"))
        self.in_flight = in_flight
        self.records: list[bytes] = []
        self.front = Front()
        self.requests = self.messages = 0
        self.refuses = False
        self.owner = Owner(self.directory, self.records, in_flight=in_flight)

    @rule(count=st.integers(min_value=1, max_value=4))
    def send(self, count: int) -> None:
        sends = []
        for _ in range(count):
            self.requests += 1
            self.messages += 1
            sends.append(message(self.requests, self.messages))
        self.front.send(self.owner, sends)

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """As a client does that did not hear of its first try."""
        self.requests += 1
        number = data.draw(st.integers(min_value=1, max_value=self.messages))
        self.front.send(self.owner, [message(self.requests, number)])

    @rule()
    def turn(self) -> None:
        self.owner.turn()
        self.hear()

    @rule(most=st.integers(min_value=1, max_value=3))
    def confirm(self, most: int) -> None:
        self.owner.log.confirm(most)

    @rule()
    def look(self) -> None:
        self.owner.look()
        self.hear()

    @rule()
    def sweep(self) -> None:
        self.owner.worker._sweep()
        self.hear()

    @rule()
    def finish(self) -> None:
        self.owner.finish()
        self.hear()

    @rule(refusal=st.sampled_from(["", NOTHING_ON_THE_DISK]))
    def change_gate(self, refusal: str) -> None:
        self.owner.refuse(refusal)

    @rule(parts=st.integers(min_value=0, max_value=3))
    def change_sizes(self, parts: int) -> None:
        self.owner.log.parts = parts

    @rule(at_once=st.booleans())
    def fold(self, at_once: bool) -> None:
        self.owner.store.fold(at_once=at_once)

    @rule(stored=st.integers(min_value=0, max_value=5), hears=st.booleans())
    def kill(self, stored: int, hears: bool) -> None:
        """End the owner; of what was on its way so many records got into the log."""
        confirmed = self.owner.log.confirmed
        self.owner.end()
        if not hears:
            self.owner.router.to_front.clear()
        self.hear()
        del self.records[confirmed + stored :]
        self.owner = Owner(self.directory, self.records, in_flight=self.in_flight)
        assert self.owner.stored_at_start <= confirmed, "here is a beginning of the log (C3)"
        self.front.begin(self.owner)

    def hear(self) -> None:
        self.front.hear(self.owner)
        confirmed = b"".join(self.records[: self.owner.log.confirmed])
        for request, answer in self.front.answered.items():
            if isinstance(answer, Stored):
                assert self.front.sent[request].frame in confirmed, "said before it was confirmed"
        ends = [self.front.answers.index(each) for each in sorted(set(self.front.answers))]
        assert ends == sorted(ends), "answers came out of order"

    def teardown(self) -> None:
        if not hasattr(self, "owner"):
            return
        self.owner.refuse("")
        while self.owner.router.to_worker:
            self.owner.turn()
        self.owner.finish()
        self.hear()
        assert not list(self.front.link.unconfirmed())
        assert set(self.front.answered) == set(self.front.sent)
        login: list[ToWorker] = [plain.open_session(1, READER, LOGIN, 0)]
        self.front.post(self.owner, login)
        self.owner.turn()
        self.owner.finish()
        self.hear()
        frames = self.front.frames
        assert len(frames) == len(set(frames)), "doubled"
        stored = {
            self.front.sent[request].frame
            for request, answer in self.front.answered.items()
            if isinstance(answer, Stored)
        }
        assert set(frames) == stored
        self.owner.end()
        shutil.rmtree(self.directory)


TestUnconfirmed = pytest.mark.slow(UnconfirmedMachine.TestCase)
TestUnconfirmed.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
