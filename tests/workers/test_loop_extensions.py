"""Extensions in a worker's real loop: asked over the bus, set aside like anything else."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from relay.bus.envelopes import Ask, Carry, Durable, Tell
from relay.extensions.contract import Asker, Extension, WorkerHalf
from relay.extensions.registry import Registry
from tests import plain

from .loop_harness import DEADLINE_MS, RunningWorker


class Bug(Exception):
    """What a bug of an extension raises."""


class Echo(WorkerHalf):
    """Says what it is asked, but for one thing."""

    def asked(self, asker: Asker, body: bytes) -> None:
        what = msgspec.msgpack.decode(body)
        if what == "POISON":
            raise Bug
        self.desk.count("said")
        self.desk.answer(asker, asker.correlation.answer("response", {"said": what}))


REGISTRY = Registry([Extension(name="echo", worker=Echo)])


def ask(what: str, name: str, *, session: int = 1) -> Ask:
    return Ask(session, "alice", "echo", msgspec.msgpack.encode(what), "", name)


def attributes(item: object) -> dict[str, object]:
    """What a frame that a client gets says."""
    assert isinstance(item, Tell)
    assert item.extension == ""
    decoded: dict[str, object] = json.loads(item.body)[1]
    return decoded


def test_a_request_is_answered_and_counted(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = RunningWorker(run_dir, monkeypatch, registry=REGISTRY)
    front = worker.connect("front-0-1")

    worker.send(front, 1, ask("hi", "n1"), Ask(1, "alice", "unheard_of", b"", "", "n2"))

    batch = worker.receive(front)
    assert batch is not None
    answered, refused = batch.items
    assert attributes(answered) == {"said": "hi", "tag": "n1"}
    assert (attributes(refused)["code"], attributes(refused)["tag"]) == (400, "n2")
    worker.close()
    assert worker.worker._counters["echo.said"] == 1


def test_i7_a_request_that_crashed_two_incarnations_is_refused_by_the_third(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever session repeats it, and however it names it."""
    for incarnation in (3, 4):
        worker = RunningWorker(run_dir, monkeypatch, incarnation=incarnation, registry=REGISTRY)
        front = worker.connect("front-0-1")
        worker.send(front, 1, ask("POISON", f"n{incarnation}", session=incarnation))
        assert isinstance(worker.wait_for_crash(), Bug)
        worker.close()

    worker = RunningWorker(run_dir, monkeypatch, incarnation=5, registry=REGISTRY)
    front = worker.connect("front-0-1")
    worker.send(front, 1, ask("POISON", "n9", session=9), ask("hi", "n10"))

    batch = worker.receive(front)
    assert batch is not None
    refused, answered = batch.items
    assert (attributes(refused)["code"], attributes(refused)["tag"]) == (500, "n9")
    assert attributes(answered)["said"] == "hi"
    (kept,) = worker.set_aside()
    assert msgspec.msgpack.decode(kept, type=Ask).body == ask("POISON", "").body
    worker.close()


def test_i7_what_is_carried_for_an_extension_that_is_not_loaded_is_set_aside_and_kept(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = plain.durable(7, Carry("unheard_of", "bob", b"body"))
    worker = RunningWorker(run_dir, monkeypatch, workers=2)
    peer = worker.connect("worker-1-2")

    worker.send(peer, 1, entry)

    assert peer.poll(DEADLINE_MS), "it is confirmed, so that the peer forgets it"
    (kept,) = worker.set_aside()
    assert msgspec.msgpack.decode(kept, type=Durable) == entry
    worker.close()


def test_i6_while_there_is_no_room_requests_are_refused_ahead_of_the_rest(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gate.lack_of_room", lambda *_: "the disk is full")
    worker = RunningWorker(run_dir, monkeypatch, registry=REGISTRY)
    front = worker.connect("front-0-1")
    only_reads = msgspec.structs.replace(ask("hi", "read"), only_reads=True)

    worker.send(front, 1, ask("hi", "write"), only_reads)

    answers: list[dict[str, object]] = []
    while len(answers) < 2:
        batch = worker.receive(front)
        assert batch is not None
        answers += map(attributes, batch.items)
    refused, answered = answers
    assert (refused["code"], refused["tag"]) == (500, "write")
    assert answered == {"said": "hi", "tag": "read"}
    worker.close()
