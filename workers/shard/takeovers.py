"""Who was thrown out by another login of the same user, and when (2.2.8).

It is the user's, not a session's: two clients that close at once leave no session behind them.
"""

from __future__ import annotations

from typing import Final

# Of the users whose takeovers were the latest. Each has some 200 bytes, for a few seconds.
MAX_USERS: Final = 10_000


class Takeovers:
    """When the sessions of users were taken over, in ms; older than their window they are gone."""

    def __init__(self) -> None:
        # The latest takeover of one is later than those of all before it.
        self._times: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._times)

    def wait_ms(self, user: str, *, most: int, window_ms: int, now_ms: int) -> int:
        """Return for how long none more of `user` may happen, 0 where one may now.

        What is later than now was noted before the clock was put back: it says nothing.
        """
        noted = self._times.get(user, ())
        recent = [ms for ms in noted if now_ms - window_ms < ms <= now_ms]
        if len(recent) < most:
            return 0
        return recent[-most] + window_ms - now_ms if most else window_ms

    def note(self, user: str, *, most: int, window_ms: int, now_ms: int) -> None:
        """Note a takeover of `user`, of which `most` are looked at, and forget what is too old."""
        times = self._times.pop(user, [])
        del times[: max(0, len(times) + 1 - most)]
        times.append(now_ms)
        self._times[user] = times
        for other in self._oldest(now_ms - window_ms):
            del self._times[other]

    def _oldest(self, since_ms: int) -> list[str]:
        """Return who may be forgotten: the time of their last is over, or they are too many."""
        due: list[str] = []
        for user, times in self._times.items():
            if times[-1] > since_ms and len(self._times) - len(due) <= MAX_USERS:
                break
            due.append(user)
        return due
