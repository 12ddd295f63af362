"""The pace at which a worker gives a session its mailbox: live, by pages, or not for now.

Two things are joined here: whether the client reads, and what was agreed with the worker. A worker
sends live frames until it is told `Pause`, and a page only when it is told `Ready`, or unasked
after a login. `after` is what happens; `said` is what the worker must be told then.
"""

from __future__ import annotations

import enum
from typing import Final


class Pace(enum.Enum):
    """What a session takes from its worker."""

    # By identity: an enum's own hash is that of its name, in Python, and each step of a login takes
    # several.
    __hash__ = object.__hash__

    FLOWING = enum.auto()  # live frames, as they come
    SLOW = enum.auto()  # still live frames, but the client does not read: the worker must pause
    PAUSED = enum.auto()  # nothing: the worker was told; entries wait in the mailbox
    OWING = enum.auto()  # nothing: the worker waits for a `Ready`, which is due
    BLOCKED = enum.auto()  # nothing: the worker waits for a `Ready`, but the client does not read
    AWAITING = enum.auto()  # a page, which comes; live frames are in it and are dropped
    CONGESTED = enum.auto()  # the same, and the client does not read


class PaceEvent(enum.Enum):
    """What may happen to the pace."""

    __hash__ = object.__hash__

    SLOWED = enum.auto()  # the client does not read what it is sent
    DRAINED = enum.auto()  # the client has read
    PAGE = enum.auto()  # a page was taken, and nothing waits behind it
    PAGE_OF_MORE = enum.auto()  # a page was taken, and the worker waits for a `Ready`
    PAGE_MISSED = enum.auto()  # a page came that could not be taken: it must come again


class Word(enum.Enum):
    """What a worker is told."""

    READY = enum.auto()
    PAUSE = enum.auto()


# In these live frames are written; in all others they are dropped, because they come in a page.
TAKES_LIVE: Final = frozenset({Pace.FLOWING, Pace.SLOW})

# A pair that is not here cannot be.
TRANSITIONS: Final = {
    (Pace.FLOWING, PaceEvent.SLOWED): Pace.SLOW,
    (Pace.FLOWING, PaceEvent.PAGE): Pace.FLOWING,  # unasked, after a restart of the worker
    (Pace.FLOWING, PaceEvent.PAGE_OF_MORE): Pace.OWING,
    (Pace.FLOWING, PaceEvent.PAGE_MISSED): Pace.OWING,
    (Pace.SLOW, PaceEvent.DRAINED): Pace.FLOWING,
    (Pace.SLOW, PaceEvent.PAGE): Pace.SLOW,
    (Pace.SLOW, PaceEvent.PAGE_OF_MORE): Pace.BLOCKED,
    (Pace.SLOW, PaceEvent.PAGE_MISSED): Pace.BLOCKED,
    (Pace.PAUSED, PaceEvent.DRAINED): Pace.OWING,
    (Pace.PAUSED, PaceEvent.PAGE): Pace.PAUSED,  # it crossed with the `Pause`
    (Pace.PAUSED, PaceEvent.PAGE_OF_MORE): Pace.BLOCKED,
    (Pace.PAUSED, PaceEvent.PAGE_MISSED): Pace.BLOCKED,
    (Pace.OWING, PaceEvent.SLOWED): Pace.BLOCKED,
    (Pace.OWING, PaceEvent.PAGE_MISSED): Pace.OWING,
    (Pace.BLOCKED, PaceEvent.DRAINED): Pace.OWING,
    (Pace.BLOCKED, PaceEvent.PAGE): Pace.SLOW,
    (Pace.BLOCKED, PaceEvent.PAGE_OF_MORE): Pace.BLOCKED,
    (Pace.BLOCKED, PaceEvent.PAGE_MISSED): Pace.BLOCKED,
    (Pace.AWAITING, PaceEvent.SLOWED): Pace.CONGESTED,
    (Pace.AWAITING, PaceEvent.PAGE): Pace.FLOWING,
    (Pace.AWAITING, PaceEvent.PAGE_OF_MORE): Pace.OWING,
    (Pace.AWAITING, PaceEvent.PAGE_MISSED): Pace.OWING,
    (Pace.CONGESTED, PaceEvent.DRAINED): Pace.AWAITING,
    (Pace.CONGESTED, PaceEvent.PAGE): Pace.SLOW,
    (Pace.CONGESTED, PaceEvent.PAGE_OF_MORE): Pace.BLOCKED,
    (Pace.CONGESTED, PaceEvent.PAGE_MISSED): Pace.BLOCKED,
}

# What must be told, and where that leads. While a login is being answered nothing is told: the
# worker begins anew after it.
SAID: Final = {
    Pace.SLOW: (Word.PAUSE, Pace.PAUSED),
    Pace.OWING: (Word.READY, Pace.AWAITING),
}

_SLOW: Final = frozenset({Pace.SLOW, Pace.PAUSED, Pace.BLOCKED, Pace.CONGESTED})


def after(pace: Pace, event: PaceEvent) -> Pace:
    """Return the pace behind `event`.

    Raises:
        KeyError: it cannot happen at that pace: a bug of ours.
    """
    return TRANSITIONS[pace, event]


def said(pace: Pace) -> tuple[Word | None, Pace]:
    """Return what the worker is to be told at that pace, and the pace once it was."""
    return SAID.get(pace) or (None, pace)


def renewed(pace: Pace, *, awaits_page: bool) -> Pace:
    """Return the pace once the worker, or its successor, begins anew with the session.

    What was agreed before is void; whether the client reads is not. `awaits_page` tells that a page
    comes unasked, as it does while the queue is sent.
    """
    if pace in _SLOW:
        return Pace.CONGESTED if awaits_page else Pace.SLOW
    return Pace.AWAITING if awaits_page else Pace.FLOWING
