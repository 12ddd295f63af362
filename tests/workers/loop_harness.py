"""A worker's real loop in a thread, between a supervisor and fronts that a test plays."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from relay.bus import envelopes
from relay.bus.envelopes import LOGIN, FrontBatch, SessionOpened, ToWorker, WorkerBatch
from relay.bus.sockets import connect_dealer
from relay.bus.topology import Topology, WorkerAddress
from relay.clock import clock_ms
from relay.extensions.registry import Registry
from relay.inquiries.contract import Asked, Inquiry, encode, endpoint_of
from relay.process.channel import SupervisorEnd, child_end, supervisor_end
from relay.process.control import ChildReady, Stop, TopologyChanged
from relay.process.place import Place
from relay.settings.clustering import ClusterSettings
from relay.settings.tables import ServerSettings, Settings, StoreSettings
from tests import plain
from workers import loop
from workers.shard.shard import NO_EXTENSIONS
from workers.tools.reshard import reshard

DEADLINE_MS = 10_000
INCARNATION = 3


class RunningWorker:
    """A worker in a thread, seen from the supervisor's and the fronts' side.

    A second one on the same directory is the next incarnation.
    """

    def __init__(
        self,
        run_dir: Path,
        monkeypatch: pytest.MonkeyPatch,
        *,
        incarnation: int = INCARNATION,
        workers: int = 1,
        registry: Registry = NO_EXTENSIONS,
        cluster: ClusterSettings | None = None,
    ) -> None:
        self.incarnation = incarnation
        self._run_dir = run_dir
        self.crash: BaseException | None = None
        monkeypatch.setattr(loop, "settle", lambda: None)  # it tunes the whole process
        ours, theirs = socket.socketpair()
        self.supervisor: SupervisorEnd = supervisor_end(ours)
        settings = Settings(
            server=ServerSettings(data=str(run_dir / "data"), workers=workers),
            store=StoreSettings(durability="os", map_bytes=1 << 24),
            cluster=cluster or ClusterSettings(),
        )
        self._control = child_end(theirs.detach())
        if not (run_dir / "data").exists():
            (run_dir / "data").mkdir()
            reshard(run_dir / "data", settings)
        place = Place(run_dir, 0, incarnation, settings, self._control)
        self.worker = loop.Worker(place, registry)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._epoch = 0
        ready = None
        while not isinstance(ready, ChildReady):
            ready = next(iter(self.supervisor.receive()), None)
        self._endpoint = ready.endpoint

    def _run(self) -> None:
        try:
            self.worker.run()
        except Exception as error:
            self.crash = error

    def list_fronts(self, *fronts: str, workers: tuple[WorkerAddress, ...] = ()) -> None:
        self._epoch += 1
        topology = Topology(epoch=self._epoch, workers=workers, fronts=fronts)
        self.supervisor.send(TopologyChanged(topology))

    def ask(self, front: zmq.Socket[bytes], number: int) -> None:
        """Send the `number`th batch of a front, a login."""
        self.send(front, number, plain.open_session(number, f"user{number}", LOGIN, 0))

    def send(self, front: zmq.Socket[bytes], number: int, *items: ToWorker) -> None:
        """Send the `number`th batch of a front."""
        batch = WorkerBatch(self.incarnation, number, 0, len(items), list(items))
        front.send(envelopes.encode(batch))

    def log_in(self, front: zmq.Socket[bytes], number: int) -> bool:
        """Whether the worker answers the `number`th batch of a front."""
        self.ask(front, number)
        batch = self.receive(front)
        return batch is not None and SessionOpened(number) in batch.items

    def receive(self, front: zmq.Socket[bytes]) -> FrontBatch | None:
        """Return the next batch for a front, None if none comes."""
        return envelopes.decode_front_batch(front.recv()) if front.poll(DEADLINE_MS) else None

    def connect(self, front: str) -> zmq.Socket[bytes]:
        self._sockets.append(connect_dealer(self._context, self._endpoint, identity=front))
        return self._sockets[-1]

    def inquire(self, inquiry: Inquiry[Any]) -> zmq.Socket[bytes]:
        """Ask the worker as an admin does; return the socket that the answer comes to."""
        self._sockets.append(self._context.socket(zmq.DEALER))
        self._sockets[-1].setsockopt(zmq.LINGER, 0)
        self._sockets[-1].connect(f"ipc://{endpoint_of(self._run_dir, self.incarnation)}")
        asked = Asked(1, clock_ms() + DEADLINE_MS, inquiry.name, msgspec.Raw(encode(inquiry)))
        self._sockets[-1].send(encode(asked))
        return self._sockets[-1]

    def wait_for_crash(self) -> BaseException:
        """Return what the worker died of."""
        self._thread.join(DEADLINE_MS / 1000)
        assert self.crash is not None
        return self.crash

    def set_aside(self) -> list[bytes]:
        """Return the stanzas that were set aside, encoded."""
        return [path.read_bytes() for path in (self._run_dir / "data" / "set-aside").iterdir()]

    def stop(self) -> None:
        """Have it stop, as the supervisor does; what it has said can still be received."""
        self.supervisor.send(Stop(1.0))
        self._thread.join(DEADLINE_MS / 1000)
        assert not self._thread.is_alive()

    def close(self) -> None:
        if self._thread.is_alive():
            self.stop()
        for each in self._sockets:
            each.close()
        self._context.term()
        self.supervisor.close()
        self._control.close()
