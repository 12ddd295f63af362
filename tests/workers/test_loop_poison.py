"""A stanza that crashes its worker: once it is tried again, then it is set aside (I7)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from loop_harness import RunningWorker

from relay.bus import envelopes
from relay.bus.envelopes import Refused, SendToUser, Stored, ToWorker
from workers.effects import Identity
from workers.shard import Shard


class Bug(Exception):
    """What a bug of ours raises."""


def send(request: int, message_id: str) -> SendToUser:
    return SendToUser(request, "alice", "bob", message_id, 1000, b"12345678", b"frame")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[partial[RunningWorker]]:
    """Start an incarnation of a worker that has a bug: it fails at the message POISON."""
    handle = Shard.handle

    def buggy(self: Shard, origin: Identity, envelope: ToWorker) -> None:
        if isinstance(envelope, SendToUser) and envelope.message_id == "POISON":
            raise Bug
        handle(self, origin, envelope)

    monkeypatch.setattr(Shard, "handle", buggy)
    # The bus has a socket in its run directory, and the paths of sockets are bounded.
    with tempfile.TemporaryDirectory(prefix="relay-test-") as run_dir:
        yield partial(RunningWorker, Path(run_dir), monkeypatch)


def test_a_stanza_that_crashed_two_incarnations_is_refused_by_the_third_and_kept(
    start: partial[RunningWorker], tmp_path: Path
) -> None:
    for incarnation in (3, 4):
        worker = start(incarnation=incarnation)
        front = worker.connect("front-0-1")
        worker.send(front, 1, send(1, "BEFORE"), send(2, "POISON"), send(3, "BEHIND"))
        assert isinstance(worker.wait_for_crash(), Bug)
        worker.close()

    worker = start(incarnation=5)
    front = worker.connect("front-0-1")
    worker.send(front, 1, send(1, "BEFORE"), send(2, "POISON"), send(3, "BEHIND"))
    batch = worker.receive(front)

    assert batch is not None
    answers = {item.request: item for item in batch.items if isinstance(item, Refused | Stored)}
    assert isinstance(answers[1], Stored)
    assert isinstance(answers[3], Stored)
    assert isinstance(answers[2], Refused)
    assert answers[2].code == 500
    # A client that tries again does not crash it either.
    worker.send(front, 2, send(9, "POISON"))
    batch = worker.receive(front)
    assert batch is not None
    (refused,) = batch.items
    assert isinstance(refused, Refused)
    (kept,) = worker.set_aside()
    assert msgspec.msgpack.decode(kept, type=envelopes.SendToUser).message_id == "POISON"
    worker.close()
