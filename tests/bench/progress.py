"""How far a long measurement is: a bar in a terminal, a line a step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Steps:
    """Shows on stderr which step begins; `left_s` says whether there is time for another."""

    def __init__(self, progress: Progress, console: Console, total: int, within_s: float) -> None:
        self._progress = progress
        self._console = console
        self._task = progress.add_task("", total=total)
        self._total = total
        self.done = 0  # steps that are over
        self._began_s = time.monotonic()
        self._within_s = within_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first step could begin."""
        return time.monotonic() - self._began_s

    @property
    def left_s(self) -> float:
        """Seconds until no step may be under way any longer."""
        return self._began_s + self._within_s - time.monotonic()

    def has_time(self, needed_s: float, of: str) -> bool:
        """Tell whether there is so much time; where not, say how many `of` were done."""
        if self.left_s >= needed_s:
            return True
        self._console.print(
            f"the {self._within_s:g} s are over: {self.done} of {self._total} {of}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return False

    def begin(self, what: str) -> None:
        """A step begins."""
        if self._console.is_terminal:
            self._progress.update(self._task, description=what)
        else:
            self._console.print(
                f"[{self.done + 1}/{self._total}] {self.elapsed_s:4.0f} s  {what}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def end(self) -> None:
        """A step is over."""
        self.done += 1
        self._progress.advance(self._task)


@contextmanager
def steps(total: int, *, within_s: float) -> Iterator[Steps]:
    """Show `total` steps that together may take `within_s`."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with progress:
        yield Steps(progress, console, total, within_s)
