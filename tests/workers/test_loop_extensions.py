"""Extensions in a worker's real loop: asked over the bus, set aside like anything else."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import msgspec
import pytest

from relay.bus.envelopes import Ask, Carry, Durable, Tell
from relay.errors import BootError
from relay.extensions.contract import Asker, Extension, Send, Step, Verdict, WorkerHalf
from relay.extensions.registry import Registry
from relay.process.channel import child_end
from relay.process.place import Place
from relay.settings.tables import ServerSettings, Settings, StoreSettings
from tests import plain
from workers import loop
from workers.tools.reshard import reshard

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
    for incarnation in (3, 4):
        worker = RunningWorker(run_dir, monkeypatch, incarnation=incarnation, workers=2)
        worker.send(worker.connect("worker-1-2"), 1, entry)
        assert isinstance(worker.wait_for_crash(), LookupError)
        worker.close()

    worker = RunningWorker(run_dir, monkeypatch, incarnation=5, workers=2)
    peer = worker.connect("worker-1-2")
    worker.send(peer, 1, entry)

    assert peer.poll(DEADLINE_MS), "it is confirmed, so that the peer forgets it"
    (kept,) = worker.set_aside()
    assert msgspec.msgpack.decode(kept, type=Durable) == entry
    worker.close()


def judge(half: WorkerHalf, send: Send) -> Verdict | None:
    return None


def test_a_worker_does_not_start_with_an_extension_that_has_a_step_where_there_is_no_place(
    run_dir: Path,
) -> None:
    settings = Settings(
        server=ServerSettings(data=str(run_dir / "data"), workers=1),
        store=StoreSettings(durability="os", map_bytes=1 << 24),
    )
    (run_dir / "data").mkdir()
    reshard(run_dir / "data", settings)
    ours, theirs = socket.socketpair()
    control = child_end(theirs.detach())
    wrong = Extension(name="wrong", worker=Echo, steps=(Step(after="sing", judge=judge),))

    with pytest.raises(BootError, match="wrong has a step of sends after 'sing'"):
        loop.Worker(Place(run_dir, 0, 1, settings, control), Registry([wrong]))
    control.close()
    ours.close()
