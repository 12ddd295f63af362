"""A worker that lets time pass between two batches, and what rides with the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from relay.bus.envelopes import (
    LIVE,
    Acked,
    Deliver,
    FrontBatch,
    RequestNumber,
    SendToUser,
    Stored,
    ToFront,
)
from relay.bus.gathering import Gathering
from relay.inquiries.figures import AskFigures
from relay.inquiries.sending import AskSend
from relay.settings.serving import FlowSettings
from tests import plain
from tests.outside.waiting import poll_for
from workers import loop, rhythm, schedule
from workers.inbox import Haste, Received
from workers.operator import IDENTITY
from workers.rhythm import Rhythm
from workers.shard.effects import Effects

from .loop_harness import DEADLINE_MS, RunningWorker

FRONT = "front-0-4"
LONG_S = 1000.0


class Waiting(Gathering):
    """One that has batches wait, and acks ride, for as long as a test says."""

    wait_s = 0.0
    rides_s = 0.0
    rides: list[bool]
    departures: list[tuple[bool, int]]

    def due_s(self, now_s: float) -> float:
        return now_s + self.wait_s

    def ride_s(self, now_s: float) -> float:
        return self.rides_s

    def left(self, now_s: float, *, waited: bool, together: int) -> None:
        self.departures.append((waited, together))

    def rode(self, now_s: float, *, found: bool) -> None:
        self.rides.append(found)


Start = Callable[..., RunningWorker]


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> type[Waiting]:
    """What the workers of a test go by."""
    monkeypatch.setattr(rhythm, "Gathering", Waiting)
    monkeypatch.setattr(Waiting, "rides", [], raising=False)
    monkeypatch.setattr(Waiting, "departures", [], raising=False)
    return Waiting


@pytest.fixture
def start(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, gathering: type[Waiting]
) -> Iterator[Start]:
    running: list[RunningWorker] = []

    def start(*, wait_s: float = 0.0, ride_s: float = 0.0) -> RunningWorker:
        monkeypatch.setattr(gathering, "wait_s", wait_s)
        monkeypatch.setattr(gathering, "rides_s", ride_s)
        running.append(RunningWorker(run_dir, monkeypatch))
        return running[0]

    yield start
    for each in running:
        each.close()


def send(number: int) -> SendToUser:
    return SendToUser(
        RequestNumber(number), "alice", "bob", f"M{number}", 1000, b"12345678", b"frame"
    )


def ack(number: int) -> Acked:
    return Acked("bob", [f"M{number}"], 2, "alice", False, "bob", False, 1000)


def served(worker: RunningWorker) -> zmq.Socket[bytes]:
    """A front, where alice and bob are in, that has had a message of hers to him."""
    front = worker.connect(FRONT)
    worker.list_fronts(FRONT)
    users = [plain.open_session(n, user, LIVE, 0) for n, user in enumerate(("alice", "bob"), 1)]
    worker.send(front, 1, *users, send(1))
    said: list[ToFront] = []
    while not any(isinstance(item, Deliver) for item in said):
        said += received(worker, front).items
    return front


def received(worker: RunningWorker, front: zmq.Socket[bytes]) -> FrontBatch:
    batch = worker.receive(front)
    assert batch is not None, "nothing comes"
    return batch


def until_confirmed(
    worker: RunningWorker, front: zmq.Socket[bytes], number: int
) -> list[list[ToFront]]:
    """What each batch to the front said, until one confirms the front's batch of that number."""
    said = []
    while True:
        batch = received(worker, front)
        said.append(batch.items)
        if batch.received >= number:
            return said


def test_an_ack_rides_with_the_next_send(start: Start, gathering: type[Waiting]) -> None:
    worker = start(ride_s=LONG_S)
    front = served(worker)
    batches = len(gathering.departures)
    worker.send(front, 2, ack(1))
    poll_for("it rides", lambda: bool(worker.worker._inbox))

    worker.send(front, 3, send(2))

    [said] = until_confirmed(worker, front, 3)
    assert [item.receipt_for for item in said if isinstance(item, Deliver)] == ["M1", ""]
    assert sum(isinstance(item, Stored) for item in said) == 1
    assert gathering.rides == [True]
    assert len(gathering.departures) == batches + 1


