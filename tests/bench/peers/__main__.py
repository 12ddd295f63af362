"""`python -m tests.bench.peers`: the relay beside other servers, on one core, in one run."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path
from typing import Final

import click

from relay.loadgen.run.servers import pinned
from tests.bench.command import (
    Measurement,
    json_option,
    rate_option,
    rounds_option,
    seconds_option,
    tool,
    within_option,
)
from tests.bench.peers.clients import Refused
from tests.bench.peers.drive import Address, DriveFailed, Load, drive
from tests.bench.peers.install import Absent
from tests.bench.peers.report import Run, as_json, faults, shown
from tests.bench.peers.servers import (
    NAMES,
    ROOT,
    Peer,
    ServerFailed,
    chosen,
    free_port,
    running,
)
from tests.bench.peers.wires import WireBroken
from tests.bench.progress import Steps, steps

SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
_START_S: Final = 4.0  # to start and stop a server, and to log in for each load
_BUILD: Final = ROOT / "build" / "peers"

_EXAMPLES: Final = f"""\b
Servers: {", ".join(NAMES)}

\b
Examples:
  make peers
  make peers ARGS="--servers relay,mosquitto --rounds 5"
  python -m tests.bench.peers --seconds 5 --json peers.json
"""


def _servers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[Peer, ...]:
    try:
        return chosen(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@tool(
    _EXAMPLES,
    done="measured; what could not be had is named with the reason",
    faults="a message did not become complete, or came twice",
)
@click.option(
    "--servers",
    callback=_servers,
    default="all",
    show_default=True,
    help="Which, by name, with commas; or all.",
)
@click.option("--pairs", type=click.IntRange(1, 2000), default=100, show_default=True)
@rate_option(1000.0, of="in all")
@rounds_option(2, of="servers")
@seconds_option(3.0)
@within_option("5m", "No server is started that would not be done in this time.")
@json_option()
def peers(
    servers: tuple[Peer, ...],
    pairs: int,
    rate: float,
    rounds: int,
    seconds: float,
    within: float,
    json_file: Path | None,
) -> None:
    """Measure the relay beside other servers: the same pair chat, one core for the server.

    A message goes from one of a pair to the other, the server acks it to the author, the other's
    receipt comes back. Three loads: 8 messages under way a pair, 1 under way, and an open loop.
    Every client is a socket and a few lines of that server's protocol.

    Mosquitto and NATS are Debian's packages, unpacked into build/peers and not installed; Socket.IO
    comes by npm; the floor is floor.c here, the least that a server could do. What is not at hand
    is left out, with the reason. Servers are pinned to core 0, the load to core 1.
    """
    measurement = Measurement()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of us and of every server
    loads = (
        Load("Window 8: 8 messages under way a pair", window=8),
        Load("Window 1: each message waits for the receipt of the one before", window=1),
        Load(f"Open loop: {rate:,.0f} messages a second", rate=rate),
    )
    runs: list[Run] = []
    skipped: dict[str, str] = {}
    with measurement, steps(len(servers) * rounds, within_s=within) as shown_steps:
        for number in range(1, rounds + 1):
            for peer in servers:
                if peer.name in skipped:
                    continue
                if shown_steps.left_s < len(loads) * (1 + seconds) + _START_S:
                    skipped.setdefault(peer.name, f"the time was over in round {number}")
                    continue
                _measure(peer, number, loads, pairs, seconds, runs, skipped, shown_steps)
    reasons = list(skipped.items())
    click.echo(shown(runs, reasons))
    if json_file is not None:
        measurement.write(json_file, as_json(runs, reasons))
    measurement.end(faults(runs))


def _measure(
    peer: Peer,
    number: int,
    loads: tuple[Load, ...],
    pairs: int,
    seconds: float,
    runs: list[Run],
    skipped: dict[str, str],
    shown_steps: Steps,
) -> None:
    """Start a server, put each load on it, stop it; why it cannot be had or driven goes along."""
    shown_steps.begin(f"{peer.name}, round {number}")
    port = free_port()
    cores = os.sched_getaffinity(0)
    has_cores = {SERVER_CPU, LOAD_CPU} <= cores
    with tempfile.TemporaryDirectory(prefix="relay-peers-") as name:
        scratch = Path(name)
        try:
            start = peer.prepare(_BUILD, port, scratch)
            with (
                running(start, port, scratch, (SERVER_CPU,) if has_cores else ()) as server,
                pinned((LOAD_CPU,) if has_cores else ()),
            ):
                for load in loads:
                    result = drive(
                        peer.make,
                        [Address("127.0.0.1", port)],
                        server.cpu_s,
                        pairs=pairs,
                        load=load,
                        warm_up_s=1.0,
                        seconds=seconds,
                    )
                    runs.append(Run(peer.name, start.title, start.durable, load, number, result))
        except (Absent, ServerFailed, DriveFailed, WireBroken, Refused, OSError) as error:
            skipped[peer.name] = str(error)
    shown_steps.end()


if __name__ == "__main__":
    peers(prog_name="python -m tests.bench.peers")
