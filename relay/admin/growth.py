"""How fast the stores grow, and when there is no room left at that rate. Pure.

What was measured is of this admin alone: its successor begins anew.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from relay.words import age, size

EVERY_S: Final = 600.0  # between two looks that are kept
KEPT_S: Final = 7 * 86_400.0  # a week has its nights, and its weekend
# Of less nothing is said: a store grows by steps, and a copy beside it would fill the disk by noon.
LEAST_S: Final = 3600.0
# Room that went, and not into stores: up to that it may be journals, logs, what comes and goes.
NOISE_BYTES: Final = 256 * 1024 * 1024
_DAY_S: Final = 86_400.0
_FAR_DAYS: Final = 3650.0


class Look(msgspec.Struct, frozen=True):
    """What all stores held at a time, and what may still be stored until sends are refused."""

    at_s: float  # of a clock that only grows
    used_bytes: int
    room_bytes: int


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """The disk now, and as it will be where all goes on as it was in `measured_s`.

    Rates are None while too little was measured, `full_in_s` also where room does not shrink.
    """

    used_bytes: int
    room_bytes: int  # of the store that has least; the disk's, but for what is kept free
    measured_s: float
    grows_bytes_per_day: float | None = None  # the stores
    shrinks_bytes_per_day: float | None = None  # room: what others write counts too
    full_in_s: float | None = None
    says: str


class Growth:
    """The looks of the last week, some minutes apart."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque()

    def is_due(self, at_s: float) -> bool:
        """Whether a look at that time would be kept."""
        return not self._looks or at_s - self._looks[-1].at_s >= EVERY_S

    def add(self, look: Look) -> None:
        """Keep a look, if it is due; forget what is older than a week."""
        if self.is_due(look.at_s):
            self._looks.append(look)
        while look.at_s - self._looks[0].at_s > KEPT_S:
            self._looks.popleft()

    def outlook(self, now: Look) -> Outlook:
        """Return how it goes on from `now` if it goes on as before."""
        first = self._looks[0] if self._looks else now
        measured_s = now.at_s - first.at_s
        if measured_s < LEAST_S:
            return Outlook(
                used_bytes=now.used_bytes,
                room_bytes=now.room_bytes,
                measured_s=round(measured_s, 1),
                says=f"{_now(now)}; how fast it grows shows after {age(LEAST_S)}",
            )
        days = measured_s / _DAY_S
        grows = (now.used_bytes - first.used_bytes) / days
        shrinks = (first.room_bytes - now.room_bytes) / days
        is_trend = (shrinks - grows) * days > NOISE_BYTES
        faster = shrinks if is_trend else grows
        full_in_s = max(0, now.room_bytes) / faster * _DAY_S if faster > 0 else None
        return Outlook(
            used_bytes=now.used_bytes,
            room_bytes=now.room_bytes,
            measured_s=round(measured_s, 1),
            grows_bytes_per_day=round(grows, 1),
            shrinks_bytes_per_day=round(shrinks, 1),
            full_in_s=None if full_in_s is None else round(full_in_s, 1),
            says=f"{_now(now)}; {_rate(grows, shrinks if is_trend else 0)}, measured for"
            f" {age(measured_s)}{_doubt(measured_s)}; {_then(now, faster, full_in_s)}",
        )


def _now(look: Look) -> str:
    if look.room_bytes <= 0:
        return f"{size(look.used_bytes)} stored, no room for more: sends are refused (500)"
    return f"{size(look.used_bytes)} stored, room for {size(look.room_bytes)}"


def _rate(grows: float, shrinks: float) -> str:
    said = f"grows by {size(grows)} a day" if grows > 0 else "the stores do not grow"
    if shrinks > 0:
        said += f", while room shrinks by {size(shrinks)} a day: more than they is on that disk"
    return said


def _doubt(measured_s: float) -> str:
    return "" if measured_s >= _DAY_S else ", which is not a day: the rate is a guess"


def _then(now: Look, per_day: float, full_in_s: float | None) -> str:
    if now.room_bytes <= 0:
        return "it is full now"
    if full_in_s is None:
        return "at that rate it is never full"
    if full_in_s > _FAR_DAYS * _DAY_S:
        return "at that rate it is not full for ten years"
    left = now.room_bytes - 7 * per_day
    week = f"room for {size(left)} in a week, " if left > 0 else ""
    return f"at that rate {week}full in {age(full_in_s)}"
