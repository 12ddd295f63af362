"""The memory of every process of a relay while it is under load."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

MIB: Final = 1024 * 1024
LOOK_EVERY_S: Final = 0.2


@dataclass
class Use:
    """What one seat, as `worker 0`, used at its times; resident bytes that it shares with no file.

    So the store's pages, which the kernel may take back, do not count. `peak` is that of the whole
    load, `first_peak` that of its first half.
    """

    before: int
    first_peak: int
    peak: int
    after: int

    @property
    def growth(self) -> int:
        """From before the load to its peak."""
        return self.peak - self.before

    @property
    def late_growth(self) -> int:
        """By how much the second half of the load went beyond the first: 0 if it is bounded."""
        return self.peak - self.first_peak


class Watch:
    """Looks at the processes several times a second while it is entered."""

    def __init__(self, seats: Callable[[], dict[str, Any]]) -> None:
        """Look at what `seats` returns: processes by seat; another one after a restart."""
        self._seats = seats
        self._looks: list[dict[str, int]] = []
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Take note of what each process uses now."""
        uses = {}
        for seat, process in self._seats().items():
            with contextlib.suppress(psutil.Error):
                info = process.memory_info()
                uses[seat] = info.rss - info.shared
        self._looks.append(uses)

    async def __aenter__(self) -> Watch:
        self.look()
        self._task = asyncio.create_task(self._look_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        self.look()

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def uses(self, after: dict[str, int]) -> Iterator[tuple[str, Use]]:
        """Yield what each seat used; `after` is what it uses now that all is over."""
        half = len(self._looks) // 2 + 1
        for seat, before in self._looks[0].items():
            known = [look.get(seat, 0) for look in self._looks]
            yield seat, Use(before, max(known[:half]), max(known), after.get(seat, 0))


def now(seats: dict[str, Any]) -> dict[str, int]:
    """Return what each process uses at this moment."""
    watch = Watch(lambda: seats)
    watch.look()
    return watch._looks[-1]
