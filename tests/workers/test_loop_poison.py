"""A stanza that crashes its worker: once it is tried again, then it is set aside (I7)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest
import zmq

from relay.bus import envelopes
from relay.bus.envelopes import (
    LOGIN,
    Acked,
    AckedByMany,
    GroupCopy,
    Page,
    Refused,
    RequestNumber,
    SendToUser,
    Stored,
    ToWorker,
)
from relay.inquiries.contract import decode_answered
from relay.inquiries.sending import AskSend, SendSaid
from tests import plain
from workers import gate
from workers.shard.effects import Identity
from workers.shard.groups import Copies
from workers.shard.shard import Shard

from .loop_harness import DEADLINE_MS, RunningWorker


class Bug(Exception):
    """What a bug of ours raises."""


def send(request: int, message_id: str) -> SendToUser:
    return SendToUser(
        RequestNumber(request), "alice", "bob", message_id, 1000, b"12345678", b"frame"
    )


@pytest.fixture
def start(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> partial[RunningWorker]:
    """Start an incarnation of a worker that has a bug: it fails at the message POISON."""
    handle, apply_copy = Shard.handle, Copies.apply

    def buggy(self: Shard, origin: Identity, envelope: ToWorker) -> None:
        if isinstance(envelope, SendToUser) and envelope.message_id == "POISON":
            raise Bug
        if isinstance(envelope, AckedByMany) and "poison" in envelope.ackers:
            raise Bug
        if isinstance(envelope, Acked) and envelope.acker == "poison":
            raise Bug
        handle(self, origin, envelope)

    def buggy_copy(self: Copies, copy: GroupCopy) -> None:
        if copy.message_id == "POISON":
            raise Bug
        apply_copy(self, copy)

    monkeypatch.setattr(Shard, "handle", buggy)
    monkeypatch.setattr(Copies, "apply", buggy_copy)
    return partial(RunningWorker, run_dir, monkeypatch)


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
    answers: dict[int, Refused | Stored] = {
        item.request: item for item in batch.items if isinstance(item, Refused | Stored)
    }
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


def test_poison_among_what_many_say_takes_nothing_with_it(start: partial[RunningWorker]) -> None:
    """From the second try on each is a matter of its own."""
    ackers = ["bob", "poison", "carol"]
    said = AckedByMany("M1", 2, "alice", "hike-1", ackers, [-1] * 3)
    for incarnation in (3, 4, 5):
        worker = start(incarnation=incarnation)
        worker.send(worker.connect("front-0-1"), 1, said)
        assert isinstance(worker.wait_for_crash(), Bug)
        worker.close()

    worker = start(incarnation=6)
    front = worker.connect("front-0-1")
    worker.send(front, 1, said, send(1, "BEHIND"))
    batch = worker.receive(front)

    assert batch is not None
    assert any(isinstance(item, Stored) for item in batch.items)
    (kept,) = worker.set_aside()
    assert msgspec.msgpack.decode(kept, type=Acked).acker == "poison"
    worker.close()


def test_poison_from_a_peer_takes_nothing_with_it(start: partial[RunningWorker]) -> None:
    """Its neighbours in the outbox come again in the same batch, and count as ever."""
    entries = [
        plain.durable(
            seq, GroupCopy("alice", "hike-1", message_id, 1000, ["bob"], message_id.encode())
        )
        for seq, message_id in enumerate(("BEFORE", "POISON", "BEHIND"), 1)
    ]
    for incarnation in (3, 4):
        worker = start(incarnation=incarnation, workers=2)
        worker.send(worker.connect("worker-1-2"), 1, *entries)
        assert isinstance(worker.wait_for_crash(), Bug)
        worker.close()

    worker = start(incarnation=5, workers=2)
    peer = worker.connect("worker-1-2")
    worker.send(peer, 1, *entries)
    assert peer.poll(DEADLINE_MS)
    (applied,) = envelopes.decode_peer_batch(peer.recv()).items
    assert applied.seq == 3

    front = worker.connect("front-0-1")
    worker.send(front, 1, plain.open_session(1, "bob", LOGIN, 0))
    batch = worker.receive(front)
    assert batch is not None
    (page,) = [item for item in batch.items if isinstance(item, Page)]
    assert [entry.frame for entry in page.entries] == [b"BEFORE", b"BEHIND"]
    assert len(worker.set_aside()) == 1
    worker.close()


def test_poison_is_set_aside_too_while_sends_are_refused(
    start: partial[RunningWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "lack_of_room", lambda *of: "the disk is full")
    for incarnation in (3, 4):
        worker = start(incarnation=incarnation)
        worker.send(worker.connect("front-0-1"), 1, send(1, "POISON"))
        assert isinstance(worker.wait_for_crash(), Bug)
        worker.close()

    worker = start(incarnation=5)
    front = worker.connect("front-0-1")
    worker.send(front, 1, send(1, "POISON"))
    batch = worker.receive(front)

    assert batch is not None
    (refused,) = batch.items
    assert isinstance(refused, Refused)
    worker.close()


def told(socket: zmq.Socket[bytes]) -> SendSaid:
    """Return what became of a send of an operator."""
    assert socket.poll(DEADLINE_MS)
    return msgspec.msgpack.decode(decode_answered(socket.recv()).body, type=SendSaid)


def test_what_an_operator_sends_is_stored_before_it_is_answered(
    start: partial[RunningWorker],
) -> None:
    worker = start()

    said = told(worker.inquire(AskSend("op", "bob", False, "M1", 1000, b"12345678", b"frame")))

    worker.close()
    assert said == SendSaid(time_s=1000)
    after = start(incarnation=4)
    other = AskSend("op", "bob", False, "M1", 2000, b"87654321", b"another")
    assert told(after.inquire(other)).code == 409
    after.close()


def test_what_an_operator_sends_and_a_worker_fails_at_is_set_aside(
    start: partial[RunningWorker],
) -> None:
    poison = AskSend("op", "bob", False, "POISON", 1000, b"12345678", b"frame")
    for incarnation in (3, 4):
        worker = start(incarnation=incarnation)
        unanswered = worker.inquire(poison)
        assert isinstance(worker.wait_for_crash(), Bug)
        assert not unanswered.poll(0)
        worker.close()
    worker = start(incarnation=5)

    assert told(worker.inquire(poison)).code == 500
    assert told(worker.inquire(msgspec.structs.replace(poison, message_id="M1"))).code == 0
    assert len(worker.set_aside()) == 1
    worker.close()
