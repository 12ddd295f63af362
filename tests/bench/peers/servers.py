"""The servers that are compared: how each is started, who speaks with it, what its ack is worth."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from relay import __version__
from relay.loadgen.run.processes import Processes
from relay.loadgen.run.servers import end_with, pinned
from tests.bench.peers import install
from tests.bench.peers.clients import (
    Client,
    JetStreamClient,
    MqttClient,
    NatsClient,
    RelayClient,
    SocketIoClient,
)
from tests.bench.peers.install import Program
from tests.bench.peers.wires import BINARY, TEXT, TcpWire, WebSocketWire

ROOT: Final = Path(__file__).resolve().parents[3]
_READY_WITHIN_S: Final = 30.0
_STOP_WITHIN_S: Final = 15.0
_LOG_LINES: Final = 5
_SYNCS_ALWAYS: Final = (2, 10)  # the NATS server that can sync each message
_TWO_MINUTES: Final = "no: in a file, synced every 2 minutes"

Make = Callable[[str, str], Client]


class Start(NamedTuple):
    """How to start a server, found out once."""

    title: str
    command: list[str]
    environment: dict[str, str]
    durable: str  # whether what it acks outlives a power cut


class Peer(NamedTuple):
    """A server. `prepare` gets what is at hand: (build directory, port, scratch directory)."""

    name: str
    prepare: Callable[[Path, int, Path], Start]
    make: Make


class ServerFailed(Exception):
    """A server that did not come up; the message has the end of its log."""


class Running(NamedTuple):
    """A server that accepts connections."""

    pid: int

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its processes so far."""
        return sum(usage.cpu_s for usage in Processes(self.pid).look().values())


@contextmanager
def running(start: Start, port: int, scratch: Path, cpus: tuple[int, ...]) -> Iterator[Running]:
    """Run a server on these CPUs until the block ends; it is ended by its pid, with its children.

    Raises:
        ServerFailed: it ended, or accepts nothing on `port`.
    """
    log = scratch / "log"
    with pinned(cpus), log.open("wb") as written:
        process = subprocess.Popen(
            start.command,
            cwd=ROOT,
            env={**os.environ, **start.environment},
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, who then stop it
            preexec_fn=partial(end_with, os.getpid()),
        )
    try:
        ends_s = time.monotonic() + _READY_WITHIN_S
        while not _accepts(port):
            if process.poll() is not None or time.monotonic() > ends_s:
                lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                raise ServerFailed("; ".join(lines) or "it said nothing")
            time.sleep(0.05)
        yield Running(process.pid)
    finally:
        _stop(process)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def chosen(names: str) -> tuple[Peer, ...]:
    """Return the servers of a list of names, separated by commas; `all` is each.

    Raises:
        ValueError: there is no such server; the message says which there are.
    """
    wanted = [each.strip() for each in names.split(",") if each.strip()]
    unknown = [each for each in wanted if each not in (*NAMES, "all")]
    if unknown or not wanted:
        which = ", ".join(unknown) or repr(names)
        raise ValueError(f"no server {which}: all, or of {', '.join(NAMES)}")
    return tuple(peer for peer in PEERS if peer.name in wanted or "all" in wanted)


def _relay(build: Path, port: int, scratch: Path) -> Start:
    command = [
        *(sys.executable, str(ROOT / "supervisor.py"), "--workers", "1", "--fronts", "1"),
        *("--port", str(port), "--data", str(scratch / "data"), "--messages-per-s", "1000000"),
    ]
    environment = {"PYTHONPATH": str(ROOT)}
    return Start(f"this relay {__version__}", command, environment, "yes: synced before each ack")


