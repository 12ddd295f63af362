"""Which fronts a worker listens to, while they come, go and are renewed."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from relay.bus import envelopes
from relay.bus.envelopes import LOGIN, OpenSession, SessionOpened, WorkerBatch
from relay.bus.sockets import connect_dealer
from relay.bus.topology import Topology
from relay.control import Ready, Stop, SupervisorEnd, TopologyChanged, child_end, supervisor_end
from relay.process import Place
from relay.settings import ServerSettings, Settings, StoreSettings
from workers import loop
from workers.reshard import reshard

DEADLINE_MS = 10_000
INCARNATION = 3


class RunningWorker:
    """A worker in a thread, seen from the supervisor's and the fronts' side."""

    def __init__(self, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loop, "settle", lambda: None)  # it tunes the whole process
        (run_dir / "groups.json").write_text("{}")
        ours, theirs = socket.socketpair()
        self.supervisor: SupervisorEnd = supervisor_end(ours)
        settings = Settings(
            server=ServerSettings(data=str(run_dir / "data"), workers=1),
            store=StoreSettings(durability="os", map_bytes=1 << 24),
        )
        self._control = child_end(theirs.detach())
        (run_dir / "data").mkdir()
        reshard(run_dir / "data", settings)
        worker = loop.Worker(Place(run_dir, 0, INCARNATION, settings, self._control))
        self._thread = threading.Thread(target=worker.run)
        self._thread.start()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._epoch = 0
        ready = None
        while not isinstance(ready, Ready):
            ready = next(iter(self.supervisor.receive()), None)
        self._endpoint = ready.endpoint

    def list_fronts(self, *fronts: str) -> None:
        self._epoch += 1
        self.supervisor.send(TopologyChanged(Topology(epoch=self._epoch, fronts=fronts)))

    def ask(self, front: zmq.Socket[bytes], number: int) -> None:
        """Send the `number`th batch of a front, a login."""
        login = OpenSession(number, f"user{number}", LOGIN, 0)
        front.send(envelopes.encode(WorkerBatch(INCARNATION, number, 0, 1, [login])))

    def log_in(self, front: zmq.Socket[bytes], number: int) -> bool:
        """Whether the worker answers the `number`th batch of a front."""
        self.ask(front, number)
        if not front.poll(DEADLINE_MS):
            return False
        return SessionOpened(number) in envelopes.decode_front_batch(front.recv()).items

    def connect(self, front: str) -> zmq.Socket[bytes]:
        self._sockets.append(connect_dealer(self._context, self._endpoint, identity=front))
        return self._sockets[-1]

    def close(self) -> None:
        self.supervisor.send(Stop(1.0))
        self._thread.join(DEADLINE_MS / 1000)
        assert not self._thread.is_alive()
        for each in self._sockets:
            each.close()
        self._context.term()
        self.supervisor.close()
        self._control.close()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningWorker]:
    # The bus has a socket in its run directory, and the paths of sockets are bounded.
    with tempfile.TemporaryDirectory(prefix="relay-test-") as run_dir:
        running = RunningWorker(Path(run_dir), monkeypatch)
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


def test_a_front_that_is_not_listed_yet_is_listened_to(worker: RunningWorker) -> None:
    worker.list_fronts("front-0-4")

    assert worker.log_in(worker.connect("front-1-5"), 1)
