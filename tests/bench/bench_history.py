"""What history costs: a message in a store that has seen many, against one in a fresh store.

    python -m tests.bench.bench_history --messages 10000000

A shard on a store, synced, in this process. Time runs so fast that the messages fill two and a half
times the days that they are remembered; one in four is for somebody who is away, so that at the end
a million waits. Then both stores take messages in turn, and the processor time of each is compared.
Ids are without order, or begin with the second as those of the relay's own clients do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from relay.settings.tables import Settings
from workers.store.store import Store

from .bench_store import Worker

BATCH = 100
SWEEP_EVERY = 4_000  # fewer than a sweep may forget
SPANS = 2.5  # how often the days that messages are remembered for
MIB = 1024 * 1024
ROUNDS = 20
ROUND_MESSAGES = 4_000


class Clock:
    """A time that the benchmark moves."""

    def __init__(self) -> None:
        self.now_ms = time.time_ns() / 1_000_000

    def __call__(self) -> int:
        return int(self.now_ms)


def age(worker: Worker, clock: Clock, messages: int, directory: Path) -> list[tuple[int, float]]:
    """Put a history through the worker; return (messages so far, MiB of the file) on the way."""
    step_ms = SPANS * Settings().dedupe.retention_days * 86_400_000 / messages
    sizes: list[tuple[int, float]] = []
    done = swept = 0
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} messages"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task("ageing", total=messages)
        while done < messages:
            more = worker.messages(3 * BATCH) + worker.messages_to_absent(BATCH)
            done += more
            clock.now_ms += more * step_ms
            progress.advance(task, more)
            if done - swept >= SWEEP_EVERY:
                swept = done
                worker.sweep()
            if done * 10 // messages > len(sizes):
                sizes.append((done, file_mib(directory)))
    return sizes


def file_mib(directory: Path) -> float:
    """Return the size of a store's file."""
    return (directory / "data.mdb").stat().st_size / MIB


def cost_us(worker: Worker) -> float:
    """Return the processor time of one message, over a round of them."""
    begin = time.process_time_ns()
    done = sum(worker.messages(BATCH) for _ in range(ROUND_MESSAGES // BATCH))
    return (time.process_time_ns() - begin) / done / 1000


def waiting(directory: Path) -> int:
    """Return how many entries the mailboxes of a closed store hold, in its pages."""
    store = open_store(directory)
    with store._env.begin() as txn:
        entries: int = txn.stat(store._dbs["mail"])["entries"]
    store.close()
    return entries


def open_store(directory: Path) -> Store:
    """Open a store as a worker does."""
    settings = Settings().store
    return Store(
        directory,
        durability="fsync",
        map_bytes=settings.map_bytes,
        max_map_bytes=settings.max_map_bytes,
    )


def main() -> None:
    """Print the sizes on the way, the start of a worker on it, and the two costs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=10_000_000, help="default: 10,000,000")
    parser.add_argument("--ids", choices=("scattered", "ordered"), default="scattered")
    given = parser.parse_args()
    is_ordered = given.ids == "ordered"
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=Path.cwd()) as name:
        old_directory, clock = Path(name) / "old", Clock()
        old = Worker(old_directory, synced=True, now_ms=clock, has_ordered_ids=is_ordered)
        for done, mib in age(old, clock, given.messages, old_directory):
            sys.stdout.write(f"after {done:>12,} messages  the file has {mib:8,.0f} MiB\n")
        fresh = Worker(Path(name) / "fresh", synced=True, has_ordered_ids=is_ordered)
        costs = [(cost_us(fresh), cost_us(old)) for _ in range(ROUNDS + 1)][1:]
        ratios = sorted(one / other for other, one in costs)
        in_fresh, in_old = (statistics.median(column) for column in zip(*costs, strict=True))
        sys.stdout.write(
            f"a message in a fresh store {in_fresh:.1f} us, in the old one {in_old:.1f} us;"
            f" ratio {statistics.median(ratios):.2f}, from {ratios[0]:.2f} to {ratios[-1]:.2f}"
            f" in {ROUNDS} rounds\n"
        )
        old.store.close()
        fresh.store.close()
        begin_s = time.perf_counter()
        open_store(old_directory).close()
        took_s = time.perf_counter() - begin_s
        sys.stdout.write(
            f"{waiting(old_directory):,} entries wait; opened and closed in {took_s:.2f} s\n"
        )


if __name__ == "__main__":
    main()
