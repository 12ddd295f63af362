"""`python -m tests.bench.bench_tls`: what TLS costs, a message and a socket, beside no TLS.

A relay of each kind in turns; pairs of users, each on its own connection, send so many messages at
a time and wait for all of them. What the clients cost is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import uvloop

from tests.outside.certificates import Authority, tls_config
from tests.outside.relay import Relay
from tests.trials.people import Person, log_in, message_of

KIB: Final = 1024
NO_QUOTA: Final = "[quota]\nmessages_per_s = 0.0\n"
LOOK_S: Final = 0.0005


async def pair_up(url: str, count: int) -> list[tuple[Person, Person]]:
    """Return pairs who are logged in."""
    people = [await log_in(url, f"9170{number:06}") for number in range(2 * count)]
    return list(zip(people[::2], people[1::2], strict=True))


async def chat(pair: tuple[Person, Person], window: int, ends_s: float) -> int:
    """Send `window` messages at a time until then; return how many."""
    author, reader = pair
    sent = 0
    while time.monotonic() < ends_s:
        for _ in range(window):
            sent += 1
            author.send(reader.user, f"{author.user}-{sent}-{ends_s}", message_of(100))
        author.flush()
        while author.unanswered:
            await asyncio.sleep(LOOK_S)
    return sent


def cpu_s(relay: Relay) -> float:
    """Return what all processes of a relay have used."""
    return sum(sum(child.process.cpu_times()[:2]) for child in relay.children())


def front_bytes(relay: Relay) -> int:
    """Return the memory of its front."""
    [front] = relay.children("front")
    rss: int = front.process.memory_info().rss
    return rss


async def measure(relay: Relay, options: argparse.Namespace) -> list[float]:
    """Return the µs a message at each window, then the KiB a socket."""
    url = relay.url.replace("0.0.0.0", "127.0.0.1")
    warm = await pair_up(url, options.pairs)
    figures = []
    for window in (1, 8):
        before, began = cpu_s(relay), time.monotonic()
        ends_s = began + options.seconds
        sent = sum(await asyncio.gather(*(chat(pair, window, ends_s) for pair in warm)))
        figures.append((cpu_s(relay) - before) / sent * 1e6)
    rss = front_bytes(relay)
    idle = [await log_in(url, f"9180{number:06}") for number in range(options.idle)]
    figures.append((front_bytes(relay) - rss) / options.idle / KIB)
    for person in (*idle, *(each for pair in warm for each in pair)):
        person.leave(goodbye=False)
    return figures


def main() -> None:
    """Measure in turns, and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_tls")
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=4.0, help="at each window")
    parser.add_argument("--idle", type=int, default=2000, help="sockets that only log in")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        certificate = Authority().issue("localhost")
        kinds: dict[str, str] = {"plain": "", "TLS": tls_config(certificate.write(Path(name), "x"))}
        sys.stdout.write("       window 1  window 8  KiB a socket\n")
        for _ in range(options.turns):
            for kind, config in kinds.items():
                with Relay(workers=1, fronts=1, config=NO_QUOTA + config) as relay:
                    figures: Any = uvloop.run(measure(relay, options))
                line = f"{kind:6} {figures[0]:6.0f} µs {figures[1]:6.0f} µs {figures[2]:9.1f}"
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
