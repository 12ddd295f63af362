"""Whether to ask a service that has failed: not for a while, then once, then as ever."""

from __future__ import annotations

from typing import Final

FAILURES: Final = 5  # in a row, then nobody asks
REST_S: Final = 5.0  # until somebody tries


class Breaker:
    """Closed while the service answers. Times are of a clock that never jumps."""

    def __init__(self) -> None:
        self._failures = 0
        self._try_at_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the service is taken to be away."""
        return self._failures >= FAILURES

    def may_ask(self, now_s: float) -> bool:
        """Tell whether to ask now; of those who wait for it to come back one may, each rest."""
        if not self.is_open:
            return True
        if now_s < self._try_at_s:
            return False
        self._try_at_s = now_s + REST_S
        return True

    def answered(self) -> bool:
        """Note an answer; tell whether it is back."""
        was_open, self._failures = self.is_open, 0
        return was_open

    def failed(self, now_s: float) -> bool:
        """Note that none came; tell whether it counts as away from now on."""
        self._failures += 1
        if self._failures == FAILURES:
            self._try_at_s = now_s + REST_S
            return True
        return False

    def retry_after_s(self, now_s: float) -> float:
        """Return when a client that may not ask should try again."""
        return max(1.0, self._try_at_s - now_s)
