"""Looks at files beside the loop, whatever their disk does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Final

from relay import log

# On a disk that hangs; whoever asks gives up long before.
MOST_WAITING: Final = 100


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
        # Who waits for the end of this look, and of the next; those too many would wait in vain.
        self._waiting: deque[Callable[[], None]] = deque(maxlen=MOST_WAITING)
        self._waiting_for_next: deque[Callable[[], None]] = deque(maxlen=MOST_WAITING)

    def look(self, *, at_once: bool = False, then: Callable[[], None] | None = None) -> None:
        """Look, unless that is under way.

        Who knows of a change, and asks `at_once`, is heard also where the thread may have looked
        before that change. `then` is called once what he knows of was looked at.
        """
        if self.is_looking:
            self._look_again |= at_once
            if then is not None:
                self._waiting_for_next.append(then)
            return
        self.is_looking = True
        if then is not None:
            self._waiting.append(then)
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
        if has_changed:
            self._changed()
        while self._waiting:
            self._waiting.popleft()()
        if self._look_again:
            self._look_again = False
            self._waiting, self._waiting_for_next = self._waiting_for_next, self._waiting
            self.look()
