"""Who is to own which range: what one host decides, by what it has heard from all.

Pure. Each host decides for itself alone; there is none that decides for others. That two hosts see
differently does no harm to what is stored: the log of a range has one owner (workers.log.claim). It
would cost pauses, so here is what makes it rare:

- A host is *silent* when no beat of it has come for `detect_s`, by the clock of who listens. One
  that has slept itself, or has just started, gives all others that long first.
- A range is *vacant* when its newest owner is silent, or no longer says that it serves it. Of the
  hosts with a standby the first in rank takes it; the next one tries only after a long while.
- A range whose log has less than was acked is nobody's, once a host has found that: a standby that
  lacks the rest would serve on without it, and nobody would know.
- Nothing is decided without a majority of the voters that was there for `detect_s`.
- A range is *handed over* when another host should rather own it: one in the whole cluster at a
  time, when nothing is vacant, nothing has changed for a while, and no host has come or gone.
"""

from __future__ import annotations

from typing import Final

import msgspec

from relay.cluster.beats import Beat
from relay.cluster.view import PATIENCE_S, Move, View

# A host that comes back is no help for some 17 s, if it led streams. No range moves home before.
SETTLED_S: Final = 20.0
# What a host sees is up to `detect_s` old, or it sees a silent host. After twice that without a
# change two hosts have seen the same, so they agree on which range is the next to move.
AGREED: Final = 2.0


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """What one host is to do now. It says so again until it has come about, or holds no more."""

    promote: tuple[int, ...]  # ranges that the standby here is to own
    hand_over: tuple[int, str] | None  # a range that the owner here is to give to a host
    moving: int | None  # what the beats of this host must say of that, from now on
    seats: tuple[int, ...]  # ranges of which there is to be a copy here
    outdated: tuple[int, ...]  # ranges that are served here, and another's: look at their logs
    # Without a majority for so long that nobody may be served here; or from the start on, which a
    # process that has just started does not know better.
    isolated: bool
    # A range whose stream is led here, and who should lead it: to be asked for each few seconds.
    step_down: tuple[int, str] | None


def decide(view: View, me: str, now_s: float) -> Decisions:
    """Return what host `me`, whose view it is, is to do; `view` notes that it was asked."""
    view.look(me, now_s)
    living = view.living(me, now_s)
    promote = _promote(view, me, living, now_s) if view.is_firm(me, now_s) else ()
    hand_over = _hand_over(view, me, living, now_s)
    return Decisions(
        promote=promote,
        hand_over=hand_over,
        moving=view.hands_over.move.range_ if view.hands_over else None,
        seats=_seats(view, me, now_s),
        outdated=_outdated(view, me),
        isolated=view.majority.is_isolated,
        step_down=_step_down(view, me, living, now_s),
    )


def _promote(view: View, me: str, living: frozenset[str], now_s: float) -> tuple[int, ...]:
    promote = []
    for range_, for_s in sorted(view.vacant_s(now_s).items()):
        if range_ in view.lost:
            continue
        candidates = view.candidates(range_, living)
        turn = int(for_s / PATIENCE_S)
        if candidates and candidates[turn % len(candidates)] == me:
            promote.append(range_)
    return tuple(promote)


def _hand_over(view: View, me: str, living: frozenset[str], now_s: float) -> tuple[int, str] | None:
    wanted = view.moves[:1]
    if view.hands_over is None and wanted and _may_move(view, me, wanted[0], living, now_s):
        view.begin_hand_over(wanted[0], now_s)
    if view.hands_over is None:
        return None
    move = view.hands_over.move
    is_due = move.to in living and view.serves(me, move.range_)
    return (move.range_, move.to) if is_due else None


def _may_move(view: View, me: str, move: Move, living: frozenset[str], now_s: float) -> bool:
    return (
        view.serves(me, move.range_)
        and view.calm.for_s(now_s) >= AGREED * view.detect_s
        and (view.settled.for_s(now_s) >= SETTLED_S or not move.can_wait)
        and _is_quiet(view, me, living, now_s)
    )


def _is_quiet(view: View, me: str, living: frozenset[str], now_s: float) -> bool:
    """Tell whether nothing else is under way anywhere, and all go by one plan."""
    beats = [beat for host in living if (beat := view.beat(host))]
    return (
        view.is_firm(me, now_s)
        and not view.vacant_s(now_s)
        and all(beat.moving is None and beat.plan == view.plan.mark for beat in beats)
    )


def _seats(view: View, me: str, now_s: float) -> tuple[int, ...]:
    return tuple(range_ for range_ in range(view.plan.ranges) if _has_seat(view, me, range_, now_s))


def _has_seat(view: View, me: str, range_: int, now_s: float) -> bool:
    holders = view.holders(range_, now_s)
    if me in holders or view.serves(me, range_):
        return True
    beat = view.beat(me)
    if beat is None or range_ not in beat.standing:
        return False
    # A copy goes when those that are to have one do: until then it may be needed.
    living = view.living(me, now_s)
    return not all(host in living and view.has_copy(host, range_) for host in holders)


def _outdated(view: View, me: str) -> tuple[int, ...]:
    beat = view.beat(me)
    owned = sorted(beat.owned) if beat else []
    return tuple(range_ for range_ in owned if not view.serves(me, range_))


def _step_down(view: View, me: str, living: frozenset[str], now_s: float) -> tuple[int, str] | None:
    """Return a stream that another host should rather lead.

    First one that is led on its owner's host, whose loss would cost its range both. Else one of a
    host that leads more than others: its loss stops the acks of all those for an election.
    """
    own = view.beat(me)
    # Not at the same time as a range is handed over, which needs its log.
    if own is None or view.hands_over is not None:
        return None
    if view.calm.for_s(now_s) < AGREED * view.detect_s:
        return None
    if not _is_quiet(view, me, living, now_s):
        return None
    others = [beat for host in sorted(living - {me}) if (beat := view.beat(host))]
    for range_ in own.engine.leads:
        ready = [beat for beat in others if range_ in beat.engine.current]
        if ready and view.serves(me, range_):
            return range_, min(ready, key=_count_of_led).host
    for range_ in own.engine.leads:
        ready = [
            beat
            for beat in others
            if range_ in beat.engine.current and not view.serves(beat.host, range_)
        ]
        if ready:
            least = min(ready, key=_count_of_led)
            if _count_of_led(least) + 1 < _count_of_led(own):
                return range_, least.host
    return None


def _count_of_led(beat: Beat) -> int:
    return len(beat.engine.leads)
