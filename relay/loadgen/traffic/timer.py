"""A timer of the loop that keeps microseconds: Linux's timerfd, as an event loop has milliseconds.

Latencies count from intended times, so a late start would be told as the relay's. Python has
`os.timerfd_create` from 3.13 on only.
"""

import asyncio
import ctypes
import os
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1  # what time.monotonic_ns reads
_ABSOLUTE: Final = 1
_NS_A_SECOND: Final = 1_000_000_000


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


_libc: Final = ctypes.CDLL(None, use_errno=True)


class Timer:
    """Calls `callback` in the running loop at the latest time that `at` was told."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._fd: int = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._fired)

    def at(self, when_ns: int) -> None:
        """Call back at `when_ns` of `time.monotonic_ns`; at once if that is over."""
        seconds, nanoseconds = divmod(max(1, when_ns), _NS_A_SECOND)
        spec = _TimerSpec(_TimeSpec(0, 0), _TimeSpec(seconds, nanoseconds))
        if _libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(spec), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Call back no more."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _fired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set anew since it fired
        self._callback()
