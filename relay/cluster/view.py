"""What one host has heard of all: who lives, who owns what, who stands by, and for how long so.

Pure. Times are those of a clock of this host that only grows; a beat counts when it arrives.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final, NamedTuple

from relay.cluster.beats import Beat
from relay.cluster.placement import Plan

# A takeover waits up to 8.4 s for a stream that has lost its leader. Who was to take a range and
# has not in so long cannot, and the next in rank tries; so it is with who was to give one away.
PATIENCE_S: Final = 15.0
# A host that stays away so long is no copy any more: others take its place beside the owner.
GONE_S: Final = 300.0
# A standby that lacks more than that would take over half a second to catch up (3,500 a second).
CAUGHT_UP_RECORDS: Final = 2000


class Life(Enum):
    """What is known of a host."""

    LIVING = auto()  # a beat has come within `detect_s`
    UNHEARD = auto()  # none, but we have not listened for so long ourselves
    SILENT = auto()


class Owner(NamedTuple):
    """The newest owner of a range that anybody has told of, whether it lives or not."""

    epoch: int
    host: str


class Move(NamedTuple):
    """A range that another host should own; what sorts first comes first."""

    can_wait: bool  # it is for balance; else its owner leaves
    range_: int
    to: str


class Majority:
    """Whether a majority of the voters is seen, since when, and what follows from it."""

    def __init__(self, now_s: float) -> None:
        """Begin with none."""
        self.is_seen = False
        self.is_isolated = True  # until there is one
        self._turned_s = now_s

    def note(self, is_seen: bool, now_s: float, *, anew: bool) -> None:
        """Take it that one is seen, or not; `anew` if it is not known for how long."""
        if is_seen != self.is_seen or anew:
            self.is_seen, self._turned_s = is_seen, now_s

    def held_s(self, now_s: float) -> float:
        """Return for how long it has been so."""
        return now_s - self._turned_s

    def is_held(self, for_s: float, now_s: float) -> bool:
        """Tell whether one has been seen for so long."""
        return self.is_seen and self.held_s(now_s) >= for_s


class Steady:
    """For how long something has been as it is."""

    def __init__(self, now_s: float) -> None:
        """Know nothing of it yet."""
        self._value: object = None
        self._since_s = now_s

    def note(self, value: object, now_s: float) -> None:
        """Take it that it is so now."""
        if value != self._value:
            self._value, self._since_s = value, now_s

    def for_s(self, now_s: float) -> float:
        """Return since how many seconds it has been so."""
        return now_s - self._since_s


class _Heard(NamedTuple):
    beat: Beat
    at_s: float


class _HandOver(NamedTuple):
    move: Move
    epoch: int  # of who gives it away
    since_s: float


class View:
    """What one host has heard, and since when things are as they are.

    `plan` may be replaced at any time. Over 15 fields: who listens knows all of it together.
    """

    def __init__(
        self,
        plan: Plan,
        voters: Iterable[str],
        *,
        detect_s: float,
        isolate_s: float,
        now_s: float,
    ) -> None:
        """Know nobody yet; `voters` are all hosts with an engine, witnesses too."""
        self.plan = plan
        self.detect_s = detect_s
        self.majority = Majority(now_s)
        self.calm = Steady(now_s)  # all that moves of ranges depend on
        self.settled = Steady(now_s)  # which hosts live
        self.moves: list[Move] = []  # that are wanted, the first one first
        self.hands_over: _HandOver | None = None  # this host, just now
        self._isolate_s = isolate_s
        self._voters = frozenset(voters)
        self._heard: dict[str, _Heard] = {}
        self._owners: dict[int, Owner] = {}
        # Ranges whose log has less than was acked, and the host that found it. All pass it on, as
        # long as any of them runs: who found it may begin anew, and finds it after a while only.
        self.lost: dict[int, str] = {}
        self._lasts: dict[int, int] = {}  # of each log, that anybody has ever told of
        self._looked_s = self._awake_s = now_s
        self._vacant_s: dict[int, float] = {}  # since when, while there was a majority

    # ------------------------------------------------------------------------------- what is heard

    def hear(self, beat: Beat, now_s: float) -> bool:
        """Take in a beat of any host, this one too; False: it is older, or of another cluster.

        All that have arrived are to be heard before anything is decided.
        """
        if not self.is_of_us(beat):
            return False
        known = self._heard.get(beat.host)
        if (
            known is not None
            and beat.order <= known.beat.order
            # No beat is under way for so long: the host counts anew, with another data directory.
            and now_s - known.at_s < PATIENCE_S
        ):
            return False
        self._heard[beat.host] = _Heard(beat, now_s)
        for range_, owned in beat.owned.items():
            if owned.epoch > self.epoch(range_):
                self._owners[range_] = Owner(owned.epoch, beat.host)
        for range_, host in beat.lost.items():
            self.lost.setdefault(range_, host)
        for told in (beat.standing, beat.engine.last):
            for range_, number in told.items():
                if number > self._lasts.get(range_, 0):
                    self._lasts[range_] = number
        return True

    def is_of_us(self, beat: Beat) -> bool:
        """Tell whether a host divides users as we do: else no worker of either is the other's."""
        return beat.ranges in (0, self.plan.ranges)

    def beat(self, host: str) -> Beat | None:
        """Return the last beat of a host, however long ago it was."""
        known = self._heard.get(host)
        return known.beat if known else None

    def owner(self, range_: int) -> Owner | None:
        """Return the newest owner of a range; None: none was ever told."""
        return self._owners.get(range_)

    def epoch(self, range_: int) -> int:
        """Return the newest epoch of a range that was told, 0 where none was."""
        owner = self._owners.get(range_)
        return owner.epoch if owner else 0

    def serves(self, host: str, range_: int) -> bool:
        """Tell whether by its last beat `host` has a process that owns the range, as the newest."""
        beat = self.beat(host)
        owned = beat.owned.get(range_) if beat else None
        return owned is not None and owned.epoch == self.epoch(range_)

    def stays(self, host: str) -> bool:
        """Tell whether a host may own ranges for long."""
        beat = self.beat(host)
        return host not in self.plan.away and not (beat and beat.draining)

    # --------------------------------------------------------------------------------- who lives

    def silent_s(self, host: str, now_s: float) -> float:
        """Return for how long we have listened to another host and heard nothing."""
        known = self._heard.get(host)
        return now_s - max(known.at_s if known else self._awake_s, self._awake_s)

    def life(self, host: str, now_s: float) -> Life:
        """Return what is known of another host."""
        if self.silent_s(host, now_s) >= self.detect_s:
            return Life.SILENT
        known = self._heard.get(host)
        return Life.LIVING if known and known.at_s >= self._awake_s else Life.UNHEARD

    def living(self, me: str, now_s: float) -> frozenset[str]:
        """Return the hosts that live, this one too."""
        heard = (host for host in self._heard if self.life(host, now_s) is Life.LIVING)
        return frozenset((me, *heard))

    def is_firm(self, me: str, now_s: float) -> bool:
        """Tell whether who is silent is so by a majority that we hear well.

        Who goes deaf hears one host for the last time a little before the next: that one does not
        count as lost while we hear of the others as little.
        """
        close = {host for host in self._heard if self.silent_s(host, now_s) < self.detect_s / 2}
        hears_well = self._is_majority(close & self.living(me, now_s) | {me})
        return hears_well and self.majority.is_held(self.detect_s, now_s)

    def _is_majority(self, hosts: Iterable[str]) -> bool:
        return 2 * len(self._voters.intersection(hosts)) > len(self._voters)

    # ------------------------------------------------------------------------------- who has copies

    def holders(self, range_: int, now_s: float) -> tuple[str, ...]:
        """Return which hosts are to have a copy of a range, in rank.

        One that has been silent for GONE_S is none of them, where there are others.
        """
        ranked = self.plan.ranked(range_)
        if self.majority.is_held(GONE_S, now_s):
            ranked = tuple(host for host in ranked if self.silent_s(host, now_s) < GONE_S)
        return ranked[: 1 + self.plan.standbys]

    def synced(self, range_: int, me: str, now_s: float) -> list[int | None]:
        """Return what a power cut would leave to this host and all that are to have a copy.

        None: unknown. Of one that is silent it is what it has told last: it had that already.
        """
        hosts = {me, *self.holders(range_, now_s)}
        beats = (self.beat(host) for host in sorted(hosts))
        return [beat.synced.get(range_) if beat else None for beat in beats]

    def copied(self, range_: int, me: str, now_s: float) -> int | None:
        """Return the number of the oldest copy of a range that is read of a living host, if any."""
        beats = self._of(self.living(me, now_s))
        return min((b.copied[range_] for b in beats if range_ in b.copied), default=None)

    def has_copy(self, host: str, range_: int) -> bool:
        """Tell whether by its last beat a host owns the range, or stands by and lacks little."""
        beat = self.beat(host)
        applied = beat.standing.get(range_) if beat else None
        last = max(self.epoch(range_), self._lasts.get(range_, 0))
        if applied is not None and last - applied <= CAUGHT_UP_RECORDS:
            return True
        return self.serves(host, range_)

    def candidates(self, range_: int, living: frozenset[str]) -> list[str]:
        """Return the living hosts with a standby, in the order in which they are to own the range.

        Those that leave, or have much to catch up with, are last.
        """
        ranked = self.plan.ranked(range_)
        return sorted(
            (
                host
                for host in (*ranked, *sorted(living.difference(ranked)))
                if host in living and (beat := self.beat(host)) and range_ in beat.standing
            ),
            key=lambda host: (not self.stays(host), not self.has_copy(host, range_)),
        )

    # ----------------------------------------------------------------------- what lasts for a while

    def look(self, me: str, now_s: float) -> None:
        """Note since when things are as they are; to be called more often than each `detect_s`.

        Who did not has slept. What it knows is old then, and others may have acted on its silence.
        """
        has_slept = now_s - self._looked_s >= self.detect_s
        self._looked_s = now_s
        if has_slept:
            self._awake_s = now_s
        living = self.living(me, now_s)
        self.majority.note(self._is_majority(living), now_s, anew=has_slept)
        if self.majority.held_s(now_s) >= (
            self.detect_s if self.majority.is_seen else self._isolate_s
        ):
            self.majority.is_isolated = not self.majority.is_seen
        # By then each host was heard, or is silent: none may own what we know nothing of.
        is_known = self.majority.is_held(self.detect_s, now_s)
        vacant = self._vacant(living) if is_known else ()
        self._vacant_s = {range_: self._vacant_s.get(range_, now_s) for range_ in vacant}
        under_way = self.hands_over
        if under_way and (
            self.epoch(under_way.move.range_) != under_way.epoch
            or now_s - under_way.since_s >= PATIENCE_S
        ):
            self.hands_over = None
        beats = sorted(
            (beat.host, beat.draining, beat.moving, beat.plan) for beat in self._of(living)
        )
        self.moves = self._find_moves(living)
        facts = (living, self._awake_s, dict(self._owners), beats, self.moves)
        self.calm.note(facts, now_s)
        self.settled.note(living, now_s)

    def _of(self, hosts: Iterable[str]) -> list[Beat]:
        return [beat for host in hosts if (beat := self.beat(host))]

    def _vacant(self, living: frozenset[str]) -> list[int]:
        vacant = []
        for range_ in range(self.plan.ranges):
            owner = self.owner(range_)
            if owner is None or owner.host not in living or not self.serves(owner.host, range_):
                vacant.append(range_)
        return vacant

    def vacant_s(self, now_s: float) -> dict[int, float]:
        """Return the ranges that nobody serves, and for how long that has been seen."""
        return {range_: now_s - since_s for range_, since_s in self._vacant_s.items()}

    def _find_moves(self, living: frozenset[str]) -> list[Move]:
        """Return which ranges another host should own that is ready to, the first one first."""
        moves = []
        for range_ in range(self.plan.ranges):
            owner = self.owner(range_)
            if owner is None or owner.host not in living or not self.serves(owner.host, range_):
                continue
            best = self._best(range_, owner.host, living)
            if best != owner.host:
                moves.append(Move(self.stays(owner.host), range_, best))
        return sorted(moves)

    def _best(self, range_: int, owner: str, living: frozenset[str]) -> str:
        """Return who should own a range, of its owner and the standbys that are ready to."""
        ready = {
            host
            for host in self.candidates(range_, living)
            if self.stays(host) and self.has_copy(host, range_)
        }
        if self.stays(owner):
            ready.add(owner)
        ranked = self.plan.ranked(range_)
        order = (*ranked, *sorted(ready.difference(ranked)))
        return next((host for host in order if host in ready), owner)

    def begin_hand_over(self, move: Move, now_s: float) -> None:
        """Take it that this host gives a range away, until that is done or has taken too long."""
        self.hands_over = _HandOver(move, self.epoch(move.range_), now_s)
