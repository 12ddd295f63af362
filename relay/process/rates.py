"""How fast each of many goes, whichever connection it uses: remembered while it matters."""

from __future__ import annotations

import math
from typing import Final

# Below it is not worth the while to look for what need not be remembered any more.
_LEAST_FORGOTTEN: Final = 1024


class Rate:
    """So many tokens a second, more than 0, and a `burst` of them at once."""

    __slots__ = ("burst", "burst_ms", "token_ms")

    def __init__(self, per_s: float, burst: int) -> None:
        self.burst = burst
        self.token_ms = 1000 / per_s
        self.burst_ms = burst * self.token_ms


class Rates:
    """A bucket of tokens for everyone, kept only of those whose bucket is not full.

    So it holds as many as took a token within the time that one lasts, on average, and it outlives
    their connections. All times are in ms, of a clock that may be set.
    """

    def __init__(self) -> None:
        # Until when what each took is spoken for: at `now_ms` or before it the bucket is full.
        self._paid_ms: dict[str, float] = {}
        self._forgets_at = _LEAST_FORGOTTEN

    def __len__(self) -> int:
        return len(self._paid_ms)

    def wait_ms(self, who: str, count: int, rate: Rate, now_ms: int) -> int:
        """Take `count` tokens and return 0; or take none, and return after how long that may be.

        More than a burst can be taken of a full bucket.
        """
        paid_ms = self._paid_ms.get(who)
        if paid_ms is None:
            if len(self._paid_ms) >= self._forgets_at:
                self._forget(now_ms)
            paid_ms = now_ms
        # In the latter case the clock has gone back, or the rate up: what was taken then says
        # nothing of now.
        elif paid_ms < now_ms or paid_ms > now_ms + rate.burst_ms:
            paid_ms = now_ms
        paid_ms += (count if count < rate.burst else rate.burst) * rate.token_ms
        late_ms = paid_ms - now_ms - rate.burst_ms
        if late_ms > 0:
            return math.ceil(late_ms)
        self._paid_ms[who] = paid_ms
        return 0

    def _forget(self, now_ms: int) -> None:
        """Let go of those whose buckets are full."""
        self._paid_ms = {who: paid for who, paid in self._paid_ms.items() if paid > now_ms}
        self._forgets_at = max(_LEAST_FORGOTTEN, 2 * len(self._paid_ms))
