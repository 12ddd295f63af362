"""Who sends, as far as it is worth knowing: what may be sent, and who sends most now.

It is asked once in a while, when a session takes messages off its author's quota ahead
(relay.front.limits), and never for each message.
"""

from __future__ import annotations

from heapq import nlargest
from typing import Final

from relay.process.rates import Rate, Rates

# Authors that are counted at a time; of more the half with least is forgotten.
MAX_COUNTED: Final = 1024
# What was sent in this time and the one before is what is sent now.
PERIOD_MS: Final = 5_000


class Senders:
    """Those of one front. All times are in ms, of a clock that may be set."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._now: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._begun_ms = 0
        self._begun_before_ms = 0

    def wait_ms(self, author: str, messages: int, rate: Rate, now_ms: int) -> int:
        """See `Rates.wait_ms`; what may be sent is counted."""
        wait_ms = self._rates.wait_ms(author, messages, rate, now_ms)
        if not wait_ms:
            if not 0 <= now_ms - self._begun_ms < PERIOD_MS:
                self._turn(now_ms)
            counts = self._now
            counts[author] = counts.get(author, 0) + messages
            if len(counts) > MAX_COUNTED:
                most = nlargest(MAX_COUNTED // 2, counts.items(), key=lambda each: each[1])
                self._now = dict(most)
        return wait_ms

    def top(self, limit: int, now_ms: int) -> list[tuple[str, float]]:
        """Return who sends most now, and about how much a second."""
        if not 0 <= now_ms - self._begun_ms < PERIOD_MS:
            self._turn(now_ms)
        over_s = max(1.0, (now_ms - self._begun_before_ms) / 1000)
        counts = dict(self._before)
        for author, count in self._now.items():
            counts[author] = counts.get(author, 0) + count
        most = nlargest(limit, counts.items(), key=lambda each: each[1])
        return [(author, count / over_s) for author, count in most]

    def _turn(self, now_ms: int) -> None:
        """Begin another period; one that was over long ago is none before it."""
        follows = 0 <= now_ms - self._begun_ms < 2 * PERIOD_MS
        self._before = self._now if follows else {}
        self._begun_before_ms = self._begun_ms if follows else now_ms
        self._now = {}
        self._begun_ms = now_ms
