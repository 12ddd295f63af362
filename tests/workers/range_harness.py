"""Real worker processes of a range on two hosts of this machine, and who a test plays for them."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Final, Self

import msgspec
import zmq

from relay.bus import envelopes
from relay.bus.envelopes import (
    LOGIN,
    Deliver,
    FrontBatch,
    Page,
    RequestNumber,
    SendToUser,
    Stored,
    ToFront,
    ToWorker,
    WorkerBatch,
)
from relay.bus.sockets import connect_dealer
from relay.bus.topology import Topology, life_of
from relay.cluster.jetstream import create_stream, log_config
from relay.cluster.natswire import Wire
from relay.cluster.transfers import Transfers
from relay.errors import RelayError
from relay.process.channel import supervisor_end
from relay.process.control import (
    ChildReady,
    FromChild,
    FromSupervisor,
    HandOver,
    Heartbeat,
    PeerGone,
    Promote,
    Standing,
    Stop,
    TopologyChanged,
)
from relay.process.memo import write_memo
from relay.settings.clustering import ClusterSettings
from relay.settings.tables import ServerSettings, Settings, StoreSettings
from tests import plain
from tests.cluster.engines import Engines
from tests.outside.waiting import poll_for
from workers.tools.reshard import reshard

ROOT: Final = Path(__file__).parents[2]
DEADLINE_S: Final = 30.0
# The engines set aside as much for the log of each test, of the 1 GiB that they have.
LOG_BYTES: Final = 32 << 20
AUTHOR, READER = "910000000001", "910000000002"
PUBLIC, SECRET = (key.decode() for key in zmq.curve_keypair())


def settings_of(
    engines: Engines, data: Path, *, cluster: str, host: str, in_flight: int = 1
) -> Settings:
    """Return the settings of one host of a cluster with one range."""
    login = engines.login
    return Settings(
        server=ServerSettings(data=str(data), workers=1),
        store=StoreSettings(map_bytes=1 << 26),
        cluster=ClusterSettings(
            name=cluster,
            hosts=("a=127.0.0.1", "b=127.0.0.2", "c=127.0.0.3"),
            host_name=host,
            in_flight=in_flight,
            ranges=1,
            engine=tuple(f"tls://{each.host}:{each.port}" for each in engines.servers),
            bus_ports="21900-21999",
            ca=login.ca,
            certificate=login.certificate,
            certificate_key=login.key,
            password=login.password,
            bus_public=PUBLIC,
            bus_secret=SECRET,
        ),
    )


def create_log(engines: Engines, cluster: str) -> None:
    """Make the log of the range, as soon as the engines take it: they may elect who decides."""
    config = log_config(cluster, 0, replicas=3, max_bytes=LOG_BYTES)

    def is_made() -> bool:
        try:
            with contextlib.closing(engines.wire()) as wire:
                create_stream(wire, config, 10.0)
        except (RelayError, TimeoutError):
            return False
        return True

    poll_for("the log to be made", is_made, deadline_s=120)


class RangeWorker:
    """One life of the worker of the range on one host, seen from its supervisor."""

    def __init__(self, directory: Path, settings: Settings, *, incarnation: int) -> None:
        """Start it; `directory` is its host's."""
        self.settings = settings
        self.run_dir = directory / "run"
        self.run_dir.mkdir(parents=True, exist_ok=True)
        data = Path(settings.server.data)
        if not data.exists():
            data.mkdir()
            reshard(data, settings)
        ours, theirs = socket.socketpair()
        memo = write_memo("settings", msgspec.json.encode(settings))
        fds = {"--control-fd": theirs.fileno(), "--settings-fd": memo}
        options = {"--run-dir": str(self.run_dir), "--index": "0", "--incarnation": incarnation}
        with (directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "workers"),
                    *(str(part) for option in (options | fds).items() for part in option),
                ],
                cwd=ROOT,
                pass_fds=tuple(fds.values()),
                stdout=log,
                stderr=log,
            )
        theirs.close()
        self._log = directory / "log"
        self._channel = supervisor_end(ours)
        self._said: list[FromChild | PeerGone] = []
        self.heartbeats: list[float] = []
        self._epoch = 0

    def listen(self) -> None:
        for message in self._channel.receive():
            if isinstance(message, Heartbeat):
                self.heartbeats.append(time.monotonic())
            else:
                self._said.append(message)

    def log(self) -> str:
        """Return what the processes of its host have logged."""
        return self._log.read_text()

    def hear(
        self,
        kind: type | UnionType,
        *,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Any:
        """Return the next message of a kind; those before it are gone."""
        until_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < until_s:
            self.listen()
            while self._said:
                message = self._said.pop(0)
                if isinstance(message, kind):
                    return message
                assert not isinstance(message, PeerGone), self.log()
            meanwhile()
            time.sleep(0.005)
        raise AssertionError(f"no {kind}: {self.log()}")

    def stand(self, number: int = 0, *, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until it stands by with the records up to that number."""
        while self.hear(Standing, meanwhile=meanwhile).applied < number:
            pass

    def say(self, message: FromSupervisor) -> None:
        self._channel.send(message)

    def life(self, ready: ChildReady) -> int:
        """Return what a batch for it names as its receiver."""
        return life_of(0, ready.epoch, host=self.settings.cluster.host_name)

    def promote(self) -> ChildReady:
        """Have it own the range; where it says that it stands by, tell it again."""
        self.say(Promote())
        while True:
            match self.hear(ChildReady | Standing):
                case ChildReady() as ready:
                    return ready
                case _:
                    self.say(Promote())

    def list_fronts(self, *fronts: str) -> None:
        self._epoch += 1
        self.say(TopologyChanged(Topology(epoch=self._epoch, fronts=fronts)))

    def hand_over(self, to: str) -> None:
        self.say(HandOver(to))

    def stop(self, within_s: float = 10.0) -> int:
        self.say(Stop(within_s))
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self._channel.close()


class PlayedAgent:
    """An agent that hands out a copy of the range's store on its host."""

    def __init__(self, wire: Wire, cluster: str, host: str, store: Path, copies: Path) -> None:
        self._wire = wire
        subject = f"{cluster}.snapshot.0"
        self._sids = {wire.subscribe(subject), wire.subscribe(f"{subject}.{host}")}
        self._transfers = Transfers(host, copies, lambda range_: store)
        wire.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transfers.close()

    def answer(self) -> None:
        for message in self._wire.receive(0.01):
            if message.sid in self._sids:
                answer = self._transfers.answer(message.payload, time.monotonic(), range_=0)
                if answer is not None:
                    self._wire.publish(message.reply, answer)
        self._wire.flush()


class PlayedFront:
    """A front: it sends messages of AUTHOR to READER, and keeps what was not acked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unacked: dict[int, str] = {}  # request -> id
        self.acked: list[str] = []
        self.frame_bytes = 0  # at least
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None
        self._life = self._number = self._received = self._sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        self._context.term()

    def leave(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def connect(self, ready: ChildReady, life: int) -> None:
        """Begin a link with an owner, and send again what was not acked."""
        self.leave()
        self._socket = connect_dealer(self._context, ready.endpoint, identity=self.name)
        self._life, self._number, self._received = life, 0, 0
        if self.unacked:
            self._send([self._message(request) for request in self.unacked])

    def _message(self, request: int) -> SendToUser:
        message_id = self.unacked[request]
        return SendToUser(
            *(RequestNumber(request), AUTHOR, READER, message_id),
            *(int(time.time()), bytes(8), message_id.encode().ljust(self.frame_bytes)),
        )

    def _send(self, items: list[ToWorker]) -> None:
        assert self._socket is not None
        self._number += 1
        batch = WorkerBatch(self._life, self._number, self._received, len(items), items)
        self._socket.send(envelopes.encode(batch))

    def send(self, count: int = 1) -> None:
        """Send so many messages in one batch."""
        items: list[ToWorker] = []
        for _ in range(count):
            self._sent += 1
            self.unacked[self._sent] = f"id-{self._sent}"
            items.append(self._message(self._sent))
        self._send(items)

    def receive(self, timeout_s: float) -> list[ToFront]:
        """Take a batch, if one comes, and note what it acks."""
        assert self._socket is not None
        if not self._socket.poll(int(1000 * timeout_s)):
            return []
        batch: FrontBatch = envelopes.decode_front_batch(self._socket.recv())
        self._received = batch.number
        for item in batch.items:
            if isinstance(item, Stored):
                self.acked.append(self.unacked.pop(item.request))
        return batch.items

    def send_until_acked(
        self,
        count: int,
        *,
        within_s: float = DEADLINE_S,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Send messages, a few at a time, until so many more are acked."""
        until_s = time.monotonic() + within_s
        wanted = len(self.acked) + count
        while len(self.acked) < wanted:
            assert time.monotonic() < until_s, f"{len(self.acked)} of {wanted} were acked"
            if len(self.unacked) < 40:
                self.send(5)
            self.receive(0.05)
            meanwhile()

    def settle(self, *, within_s: float = DEADLINE_S) -> None:
        """Wait until all is acked."""
        until_s = time.monotonic() + within_s
        while self.unacked:
            assert time.monotonic() < until_s, f"{len(self.unacked)} are not acked"
            self.receive(0.05)

    def read_mailbox(self) -> list[str]:
        """Log READER in and return the ids of all that waits, in order."""
        self._send([plain.open_session(1, READER, LOGIN, 0)])
        ids: list[str] = []
        pages = 0
        until_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < until_s:
            for item in self.receive(0.1):
                match item:
                    case Page():
                        ids += [entry.frame.decode().strip() for entry in item.entries]
                        pages += 1
                        if item.more:
                            self._send([plain.ready(1, item.entries[-1].seq, pages)])
                        elif item.last:
                            return ids
                    case Deliver():
                        ids.append(item.frame.decode().strip())
                    case _:
                        pass
        raise AssertionError(f"the mailbox did not end behind {len(ids)}")