def test_an_ack_that_finds_no_company_is_decided_when_its_time_is_over(
    start: Start, gathering: type[Waiting]
) -> None:
    worker = start(ride_s=0.005)
    front = served(worker)

    worker.send(front, 2, ack(1))

    said = until_confirmed(worker, front, 2)
    assert any(isinstance(item, Deliver) and item.receipt_for == "M1" for item in said[-1])
    assert gathering.rides == [False]


def test_what_rides_when_a_worker_stops_is_decided(start: Start) -> None:
    worker = start(ride_s=LONG_S)
    front = served(worker)
    worker.send(front, 2, ack(1))
    poll_for("it rides", lambda: bool(worker.worker._inbox))

    worker.stop()

    said = until_confirmed(worker, front, 2)
    assert any(isinstance(item, Deliver) and item.receipt_for == "M1" for item in said[-1])


def test_what_came_while_a_worker_waited_shares_a_batch(
    start: Start, gathering: type[Waiting]
) -> None:
    worker = start(wait_s=0.02)
    front = served(worker)
    other = worker.connect("front-1-5")
    worker.list_fronts(FRONT, "front-1-5")
    gathering.departures.clear()

    for number in range(2, 40):
        worker.send(front, number, send(number))
        worker.send(other, number - 1, send(number + 100))

    until_confirmed(worker, front, 39)
    until_confirmed(worker, other, 38)
    departures = [each for each in gathering.departures if each[1]]
    assert all(waited for waited, _ in departures)
    assert max(together for _, together in departures) == 2, "a front is company once"
    assert len(departures) < 20


def test_one_that_waits_stops_all_the_same_and_answers_what_has_come(start: Start) -> None:
    worker = start(wait_s=0.1)
    front = served(worker)
    worker.send(front, 2, send(2))

    worker.stop()

    assert until_confirmed(worker, front, 2)


def test_an_inquiry_that_comes_while_a_late_answer_leaves_is_heard(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "SWEEP_MS", 1_000_000)  # it would find the inquiry, too
    worker = start(ride_s=LONG_S)
    front = served(worker)
    worker.send(front, 2, ack(1))
    poll_for("it rides", lambda: bool(worker.worker._inbox))
    monkeypatch.setattr(loop, "MAX_DECIDING_S", 0.0)  # one piece a turn: the ack, then the send
    operator = worker.worker._operator
    asked: list[zmq.Socket[bytes]] = []
    hear = operator.hear

    def hear_late(effects: Effects) -> None:
        if effects.to_fronts.get(IDENTITY):
            asked.append(worker.inquire(AskFigures()))
            # In the worker's thread. To look consumes the edge, as to send does at times.
            poll_for("it has come", lambda: worker.worker._reception.has_input)
        hear(effects)

    monkeypatch.setattr(operator, "hear", hear_late)
    sent = worker.inquire(AskSend("op", "bob", False, "M9", 1000, b"12345678", b"frame"))

    assert sent.poll(DEADLINE_MS)
    assert asked[0].poll(DEADLINE_MS)


def test_haste_is_that_of_the_most_hasty(
    gathering: type[Waiting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "rides_s", 0.005)
    rhythm_of_it = Rhythm(FlowSettings())
    lazy = Received(b"front-0-4", None, [plain.confirmed(1, 5)])
    riding = Received(b"front-0-4", None, [ack(1)])
    asked = Received(b"front-0-4", None, [send(1)])

    assert rhythm_of_it.haste([lazy], 1) is Haste.NONE
    assert rhythm_of_it.haste([lazy, riding, lazy], 3) is Haste.RIDES
    assert rhythm_of_it.haste([asked, riding], 2) is Haste.NOW
    monkeypatch.setattr(gathering, "rides_s", 0.0)
    assert rhythm_of_it.haste([lazy, riding], 2) is Haste.NOW
