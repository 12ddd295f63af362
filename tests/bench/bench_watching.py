"""`python -m tests.bench.bench_watching`: what messages feel of an operator who watches.

Against one relay, in turns: nobody watches, or `/metrics` is read each second, `relay top` runs in
a terminal, and what an open console asks is asked each second. A load of chats goes on meanwhile.
Its clients and the watchers share the machine with the relay, as on no good server.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.outside.operator import Operator
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay

from .generator import environment, generate
from .records import Latency, read_outcome

NO_QUOTA: Final = "[quota]\nmessages_per_s = 0.0\n"
EVERY_S: Final = 1.0
MARGIN_S: Final = 60.0
ACK: Final = "send → ack 1"
WAYS: Final = ("nobody", "watched")


@contextlib.contextmanager
def watching(relay: Relay) -> Iterator[None]:
    """Watch it from processes and a thread of their own, until the context ends."""
    operator, ends = Operator(relay), threading.Event()

    def ask() -> None:
        while not ends.wait(EVERY_S):
            assert operator.ask("/metrics").status == 200
            assert operator.ask("/api/v1/figures").status == 200  # as the console does

    asking = threading.Thread(target=ask)
    shown, terminal = pty.openpty()
    command = [sys.executable, "-m", "relay", "top", "--data", str(relay.directory / "data")]
    top = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**environment(REPOSITORY), "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    reading = threading.Thread(target=_read_to_the_end, args=(shown,))
    asking.start()
    reading.start()
    os.close(terminal)
    try:
        time.sleep(2 * EVERY_S)
        yield
        assert top.poll() is None, "relay top ended"
    finally:
        ends.set()
        top.terminate()
        top.wait()
        for thread in (asking, reading):
            thread.join()
        os.close(shown)


def _read_to_the_end(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # so a terminal ends whose other side is closed
        while os.read(descriptor, 65536):
            pass


def measure(relay: Relay, seconds: float, load: list[str]) -> Latency:
    """Return the latencies of ack 1 under a load."""
    with tempfile.TemporaryDirectory() as directory:
        record = Path(directory) / "record.json"
        arguments = ["chat", "--url", relay.url, "--for", f"{seconds}s", *load]
        arguments += ["--json", str(record)]
        generate(
            arguments,
            python=Path(sys.executable),
            directory=REPOSITORY,
            within_s=seconds + MARGIN_S,
        )
        outcome = read_outcome(record)
    assert not outcome.wrongs, outcome.wrongs
    return outcome.latencies[ACK]


def main() -> None:
    """Measure in turns, and print a line for each round and the ratios."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.bench_watching",
        description=(__doc__ or "").partition(": ")[2],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=8, help="of both")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each")
    parser.add_argument("--rate", type=int, default=1000, help="messages a second; 0: window 8")
    options = parser.parse_args()
    load = ["--rate", str(options.rate)] if options.rate else ["--window", "8"]
    found: dict[str, list[Latency]] = {way: [] for way in WAYS}
    with Relay(config=NO_QUOTA, workers=1, fronts=1, admin=True) as relay:
        for round_ in range(options.rounds):
            for way in WAYS if round_ % 2 else reversed(WAYS):
                with watching(relay) if way == "watched" else contextlib.nullcontext():
                    found[way].append(measure(relay, options.seconds, load))
            last = "  ".join(
                f"{way} p50 {found[way][-1].p50:.2f} p99 {found[way][-1].p99:.2f} ms"
                for way in WAYS
            )
            sys.stdout.write(f"{round_ + 1} of {options.rounds}: {last}\n")
            sys.stdout.flush()
    for percentile in ("p50", "p99"):
        calm, watched = ([getattr(each, percentile) for each in found[way]] for way in WAYS)
        ratios = [b / a for a, b in zip(calm, watched, strict=True)]
        sys.stdout.write(
            f"{percentile} of ack 1, nobody watches {statistics.median(calm):.2f} ms, watched"
            f" {statistics.median(watched):.2f} ms; ratio {statistics.median(ratios):.2f}"
            f" ({' '.join(f'{each:.2f}' for each in sorted(ratios))})\n"
        )


if __name__ == "__main__":
    main()
