"""How the benchmarks here measure: the least of some runs, which other work disturbed least."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable

RUNS = 7


def us_each(act: Callable[[], int]) -> float:
    """Return the processor time, in microseconds, of each of what `act` says that it did."""
    act()  # what is cached from now on is not measured
    gc.collect()
    gc.disable()
    try:
        best = float("inf")
        for _ in range(RUNS):
            begin = time.process_time_ns()
            done = act()
            best = min(best, (time.process_time_ns() - begin) / done / 1000)
        return best
    finally:
        gc.enable()


def show(what: str, us: float, note: str = "") -> None:
    """Print a line of the table."""
    sys.stdout.write(f"{what:<52} {us:9.2f} us  {note}\n")
