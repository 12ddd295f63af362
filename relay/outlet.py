"""Lines for a descriptor that perhaps nobody reads: no caller ever waits for it.

A pipe that is full, a terminal that is stopped with Ctrl-S, a disk that hangs: whoever writes there
waits, be it for ever. So a thread writes, and what it cannot keep up with is dropped and counted.
"""

import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

# Some 600 KiB of usual lines: minutes of the busiest log, and nothing beside a process's memory.
MAX_WAITING_LINES: Final = 2_000


class Outlet:
    """Writes lines to a descriptor, each in one piece and in order, in a thread of its own.

    One piece, because processes share descriptors and lines must not mix. Once lines can be
    written again, `say_lost` is asked for the one that tells how many were lost; it may be set anew
    at any time.
    """

    def __init__(
        self, fd: int, say_lost: Callable[[int], str] = "{} lines were lost".format
    ) -> None:
        self.say_lost = say_lost
        self._fd = fd
        # Of all queues this one may be used by code that interrupts its own use, such as __del__.
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Each is written by one side only: callers count up, the thread remembers.
        self._dropped = 0
        self._failed = 0
        self._told = 0

    def write(self, line: str) -> None:
        """Have `line` written, which has no end of line; it is dropped where too many wait."""
        if self._lines.qsize() >= MAX_WAITING_LINES or not self._runs():
            self._dropped += 1
        else:
            self._lines.put(line)

    def flush(self, within_s: float) -> bool:
        """Wait until all is written, at most that long; tell whether it is."""
        if self._thread is None:
            return True
        done = threading.Event()
        self._lines.put(done)
        return done.wait(within_s)

    def _runs(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._write_all, name="outlet", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: the next line may find room for one
                return False
            self._thread = thread
        return True

    def _write_all(self) -> None:
        # Signals are the main thread's.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                self._tell_lost()
                line.set()
            elif not self._write_whole(line):
                self._failed += 1
            elif self._lines.empty():
                self._tell_lost()

    def _tell_lost(self) -> None:
        lost = self._dropped + self._failed - self._told
        if lost and self._write_whole(self.say_lost(lost)):
            self._told += lost

    def _write_whole(self, line: str) -> bool:
        rest = memoryview((line + "\n").encode(errors="backslashreplace"))
        try:
            while rest:
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except BlockingIOError:
                    # Whoever shares the descriptor has made it so; it is not ours to change.
                    with suppress(InterruptedError):
                        select.select([], [self._fd], [])
        except (OSError, ValueError):
            return False
        return True
