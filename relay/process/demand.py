"""How much of its time a thread wants a processor, whether it gets one or not."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_SCHEDULED: Final = Path("/proc/thread-self/schedstat")
_NO_FILE: Final = -1


class Demand:
    """Of the thread that asks first.

    Where many processes share few processors each runs little, though all are busy: they wait for
    one another. The kernel counts that too. One that does not, or not for us, tells at least how
    long the thread ran.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None  # until it was asked

    def runnable_s(self) -> float:
        """Return for how long it has run or waited for a processor, since it began."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(_SCHEDULED, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._descriptor = _NO_FILE
        if self._descriptor != _NO_FILE:
            try:
                ran_ns, waited_ns, _ = os.pread(self._descriptor, 100, 0).split()
                return (int(ran_ns) + int(waited_ns)) / 1e9
            except (OSError, ValueError):
                self.close()
        return time.thread_time()

    def close(self) -> None:
        """Let the file go; the thread's own clock is left."""
        if self._descriptor is not None and self._descriptor != _NO_FILE:
            os.close(self._descriptor)
        self._descriptor = _NO_FILE