def _mosquitto(build: Path, port: int, scratch: Path) -> Start:
    program = install.debian("mosquitto", build)
    settings = scratch / "mosquitto.conf"
    lines = [
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "persistence false",  # it would write all it has every half hour, not what it acks
        "max_inflight_messages 0",  # its default of 20 would bound the window; 0 is any number
        "max_queued_messages 0",
        "set_tcp_nodelay true",
        "log_type error",
    ]
    if os.geteuid() == 0:
        lines.append("user root")  # else it wants a user of its own, who could not read this file
    settings.write_text("\n".join(lines) + "\n")
    version = install.version_of(program, "-h")
    title = f"Mosquitto {version}, QoS 1, over TCP"
    return Start(title, [str(program.path), "-c", str(settings)], program.environment, "no: memory")


def _nats(build: Path, port: int, scratch: Path) -> Start:
    program, version = _nats_server(build)
    command = _nats_command(program, port, scratch, "")
    return Start(f"NATS {version}", command, program.environment, "no: not even kept")


def _jetstream(build: Path, port: int, scratch: Path) -> Start:
    program, version = _nats_server(build)
    always = tuple(int(each) for each in version.split(".")[:2]) >= _SYNCS_ALWAYS
    sync = "sync_interval: always" if always else ""
    command = _nats_command(
        program, port, scratch, f'jetstream {{ store_dir: "{scratch / "streams"}" {sync} }}\n'
    )
    durable = "yes: synced before each ack" if always else _TWO_MINUTES
    return Start(f"NATS {version}, JetStream", command, program.environment, durable)


def _nats_server(build: Path) -> tuple[Program, str]:
    program = install.debian("nats-server", build)
    return program, install.version_of(program, "--version") or "0.0"


def _nats_command(program: Program, port: int, scratch: Path, more: str) -> list[str]:
    settings = scratch / "nats.conf"
    settings.write_text(
        f'listen: "127.0.0.1:-1"\nwebsocket {{ listen: "127.0.0.1:{port}", no_tls: true }}\n' + more
    )
    return [str(program.path), "-c", str(settings)]


def _socket_io(build: Path, port: int, scratch: Path) -> Start:
    program = install.socket_io(build)
    node = shutil.which("node")
    assert node is not None
    title = f"Socket.IO {install.socket_io_version(program)}"
    command = [node, str(program.path), str(port)]
    return Start(title, command, program.environment, "no: not even kept")


def _floor(build: Path, port: int, scratch: Path) -> Start:
    program = install.floor(build)
    return Start("the floor in C", [str(program.path), str(port)], {}, "no: not even kept")


def _relay_client(name: str, other: str) -> Client:
    return RelayClient(_number(name), _number(other), WebSocketWire("/", kind=TEXT))


def _number(name: str) -> str:
    """Return the phone number that stands for u0, u1 ...; the floor routes by its last bits."""
    return f"91{7_000_000_000 + int(name[1:])}"


def _mqtt_client(name: str, other: str) -> Client:
    # Debian's is built without WebSocket. TCP spares it the frames, so the comparison favours it.
    return MqttClient(name, other, TcpWire())


def _nats_client(name: str, other: str) -> Client:
    return NatsClient(name, other, WebSocketWire("/", kind=BINARY))


def _jetstream_client(name: str, other: str) -> Client:
    return JetStreamClient(name, other, WebSocketWire("/", kind=BINARY))


def _socket_io_client(name: str, other: str) -> Client:
    path = "/socket.io/?EIO=4&transport=websocket"
    return SocketIoClient(name, other, WebSocketWire(path, kind=TEXT))


PEERS: Final = (
    Peer("relay", _relay, _relay_client),
    Peer("mosquitto", _mosquitto, _mqtt_client),
    Peer("jetstream", _jetstream, _jetstream_client),
    Peer("nats", _nats, _nats_client),
    Peer("socket.io", _socket_io, _socket_io_client),
    Peer("floor", _floor, _relay_client),
)
NAMES: Final = tuple(peer.name for peer in PEERS)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a server; whoever of its session is still there after it was killed, too."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_WITHIN_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGKILL)  # the group that began with it
        process.wait()
