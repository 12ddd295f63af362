"""What day it is, for what expires: a clock that jumps is not believed until that has lasted.

An operator, a time server or a resumed machine may set the clock by years, and back a moment later.
Whatever had expired by it would be gone. So the day goes by the clock only where the time that has
passed, as the other clock measures it, explains that; a jump must last an hour. A start knows of no
time passed: there the clock must fit what the store knows.
"""

from __future__ import annotations

from typing import Final

# By how much the clock may be off and is followed at once. What expires waits for days.
TOLERANCE_MS: Final = 5 * 60_000
# How long a clock must go on from where it has jumped to.
LASTS_MS: Final = 60 * 60_000


class Calendar:
    """The day, as far as it is believed; `look` now and then, and `doubt_ms` and `moved_ms` tell.

    `doubt_ms` is by how much the clock is ahead of the day while it is not believed, else 0.
    `moved_ms` is by how much the last `look` has moved the day, because a jump has lasted.
    """

    def __init__(self, *, now_ms: int, clock_ms: int, known_ms: int) -> None:
        """Begin at `now_ms`, or at `known_ms` where that is long past, or the clock jumped ahead.

        `known_ms` is the latest time that the store knows of, 0 if it knows none.
        """
        self.doubt_ms = 0
        self.moved_ms = 0
        is_ahead = known_ms and now_ms - known_ms > TOLERANCE_MS
        # The day was `_base_ms` at `_base_clock_ms`.
        self._base_ms = known_ms if is_ahead else now_ms
        self._base_clock_ms = clock_ms
        self._doubted_at_ms = 0  # since when the clock is off by about `doubt_ms`

    def look(self, *, now_ms: int, clock_ms: int) -> int:
        """Return the day, in ms since 1970, where the two clocks show these times."""
        self.moved_ms = 0
        expected_ms = self._base_ms + clock_ms - self._base_clock_ms
        off_ms = now_ms - expected_ms
        if abs(off_ms) <= TOLERANCE_MS:
            self.doubt_ms = 0
            if clock_ms - self._base_clock_ms >= LASTS_MS:
                # From time to time: small corrections may add up, but never fast.
                self._base_ms, self._base_clock_ms = now_ms, clock_ms
            return now_ms
        if not self.doubt_ms or abs(off_ms - self.doubt_ms) > TOLERANCE_MS:
            self.doubt_ms, self._doubted_at_ms = off_ms, clock_ms
        elif clock_ms - self._doubted_at_ms >= LASTS_MS:
            self._base_ms, self._base_clock_ms = now_ms, clock_ms
            self.doubt_ms, self.moved_ms = 0, off_ms
            return now_ms
        return expected_ms
