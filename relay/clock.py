"""The two clocks of every process, in whole milliseconds where nothing else is said.

Deadlines and pauses go by `clock_ms`, which never jumps. What is stored and what is told to people
and clients goes by `now_ms`, which an operator may set back or forth.
"""

import time


def now_ms() -> int:
    """Return the time since 1970."""
    return time.time_ns() // 1_000_000


def now_us() -> int:
    """Return `now_ms` in microseconds, for what is over within one."""
    return time.time_ns() // 1000


def clock_ms() -> int:
    """Return a time that only grows, from an arbitrary start; it may stand still in a suspend."""
    return time.monotonic_ns() // 1_000_000
