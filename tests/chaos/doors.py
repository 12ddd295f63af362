"""Where a user connects: at the first door that has not failed lately, as a balancer has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from websockets.uri import WebSocketURI, parse_uri

# After a failure the others are tried first for so long.
SHUNNED_S: Final = 8.0


class Doors:
    """The doors of one user, its own side's first."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._doors = [parse_uri(url) for url in urls]
        self._failed_s = [-SHUNNED_S] * len(self._doors)

    @property
    def are_several(self) -> bool:
        """Whether there is another one where one fails."""
        return len(self._doors) > 1

    def choose(self, now_s: float) -> WebSocketURI:
        """Return the first that did not fail lately; the one whose failure is oldest if all did."""
        for door, failed_s in zip(self._doors, self._failed_s, strict=True):
            if now_s - failed_s >= SHUNNED_S:
                return door
        return self._doors[self._failed_s.index(min(self._failed_s))]

    def failed(self, door: WebSocketURI, now_s: float) -> None:
        """Take it that nobody answers there, or nobody is let in."""
        self._failed_s[self._doors.index(door)] = now_s
