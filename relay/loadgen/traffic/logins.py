"""The order in which users come: some at once, or one every so often."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from relay.loadgen.traffic.share import Share
from relay.loadgen.traffic.timer import Timer

LOGINS_AT_ONCE: Final = 64


class Logins:
    """Logs users in: some at once, or one every so often."""

    def __init__(self, share: Share, users: list[str], *, at_once: int, rate: float = 0.0) -> None:
        self._share = share
        self._waiting = deque(users)
        self._at_once = at_once
        self._interval_ns = int(1e9 / rate) if rate else 0
        self._expected = len(users)
        self._done = 0
        self._due_ns = 0
        self._timer: Timer | None = None

    @property
    def are_done(self) -> bool:
        """Whether all have logged in."""
        return self._done >= self._expected

    def begin(self) -> None:
        """Start."""
        if self._interval_ns:
            self._due_ns = time.monotonic_ns()
            self._timer = Timer(self._begin_due)
            self._timer.at(self._due_ns)
            return
        for _ in range(min(self._at_once, len(self._waiting))):
            self._share.connect(self._waiting.popleft())

    def end(self) -> None:
        """Let nobody else begin."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.close()

    def one_is_in(self) -> None:
        """Note a login, the next may begin."""
        self._done += 1
        if self._waiting and not self._interval_ns:
            self._share.connect(self._waiting.popleft())

    def _begin_due(self) -> None:
        now_ns = time.monotonic_ns()
        while self._waiting and self._due_ns <= now_ns:
            self._share.connect(self._waiting.popleft(), intended_ns=self._due_ns)
            self._due_ns += self._interval_ns
        if self._timer is not None:
            if self._waiting:
                self._timer.at(self._due_ns)
            else:
                self._timer.close()
