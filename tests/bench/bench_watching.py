"""`python -m tests.bench.bench_watching`: what messages feel of an operator who watches.

Against one relay, in turns: nobody watches, or `/metrics` is read each second, `relay top` runs in
a terminal, and what an open console asks is asked each second. With --browser the console itself
is open, in a headless Chromium. A load of chats goes on meanwhile. Its clients and the watchers
share the machine with the relay, as on no good server: a browser draws elsewhere, so --browser-nice
19 has it step back, and --browser-cpus has it elsewhere, where there are cores.
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from tests.outside import chromium
from tests.outside.operator import Operator, console_of
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .generator import environment, generate
from .records import Latency, read_outcome

NO_QUOTA: Final = "[quota]\nmessages_per_s = 0.0\n"
EVERY_S: Final = 1.0
MARGIN_S: Final = 60.0
ACK: Final = "send → ack 1"
WAYS: Final = ("nobody", "watched")
PERCENTILES: Final = ("p50", "p99")
BROWSER_S: Final = 60.0  # to show the console, on a busy machine

Pids = Mapping[str, int]


@contextlib.contextmanager
def watching(relay: Relay, page: chromium.Page | None) -> Iterator[Pids]:
    """Watch it from processes and a thread of their own; yield what they are called, and their ids.

    Without a page what an open console asks is asked without one.
    """
    with contextlib.ExitStack() as stack:
        asks = ["/metrics"] if page else ["/metrics", "/api/v1/figures"]
        stack.enter_context(_asking(relay, asks))
        top = stack.enter_context(_top(relay))
        pids = {"relay top": top.pid}
        if page:
            console = stack.enter_context(console_of(relay))
            stack.callback(page.go, "about:blank")
            page.open(console.address)
            poll_for("the console is live", lambda: _state(page) == "live", deadline_s=BROWSER_S)
            pids |= {"relay console": console.pid, "browser": page.pid}
        time.sleep(2 * EVERY_S)
        yield pids
        assert top.poll() is None, "relay top ended"
        assert page is None or _state(page) == "live", "the console is no longer live"


def _state(page: chromium.Page) -> object:
    return page.run("document.getElementById('state')?.innerText")


@contextlib.contextmanager
def _asking(relay: Relay, paths: list[str]) -> Iterator[None]:
    """Ask for these each second."""
    operator, ends = Operator(relay), threading.Event()

    def ask() -> None:
        while not ends.wait(EVERY_S):
            for path in paths:
                assert operator.ask(path).status == 200

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ends.set()
        asking.join()


@contextlib.contextmanager
def _top(relay: Relay) -> Iterator[subprocess.Popen[bytes]]:
    """Run `relay top` in a terminal."""
    shown, terminal = pty.openpty()
    top = subprocess.Popen(
        [sys.executable, "-m", "relay", "top", "--data", str(relay.directory / "data")],
        cwd=REPOSITORY,
        env={**environment(REPOSITORY), "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    reading = threading.Thread(target=_read_to_the_end, args=(shown,))
    reading.start()
    os.close(terminal)
    try:
        yield top
    finally:
        top.terminate()
        top.wait()
        reading.join()
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


def measure_watched(
    relay: Relay, page: chromium.Page | None, seconds: float, load: list[str]
) -> tuple[Latency, str]:
    """Return the latencies while somebody watches, and what the watchers used meanwhile."""
    with watching(relay, page) as pids:
        began_s = time.monotonic()
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        latency = measure(relay, seconds, load)
        took_s = time.monotonic() - began_s
        used = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    return latency, ", ".join(f"{name} {100 * s / took_s:.1f} %" for name, s in used.items())


def cpu_s(pid: int) -> float:
    """Return the processor time that a process and all below it have used."""
    parent = psutil.Process(pid)
    used_s = 0.0
    for process in (parent, *parent.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used_s += times.user + times.system
    return used_s


@contextlib.contextmanager
def browser(nice: int, cpus: str) -> Iterator[chromium.Page]:
    """Run a headless Chromium, with an empty tab, as the options say."""
    program = chromium.executable()
    if program is None:
        raise SystemExit("bench_watching: Chromium is not installed")
    under = ["nice", "-n", str(nice)] if nice else []
    if nice and os.geteuid() == 0:
        # It sets the niceness of its threads itself, and of root's to what it likes.
        under = ["setpriv", "--bounding-set=-sys_nice", *under]
    under += ["taskset", "--cpu-list", cpus] if cpus else []
    with chromium.open_page(program, under=under) as page:
        yield page


def main() -> None:
    """Measure in turns; print lines for each round, and the ratios."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.bench_watching",
        description=(__doc__ or "").partition(": ")[2],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=8, help="of both")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each")
    parser.add_argument("--rate", type=int, default=1000, help="messages a second; 0: window 8")
    parser.add_argument("--browser", action="store_true", help="open the console itself")
    parser.add_argument("--browser-nice", type=int, default=0, metavar="N", help="its niceness")
    parser.add_argument("--browser-cpus", default="", metavar="LIST", help="its cores, as 2,3")
    options = parser.parse_args()
    load = ["--rate", str(options.rate)] if options.rate else ["--window", "8"]
    found: dict[str, list[Latency]] = {way: [] for way in WAYS}
    with contextlib.ExitStack() as stack:
        page = None
        if options.browser:
            page = stack.enter_context(browser(options.browser_nice, options.browser_cpus))
        relay = stack.enter_context(Relay(config=NO_QUOTA, workers=1, fronts=1, admin=True))
        for round_ in range(options.rounds):
            used = ""
            for way in WAYS if round_ % 2 else reversed(WAYS):
                if way == "watched":
                    latency, used = measure_watched(relay, page, options.seconds, load)
                else:
                    latency = measure(relay, options.seconds, load)
                found[way].append(latency)
            calm, watched = (found[way][-1] for way in WAYS)
            sys.stdout.write(
                f"{round_ + 1} of {options.rounds}:"
                f"  nobody p50 {calm.p50:.2f} p99 {calm.p99:.2f} ms"
                f"  watched p50 {watched.p50:.2f} p99 {watched.p99:.2f} ms"
                f"  ratio p50 {watched.p50 / calm.p50:.2f} p99 {watched.p99 / calm.p99:.2f}\n"
                f"    of a core: {used}\n"
            )
            sys.stdout.flush()
    for percentile in PERCENTILES:
        calm_ms, watched_ms = ([getattr(each, percentile) for each in found[way]] for way in WAYS)
        ratios = [b / a for a, b in zip(calm_ms, watched_ms, strict=True)]
        sys.stdout.write(
            f"{percentile} of ack 1, nobody watches {statistics.median(calm_ms):.2f} ms, watched"
            f" {statistics.median(watched_ms):.2f} ms; ratio {statistics.median(ratios):.2f}"
            f" ({' '.join(f'{each:.2f}' for each in sorted(ratios))})\n"
        )


if __name__ == "__main__":
    main()
