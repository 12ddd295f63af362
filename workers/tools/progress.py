"""How far a long piece of work is: a line on a terminal, or now and then a line of a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

# What is over before a person begins to wonder says nothing.
_QUIET_S: Final = 2.0
_TERMINAL_EVERY_S: Final = 0.2
_LOG_EVERY_S: Final = 10.0
# Looking at the clock for each item would cost as much as some items do.
_LOOK_EVERY: Final = 256
# Where a program follows it, it hears soon and often.
_FOLLOWED_S: Final = 0.5


class _Pace:
    """After how long something is said of a work, and how often where there is no terminal."""

    quiet_s = _QUIET_S
    every_s = _LOG_EVERY_S


def hurry() -> None:
    """Say soon and often how far every work of this process is: a program follows it."""
    _Pace.quiet_s = _Pace.every_s = _FOLLOWED_S


class Progress:
    """Counts `total` items of work; `advance` is called for each."""

    def __init__(
        self,
        what: str,
        total: int,
        *,
        stream: TextIO | None = None,
        log: Callable[[int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show it on `stream`, by default stderr, if that is a terminal.

        Elsewhere give the percentage to `log` now and then, or write it to the stream.
        """
        self._what = what
        self._total = max(total, 1)
        self._stream = stream or sys.stderr
        self._log = log or self._write_line
        self._on_terminal = self._stream.isatty()
        self._every_s = _TERMINAL_EVERY_S if self._on_terminal else _Pace.every_s
        self._clock = clock
        self._due_s = clock() + _Pace.quiet_s
        self._done = 0
        self._shown = False

    def advance(self, items: int = 1) -> None:
        """Count `items` as done."""
        before = self._done
        self._done += items
        if self._done // _LOOK_EVERY != before // _LOOK_EVERY and self._clock() >= self._due_s:
            self._due_s = self._clock() + self._every_s
            self._show()

    def end(self) -> None:
        """Clear the line, for what is written next."""
        if self._shown and self._on_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    @property
    def percent(self) -> int:
        """How much of the work is done; what turns out to be more than planned is not shown."""
        return min(self._done * 100 // self._total, 100)

    def _show(self) -> None:
        self._shown = True
        if self._on_terminal:
            line = f"\r{self._what}: {self.percent} %, {self._done:,} of {self._total:,}\x1b[K"
            self._stream.write(line)
            self._stream.flush()
        else:
            self._log(self.percent)

    def _write_line(self, percent: int) -> None:
        with suppress(BrokenPipeError):  # who followed it has gone; the work is ended in order
            self._stream.write(f"{self._what}: {percent} %\n")
            self._stream.flush()
