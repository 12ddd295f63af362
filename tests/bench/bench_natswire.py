"""What it costs to publish a record of a log, and how long its ack takes.

    python -m tests.bench.bench_natswire [SECONDS]

Three servers on this machine, which sync every write; records of 5 to 40 KB of random bytes, each
with the number that it is to follow; the writer is at the leader's server, over TLS. Prints a line
for each number of records in flight: records a second, ms until the ack, and microseconds of this
process's CPU a record.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

from relay.cluster import jetstream
from relay.cluster.natswire import Wire
from tests.cluster.engines import Engines

IN_FLIGHT = (1, 4, 16)
SMALLEST, LARGEST = 5_000, 40_000
RECORDS = 64  # different ones
SECONDS = 4.0


def measure(wire: Wire, subject: str, last: int, in_flight: int, seconds: float) -> tuple[int, str]:
    """Publish for some seconds; return the last number, and what it cost."""
    records = [os.urandom(random.randint(SMALLEST, LARGEST)) for _ in range(RECORDS)]
    inbox = wire.new_inbox()
    sent_s: deque[float] = deque()
    took_s: list[float] = []
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    first = last
    while time.monotonic() < began_s + seconds or sent_s:
        while len(sent_s) < in_flight and time.monotonic() < began_s + seconds:
            expected = last + len(sent_s)
            record = records[expected % RECORDS]
            jetstream.append(wire, subject, record, expected=expected, reply=inbox)
            sent_s.append(time.monotonic())
        for answer in wire.receive(1.0):
            last = jetstream.appended(answer)
            took_s.append(time.monotonic() - sent_s.popleft())
    cpu_us = (time.process_time() - began_cpu_s) / (last - first) * 1e6
    a_second = (last - first) / (time.monotonic() - began_s)
    took_s.sort()
    median, worst = took_s[len(took_s) // 2], took_s[len(took_s) * 99 // 100]
    return last, (
        f"{in_flight:9} {a_second:9,.0f} {median * 1e3:8.1f} {worst * 1e3:8.1f} {cpu_us:8.0f}"
    )


def main() -> None:
    """Print a line for each number of records in flight."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with tempfile.TemporaryDirectory() as directory, Engines(Path(directory)) as engines:
        wire = engines.wire(0)
        config = jetstream.log_config("bench", 0, replicas=3, max_bytes=900 << 20)
        leader = jetstream.create_stream(wire, config, 10.0).cluster.leader
        wire.close()
        wire = engines.wire(engines.names.index(leader))
        last = 0
        sys.stdout.write("in flight records/s   p50 ms   p99 ms  CPU us\n")
        for in_flight in IN_FLIGHT:
            last, line = measure(wire, config.subjects[0], last, in_flight, seconds)
            sys.stdout.write(line + "\n")
        wire.close()


if __name__ == "__main__":
    main()
