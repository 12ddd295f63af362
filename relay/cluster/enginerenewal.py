"""When a server that cannot write is to be replaced. Pure.

A write that fails is its last one: it takes no part in what it could not write, whatever room there
is later, until it is started again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# It lets others lead what it led first.
AFTER_MS: Final = 5_000


class Renewal:
    """Whether one server has written its last, and whether another one would do better."""

    def __init__(self, min_free_bytes: int) -> None:
        """Another one would with `min_free_bytes` free on the disk."""
        self.min_free_bytes = min_free_bytes
        self.reason = ""  # what it said; empty while it writes
        self.has_begun = False
        self._not_before_ms = 0

    def note(self, said: str, now_ms: int) -> bool:
        """Take it that it has said so; tell whether that is new."""
        if self.reason:
            return False
        self.reason, self._not_before_ms = said, now_ms + AFTER_MS
        return True

    def begins(self, free_bytes: Callable[[], int], now_ms: int) -> bool:
        """Tell whether it is to be stopped now for another one, which has begun then."""
        if not self.reason or self.has_begun or now_ms < self._not_before_ms:
            return False
        self.has_begun = free_bytes() >= self.min_free_bytes
        return self.has_begun
