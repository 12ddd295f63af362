"""Which fronts a worker listens to, while they come, go and are renewed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.bus.envelopes import (
    LOGIN,
    Refused,
    RequestNumber,
    SendToUser,
    SessionRefused,
)
from tests import plain
from tests.outside.waiting import poll_for
from workers.shard import logins

from .loop_harness import INCARNATION, RunningWorker


@pytest.fixture
def worker(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningWorker]:
    running = RunningWorker(run_dir, monkeypatch)
    yield running
    running.close()


def test_the_death_of_a_successor_does_not_silence_the_front_that_it_was_to_renew(
    worker: RunningWorker,
) -> None:
    old = worker.connect("front-0-4")
    worker.list_fronts("front-0-4")
    assert worker.log_in(old, 1)

    worker.list_fronts("front-0-4", "front-0-9")  # a rolling restart begins
    worker.list_fronts("front-0-4")  # and its successor dies in its boot

    assert worker.log_in(old, 2)


def test_a_front_that_died_before_its_first_word_is_not_listened_to(worker: RunningWorker) -> None:
    dead, living = worker.connect("front-0-4"), worker.connect("front-1-5")
    worker.list_fronts("front-0-4", "front-1-5")
    worker.list_fronts("front-1-5")
    assert worker.log_in(living, 1)

    worker.ask(dead, 1)
    assert worker.log_in(living, 2)
    assert worker.log_in(living, 3)

    assert not dead.poll(0)


def test_all_sessions_of_a_lost_front_end_in_time(
    worker: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MAX_ENDED", 1)
    dying = worker.connect("front-0-4")
    worker.list_fronts("front-0-4")
    for number in (1, 2, 3):
        assert worker.log_in(dying, number)

    worker.list_fronts()

    poll_for("the end of its sessions", lambda: not len(worker.worker._shard.readers))


def test_a_front_that_is_not_listed_yet_is_listened_to(worker: RunningWorker) -> None:
    worker.list_fronts("front-0-4")

    assert worker.log_in(worker.connect("front-1-5"), 1)


def test_i8_a_batch_for_another_incarnation_is_refused_counted_and_answered(
    worker: RunningWorker,
) -> None:
    front = worker.connect("front-0-4")
    assert worker.log_in(front, 1)
    worker.incarnation = INCARNATION - 1
    send = SendToUser(RequestNumber(7), "alice", "bob", "M1", 1000, b"12345678", b"frame")
    worker.send(front, 2, send, plain.open_session(8, "bob", LOGIN, 0))

    batch = worker.receive(front)
    assert batch is not None
    refused, session_refused = batch.items
    assert isinstance(refused, Refused)
    assert (refused.request, refused.code) == (7, 503)
    assert isinstance(session_refused, SessionRefused)
    assert (session_refused.session, session_refused.code) == (8, 503)
    assert batch.received == 1  # it is not confirmed

    worker.incarnation = INCARNATION
    assert worker.log_in(front, 2)
    assert worker.worker._counters["stale_batches_refused"] == 1
