"""When ranges go to another host for good: which may have some, and what this host gives away.

Pure. Times are those of a clock of this host that only grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

# A host that comes back is no help for some 17 s, if it led streams. No range moves home before.
SETTLED_S: Final = 20.0
# It doubles with each loss of the host from the second on, at most to eight times as much, and a
# loss is forgiven when the host has lived on for so long. So a host that comes and goes is given
# nothing that is taken over again soon; and after a storm all are home within minutes. One whose
# disk is full counts as lost in this, until it has room.
MOST_DOUBLINGS: Final = 3
FORGIVEN_S: Final = 300.0
# A takeover waits up to 8.4 s for a stream that has lost its leader. Who was to take a range and
# has not in so long cannot, and the next in rank tries; so it is with who was to give one away.
PATIENCE_S: Final = 15.0
# What was moved in vain is tried again so late, or twice as late each time, and others go first.
VAIN_S: Final = 60.0
_MOST_VAIN_S: Final = 600.0


class Move(NamedTuple):
    """A range that another host should own; what sorts first comes first."""

    can_wait: bool  # it is for balance; else its owner leaves
    range_: int
    to: str


class HandOver(NamedTuple):
    """A move that has begun here."""

    move: Move
    epoch: int  # of who gives it away
    since_s: float


class Giving:
    """What this host gives away just now, and what it has tried in vain."""

    def __init__(self) -> None:
        """Give nothing away."""
        self.under_way: HandOver | None = None
        self.wants: Move | None = None  # what it would give away next
        self._vain: dict[int, tuple[float, float]] = {}  # by range: until when, after how long

    def begin(self, move: Move, epoch: int, now_s: float) -> None:
        """Take it that this host gives a range away, until that is done or has taken too long."""
        self.under_way = HandOver(move, epoch, now_s)

    def look(self, epoch: int, owner: str, now_s: float) -> str:
        """Take who owns the range now that is given away; return who was to have it and does not.

        Empty: it is under way, or has come about.
        """
        given = self.under_way
        assert given is not None
        if epoch == given.epoch and now_s - given.since_s < PATIENCE_S:
            return ""
        self.under_way = None
        move = given.move
        if epoch != given.epoch and owner == move.to:
            self._vain.pop(move.range_, None)
            return ""
        _, before_s = self._vain.get(move.range_, (0.0, VAIN_S / 2))
        for_s = min(2 * before_s, _MOST_VAIN_S)
        self._vain[move.range_] = (now_s + for_s, for_s)
        return move.to

    def is_vain(self, range_: int, now_s: float) -> bool:
        """Tell whether a range was to be given away in vain not long ago."""
        until_s, _ = self._vain.get(range_, (now_s, 0.0))
        return now_s < until_s


class _Life(msgspec.Struct):
    since_s: float | None = None  # it lives
    losses: int = 0  # that are not forgiven
    counts_s: float = 0.0  # since when it lives towards the next forgiving


class Lives:
    """Since when each host lives, and for how long it has to before it is given ranges."""

    def __init__(self) -> None:
        """Know of nobody."""
        self._lives: dict[str, _Life] = {}

    def note(self, living: Iterable[str], lost: Iterable[str], now_s: float) -> None:
        """Take who lives, and who counts as lost or leaves; of others it is not known now."""
        for host in living:
            life = self._lives.setdefault(host, _Life())
            if life.since_s is None:
                life.since_s = life.counts_s = now_s
            while life.losses and now_s - life.counts_s >= FORGIVEN_S:
                life.losses -= 1
                life.counts_s += FORGIVEN_S
        for host in lost:
            life = self._lives.setdefault(host, _Life())
            if life.since_s is not None:
                life.since_s = None
                life.losses = min(life.losses + 1, MOST_DOUBLINGS + 1)

    def blame(self, host: str, now_s: float) -> None:
        """Count it as a loss that a host has not taken what it was given."""
        life = self._lives.setdefault(host, _Life())
        life.losses = min(life.losses + 1, MOST_DOUBLINGS + 1)
        life.since_s = life.counts_s = now_s

    def is_settled(self, host: str, now_s: float) -> bool:
        """Tell whether it has lived for long enough."""
        life = self._lives.get(host)
        if life is None or life.since_s is None:
            return False
        return now_s - life.since_s >= SETTLED_S * (1 << max(life.losses - 1, 0))
