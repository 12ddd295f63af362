"""Looks at files beside the loop, whatever their disk does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from relay import log


class Lookout:
    """Has files looked at in a thread, and no two at a time.

    Where a disk hangs, that thread hangs with it, and what was read before goes on to count.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        look: Callable[[], bool],
        changed: Callable[[], None],
        *,
        fault: str,
    ) -> None:
        """`look` runs in the thread; where it tells so, `changed` follows in the loop.

        `fault` is what the log says of an exception of `look`.
        """
        self._loop = loop
        self._look = look
        self._changed = changed
        self._fault = fault
        self.is_looking = False
        self._look_again = False  # what has changed meanwhile may have been looked at before

    def look(self, *, at_once: bool = False) -> None:
        """Look, unless that is under way.

        Who knows of a change, and asks `at_once`, is heard also where the thread may have looked
        before that change.
        """
        if self.is_looking:
            self._look_again |= at_once
            return
        self.is_looking = True
        # A daemon: an executor's would keep the process from ending.
        Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        has_changed = False
        try:
            has_changed = self._look()
        except Exception:  # a bug of ours; what was read before counts
            log.get_logger().exception(self._fault)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._has_looked, has_changed)

    def _has_looked(self, has_changed: bool) -> None:
        self.is_looking = False
        if self._look_again:
            self._look_again = False
            self.look()
        if has_changed:
            self._changed()
