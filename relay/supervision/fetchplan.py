"""When to fetch keys: now and then, soon after a failure, at once for a key that nobody knows."""

from __future__ import annotations

from random import Random
from typing import Final

# After the first failure in a row.
LEAST_BACKOFF_S: Final = 5.0
# After failures in a row it is asked less and less often, but at least each of these.
MOST_BACKOFF_S: Final = 300.0
# However short-lived an answer calls itself.
LEAST_AGE_S: Final = 60.0


class FetchPlan:
    """Times are those of a clock that never jumps."""

    def __init__(self, refresh_s: float, *, rest_s: float, random: Random, now_s: float) -> None:
        """Fetch at once, then at least each `refresh_s`, and begin no two within `rest_s`."""
        self._refresh_s = refresh_s
        self._rest_s = rest_s
        self._random = random
        self._rested_s = now_s
        self._failures = 0
        self.due_s = now_s

    @property
    def is_failing(self) -> bool:
        """Whether the last fetch has failed."""
        return self._failures > 0

    def wanted(self, now_s: float) -> None:
        """Somebody needs a key that is not there."""
        self.due_s = min(self.due_s, max(now_s, self._rested_s))

    def begun(self, now_s: float) -> None:
        """A fetch is under way; `succeeded` or `failed` follows."""
        self._rested_s = now_s + self._rest_s
        self.due_s = float("inf")

    def succeeded(self, now_s: float, max_age_s: float | None) -> None:
        """It has brought keys, which call themselves good for so long, or do not say."""
        self._failures = 0
        age_s = self._refresh_s if max_age_s is None else min(max_age_s, self._refresh_s)
        self._expect(now_s + max(LEAST_AGE_S, age_s) * self._random.uniform(0.8, 1.0))

    def failed(self, now_s: float) -> None:
        """It has brought none."""
        backoff_s = min(LEAST_BACKOFF_S * 2.0**self._failures, MOST_BACKOFF_S, self._refresh_s)
        self._failures = min(self._failures + 1, 16)
        self._expect(now_s + backoff_s * self._random.uniform(0.8, 1.2))

    def _expect(self, at_s: float) -> None:
        self.due_s = max(at_s, self._rested_s)
