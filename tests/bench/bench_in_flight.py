"""What records in flight bring to the owner of a range: three real engines, one worker, one front.

    python -m tests.bench.bench_in_flight [ROUNDS]

Each number of records in turns. A steady load, one message at a time: how long ack 1 takes. Then as
many messages as it takes, some hundreds being on their way. Last in each column: microseconds of
processor time for each, the worker's and the engines'. There is no standby.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from relay.bus.envelopes import SendToUser, Stored
from tests.cluster import engines as real_engines
from tests.cluster.engines import Engines
from tests.workers.range_harness import PlayedFront, RangeWorker, create_log, settings_of

IN_FLIGHT: Final = (1, 2, 4)
RATES: Final = (50, 2000)
SECONDS: Final = 3.0
UNACKED: Final = 600
READERS: Final = 1000  # who are away, each with room for what a round sends
TICKS: Final = os.sysconf("SC_CLK_TCK")


class Front(PlayedFront):
    """It writes to many, since one mailbox would be full."""

    def _message(self, request: int) -> SendToUser:
        chat = str(920_000_000_000 + request % READERS)
        return msgspec.structs.replace(super()._message(request), chat=chat)


def cpu_s(*pids: int) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def take(front: PlayedFront, timeout_s: float, sent_s: dict[int, float]) -> list[float]:
    now_s = time.perf_counter
    return [
        now_s() - sent_s.pop(item.request)
        for item in front.receive(timeout_s)
        if isinstance(item, Stored) and item.request in sent_s
    ]


def steady(front: PlayedFront, rate: int) -> list[float]:
    """Send at that rate, come what may; return how long each ack took."""
    took: list[float] = []
    sent_s: dict[int, float] = {}
    begun_s = time.perf_counter()
    count = int(rate * SECONDS)
    for number in range(count):
        due_s = begun_s + number / rate
        while (left_s := due_s - time.perf_counter()) > 0.001:
            took += take(front, left_s, sent_s)
        front.send()
        sent_s[front._sent] = due_s
    while len(took) < count:
        took += take(front, 1.0, sent_s)
    return sorted(took)


def flood(front: PlayedFront) -> int:
    before = len(front.acked)
    ends_s = time.perf_counter() + SECONDS
    while time.perf_counter() < ends_s:
        while len(front.unacked) < UNACKED:
            front.send(20)
        front.receive(0.05)
    acked = len(front.acked) - before
    front.settle()
    return acked


def measure(engines: Engines, directory: Path, cluster: str, in_flight: int) -> None:
    create_log(engines, cluster)
    settings = settings_of(
        engines, directory / "data", cluster=cluster, host="a", in_flight=in_flight
    )
    directory.mkdir()
    worker = RangeWorker(directory, settings, incarnation=1)
    pids = [each.pid for each in engines._processes.values()]
    try:
        worker.stand()
        with Front("front-a-0-1000") as front:
            ready = worker.promote()
            worker.list_fronts(front.name)
            front.connect(ready, worker.life(ready))
            front.send_until_acked(50)
            front.settle()
            sys.stdout.write(f"{in_flight:9}")
            used_s = cpu_s(worker.process.pid), cpu_s(*pids)
            for rate in (*RATES, 0):
                if rate:
                    took = steady(front, rate)
                    count, worst = len(took), took[int(len(took) * 0.99)]
                    sys.stdout.write(f" |{1e3 * statistics.median(took):6.1f} {1e3 * worst:6.1f}")
                else:
                    count = flood(front)
                    sys.stdout.write(f" |{count / SECONDS:7,.0f}/s")
                before, used_s = used_s, (cpu_s(worker.process.pid), cpu_s(*pids))
                us = [1e6 * (b - a) / count for a, b in zip(before, used_s, strict=True)]
                sys.stdout.write(f"{us[0]:6.0f} {us[1]:6.0f}")
                sys.stdout.flush()
            sys.stdout.write("\n")
    finally:
        worker.close()


def main() -> None:
    """Print a line for each round and number of records in flight."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    # As the setting allows one.
    real_engines.__dict__["PASSWORD"] = "it-is-said-to-nobody-else"
    columns = " | ".join(f"at {rate}/s: p50, p99 ms, us, us" for rate in RATES)
    sys.stdout.write(f"in flight | {columns} | most: messages/s, us, us\n")
    with ExitStack() as ends:
        directory = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="relay-bench-")))
        (directory / "engines").mkdir()
        engines = ends.enter_context(Engines(directory / "engines"))
        for each in range(rounds):
            for in_flight in IN_FLIGHT:
                cluster = f"b{each}x{in_flight}"
                measure(engines, directory / cluster, cluster, in_flight)


if __name__ == "__main__":
    main()
