"""What one host has heard of all: who lives, who owns what, who stands by, and for how long so.

Pure. Times are those of a clock of this host that only grows; a beat counts when it arrives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final, NamedTuple

from relay.cluster.beats import Beat
from relay.cluster.moves import PATIENCE_S, Giving, Lives
from relay.cluster.placement import Plan
from relay.cluster.vouching import Vouch, Vouched

# A host that stays away so long is no copy any more: others take its place beside the owner.
GONE_S: Final = 300.0
# A standby that lacks more than that would take over half a second to catch up (3,500 a second).
CAUGHT_UP_RECORDS: Final = 2000


class Life(Enum):
    """What is known of a host."""

    LIVING = auto()  # a beat has come within `detect_s`, or its workers have answered
    UNHEARD = auto()  # none, but we have not listened for so long ourselves
    SILENT = auto()


class Owner(NamedTuple):
    """The newest owner of a range that anybody has told of, whether it lives or not."""

    epoch: int
    host: str


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


class View:
    """What one host has heard, and since when things are as they are.

    `plan` may be replaced at any time. Over 15 fields and over 25 methods: who listens knows all of
    it together.
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
        self.lives = Lives()
        self.giving = Giving()
        self._isolate_s = isolate_s
        self._voters = frozenset(voters)
        self._heard: dict[str, _Heard] = {}
        self._strange: set[str] = set()  # hosts that divide users in another way
        self._vouched = Vouched()
        self._mute: frozenset[str] = frozenset()  # hosts that live without an agent
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
            self._strange.add(beat.host)
            return False
        self._strange.discard(beat.host)
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

    def vouch(self, host: str, vouch: Vouch, asked_s: float) -> None:
        """Take it that a worker of another host has answered what was asked at that time."""
        if host in self._strange:
            return
        self._vouched.note(host, vouch, asked_s)
        if vouch.epoch > self.epoch(vouch.range_):
            self._owners[vouch.range_] = Owner(vouch.epoch, host)

    def is_of_us(self, beat: Beat) -> bool:
        """Tell whether a host divides users as we do: else no worker of either is the other's.

        And whether its logs are to begin where ours are: where one would make them empty, both lose
        what is restored.
        """
        return beat.ranges in (0, self.plan.ranges) and beat.origin == self.plan.origin

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
        """Tell whether by its last beat `host` has a process that owns the range, as the newest.

        Of a host that lives without an agent the process itself must have answered.
        """
        known = self._heard.get(host)
        owned = known.beat.owned.get(range_) if known else None
        epoch = owned.epoch if owned else 0
        if host in self._mute:
            beat_s = known.at_s if known else self._awake_s
            since_s = beat_s + self.detect_s  # from then on it has as long to answer
            answered = self._vouched.owner(host, range_)
            if answered is not None and answered.at_s >= beat_s:
                epoch, since_s = answered.epoch, max(since_s, answered.at_s)
            if self._looked_s - since_s >= self.detect_s:
                return False
        return epoch > 0 and epoch == self.epoch(range_)

    def stays(self, host: str) -> bool:
        """Tell whether a host may own ranges for long."""
        beat = self.beat(host)
        return host not in self.plan.away and not (beat and beat.draining)

    # --------------------------------------------------------------------------------- who lives

    def silent_s(self, host: str, now_s: float) -> float:
        """Return for how long we have listened to another host and heard nothing of it."""
        return now_s - max(self._sign_s(host), self._awake_s)

    def _sign_s(self, host: str) -> float:
        """Return when it has shown its last sign of life, of whatever kind."""
        known = self._heard.get(host)
        return max(known.at_s if known else -math.inf, self._vouched.at_s(host))

    def beatless_s(self, host: str, now_s: float) -> float:
        """Return for how long we have listened and heard no beat of another host."""
        known = self._heard.get(host)
        return now_s - max(known.at_s if known else self._awake_s, self._awake_s)

    def life(self, host: str, now_s: float) -> Life:
        """Return what is known of another host."""
        if self.silent_s(host, now_s) >= self.detect_s:
            return Life.SILENT
        return Life.LIVING if self._sign_s(host) >= self._awake_s else Life.UNHEARD

    def living(self, me: str, now_s: float) -> frozenset[str]:
        """Return the hosts that live, this one too."""
        known = self._heard.keys() | self._vouched.hosts
        return frozenset((me, *(h for h in known if self.life(h, now_s) is Life.LIVING)))

    def led(self, me: str, now_s: float) -> frozenset[str]:
        """Return the living hosts with an agent: only they do what is decided."""
        living = self.living(me, now_s)
        mute = (host for host in living if self.beatless_s(host, now_s) >= self.detect_s)
        return living - (frozenset(mute) - {me})

    def is_firm(self, me: str, now_s: float) -> bool:
        """Tell whether who is silent is so by a majority that we hear well.

        Who goes deaf hears one host for the last time a little before the next: that one does not
        count as lost while we hear of the others as little.
        """
        living = self.living(me, now_s)
        close = {host for host in living if self.silent_s(host, now_s) < self.detect_s / 2}
        hears_well = self._is_majority(close | {me})
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
        if applied is not None and applied < self.plan.begins_behind(range_):
            return False  # it waits for a copy
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
        self._mute = living - self.led(me, now_s)
        self.majority.note(self._is_majority(living), now_s, anew=has_slept)
        if self.majority.held_s(now_s) >= (
            self.detect_s if self.majority.is_seen else self._isolate_s
        ):
            self.majority.is_isolated = not self.majority.is_seen
        # By then each host was heard, or is silent: none may own what we know nothing of.
        is_known = self.majority.is_held(self.detect_s, now_s)
        vacant = self._vacant(living) if is_known else ()
        self._vacant_s = {range_: self._vacant_s.get(range_, now_s) for range_ in vacant}
        if under_way := self.giving.under_way:
            owner = self.owner(under_way.move.range_)
            blamed = self.giving.look(owner.epoch, owner.host, now_s) if owner else ""
            if blamed:
                self.lives.blame(blamed, now_s)
        if self.majority.is_seen:
            lost = {host for host in self.plan.hosts if self.life(host, now_s) is Life.SILENT}
            # Who has no room comes and goes just so, as far as ranges go.
            leaving = {beat.host for beat in self._of(living) if beat.draining}
            self.lives.note(living - leaving, (lost - {me}) | leaving, now_s)
        beats = sorted(
            (beat.host, beat.draining, beat.moving, beat.wants, beat.plan)
            for beat in self._of(living)
        )
        facts = (living, self._mute, self._awake_s, dict(self._owners), beats)
        self.calm.note(facts, now_s)

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
