"""A worker's batch is cut when its time is over: what is left comes next, and is not lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from relay.bus.envelopes import (
    FrontBatch,
    RequestNumber,
    SendToUser,
    Stored,
    ToFront,
)
from tests.outside.waiting import poll_for
from workers import loop
from workers.inbox import PIECE
from workers.shard.shard import Shard

from .loop_harness import RunningWorker

COUNT = 5 * PIECE + 3


@pytest.fixture
def worker(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningWorker]:
    """A worker that has time for one piece only."""
    monkeypatch.setattr(loop, "MAX_DECIDING_S", 0.0)
    running = RunningWorker(run_dir, monkeypatch)
    yield running
    running.close()


def sends(author: str, count: int = COUNT) -> list[SendToUser]:
    return [
        SendToUser(RequestNumber(n), author, "bob", f"M{n}", 1000, b"12345678", b"frame")
        for n in range(1, count + 1)
    ]


def answers(worker: RunningWorker, front: zmq.Socket[bytes]) -> Iterator[FrontBatch]:
    """What a front is told until its first batch is confirmed."""
    while True:
        batch = worker.receive(front)
        assert batch is not None, "it is never confirmed"
        yield batch
        if batch.received:
            return


def requests(items: list[ToFront]) -> list[int]:
    return [item.request for item in items if isinstance(item, Stored)]


def test_a_batch_that_takes_too_long_is_decided_in_parts_and_confirmed_item_by_item(
    worker: RunningWorker,
) -> None:
    front = worker.connect("front-0-4")
    worker.list_fronts("front-0-4")
    worker.send(front, 1, *sends("alice"))

    told = list(answers(worker, front))

    answered: list[int] = []
    for batch in told:
        answered += requests(batch.items)
        confirmed = COUNT if batch.received else batch.begun
        assert answered == list(range(1, confirmed + 1)), "each once, in order, none unconfirmed"
    assert [batch.begun for batch in told] == [*range(PIECE, COUNT, PIECE), 0]
    assert worker.worker._counters["batches_cut"] == len(told) - 1


def test_a_batch_that_would_be_too_large_for_a_log_is_decided_in_parts(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MAX_DECIDING_S", 10.0)
    monkeypatch.setattr(Shard, "is_large", True)
    worker = RunningWorker(run_dir, monkeypatch)
    worker.worker._inbox.most_items = 2
    front = worker.connect("front-0-4")
    worker.list_fronts("front-0-4")
    worker.send(front, 1, *sends("alice", 7))

    told = list(answers(worker, front))

    assert [requests(batch.items) for batch in told] == [[1, 2], [3, 4], [5, 6], [7]]
    worker.close()


def test_a_front_is_answered_while_anothers_large_batch_is_decided(
    worker: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    flooding, honest = worker.connect("front-0-4"), worker.connect("front-1-5")
    worker.list_fronts("front-0-4", "front-1-5")
    assert worker.log_in(honest, 1)
    decided: list[str] = []
    handle = Shard.handle

    def noted(shard: Shard, origin: bytes, item: Any) -> None:
        if isinstance(item, SendToUser):
            if not decided:  # the other's batch has come before this one is decided
                worker.send(honest, 2, *sends("carol", 1))
                poll_for("the other's batch", lambda: bool(worker.worker._links.wait(0)))
            decided.append(item.author)
        handle(shard, origin, item)

    monkeypatch.setattr(Shard, "handle", noted)
    worker.send(flooding, 1, *sends("alice", 20 * PIECE))

    list(answers(worker, flooding))

    assert decided.index("carol") <= 3 * PIECE


def test_what_a_dead_front_had_sent_is_not_decided_any_more(
    worker: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = worker.connect("front-0-4")
    worker.list_fronts("front-0-4")
    handle = Shard.handle
    decided: list[Any] = []

    def noted(shard: Shard, origin: bytes, item: Any) -> None:
        if not decided:
            worker.list_fronts()
        decided.append(item)
        handle(shard, origin, item)

    monkeypatch.setattr(Shard, "handle", noted)
    worker.send(dying, 1, *sends("alice", 100 * PIECE))

    poll_for(
        "the end of its batch",
        lambda: worker.worker._counters["batches_of_dead_fronts_dropped"] == 1,
    )
    assert len(decided) < 100 * PIECE


def test_what_is_left_is_decided_before_a_stop(worker: RunningWorker) -> None:
    front = worker.connect("front-0-4")
    worker.list_fronts("front-0-4")
    worker.send(front, 1, *sends("alice"))
    first = worker.receive(front)
    assert first is not None

    worker.stop()

    answered = requests(first.items)
    while len(answered) < COUNT and (batch := worker.receive(front)):
        answered += requests(batch.items)
    assert answered == list(range(1, COUNT + 1))
