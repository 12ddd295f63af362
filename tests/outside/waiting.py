"""How a test waits: for something, never for a guessed time, and with a deadline."""

import time
from collections.abc import Callable
from typing import Final

# Long enough for a machine with every core busy: only a failing test waits this long.
DEADLINE_S: Final = 15.0


def poll_for(what: str, condition: Callable[[], bool], *, deadline_s: float = DEADLINE_S) -> None:
    """Wait until `condition()` holds; `what` says in the failure what did not happen."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.01)


def slowest_s(act: Callable[[], object], *, times: int = 20) -> float:
    """Do `act` some times; return how long it took at most.

    What must not happen to a client that does as much in time is to be bounded by a multiple of it:
    a fixed bound is a guess at the machine, and at what else runs on it.
    """
    slowest = 0.0
    for _ in range(times):
        began = time.monotonic()
        act()
        slowest = max(slowest, time.monotonic() - began)
    return slowest
