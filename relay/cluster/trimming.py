"""How much of a range's log may be purged: what every copy has, and what is old enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

# A host that was away for no longer than that catches up by the log alone.
KEPT_S: Final = 600.0
# A standby that starts reads so many records again that it has applied: it must know the epoch
# (workers.log.reader). At least MOST_IN_FLIGHT.
KEPT_RECORDS: Final = 64
# Hosts that have a range's records before its log may lose them.
FEWEST_COPIES: Final = 2
# What is written until the next trim has to find room.
PRESSED_FILL: Final = 0.5
_SAMPLE_S: Final = 10.0


class Trimming:
    """What is known of the age of one log's records; a purge up to 0 is none."""

    def __init__(self) -> None:
        """Know nothing yet, so that for KEPT_S nothing is purged."""
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, last: int, now_s: float) -> None:
        """Take it that the log has its records up to `last` by now."""
        if not self._samples or now_s - self._samples[-1][0] >= _SAMPLE_S:
            self._samples.append((now_s, last))

    def up_to(
        self,
        synced: Collection[int | None],
        now_s: float,
        *,
        copied: int | None,
        fill: float = 0.0,
    ) -> int:
        """Return up to which record the log may be purged, 0 for none.

        `synced` says of each host that is to have the range, its owner too, up to which record a
        power cut would leave its store; None where that is not known, as it has none yet. `copied`
        is the number of the oldest copy of the store that somebody reads just now to begin with,
        None where nobody does. A log that is over PRESSED_FILL full keeps nothing for its age: who
        is away then is better off with a copy than all with a log that takes nothing.
        """
        while len(self._samples) > 1 and now_s - self._samples[1][0] >= KEPT_S:
            self._samples.popleft()
        known = [number for number in synced if number is not None]
        if len(known) < len(synced) or len(known) < FEWEST_COPIES:
            return 0  # somebody has nothing yet, or besides its owner nobody is to have it
        least = min(known)
        if fill < PRESSED_FILL:
            if not self._samples or now_s - self._samples[0][0] < KEPT_S:
                return 0
            least = min(least, self._samples[0][1])
        if copied is not None:
            least = min(least, copied)
        return max(0, least - KEPT_RECORDS)
