"""Who is to own which range: what one host decides, by what it has heard from all.

Pure. Each host decides for itself alone; there is none that decides for others. That two hosts see
differently does no harm to what is stored: the log of a range has one owner (workers.log.claim). It
would cost pauses, so here is what makes it rare:

- A host is *silent* when no beat of it has come for `detect_s`, by the clock of who listens, and no
  worker of it has answered a call (relay.cluster.vouching). One that has slept itself, or has just
  started, gives all others that long first.
- A host whose workers answer lives *without an agent*: it keeps what its workers own, and is given
  nothing, as nobody is there to see to it.
- A range is *vacant* when its newest owner is silent, or no longer says that it serves it. Of the
  hosts with a standby the first in rank takes it; the next one tries only after a long while.
- A range whose log has less than was acked is nobody's, once a host has found that: a standby that
  lacks the rest would serve on without it, and nobody would know.
- Nothing is decided without a majority of the voters that was there for `detect_s`.
- A range is *handed over* when another host should rather own it: one in the whole cluster at a
  time, when nothing is vacant and nothing has changed for a while. Each owner tells in its beats
  which range it would give away next, and the first of all those has its turn.
- A host is given ranges only when it has lived for a while, the longer the more often it was lost.
"""

from __future__ import annotations

from typing import Final

import msgspec

from relay.cluster.beats import Beat
from relay.cluster.moves import PATIENCE_S, Move
from relay.cluster.view import View

# What a host sees is up to `detect_s` old, or it sees a silent host. After twice that without a
# change two hosts have seen the same, so they agree on which range is the next to move.
AGREED: Final = 2.0


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """What one host is to do now. It says so again until it has come about, or holds no more."""

    promote: tuple[int, ...]  # ranges that the standby here is to own
    hand_over: tuple[int, str] | None  # a range that the owner here is to give to a host
    moving: int | None  # what the beats of this host must say of that, from now on
    wants: tuple[bool, int] | None  # and of what it would give away next
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
    led = view.led(me, now_s)
    promote = _promote(view, me, led, now_s) if view.is_firm(me, now_s) else ()
    hand_over = _hand_over(view, me, led, now_s)
    giving = view.giving
    return Decisions(
        promote=promote,
        hand_over=hand_over,
        moving=giving.under_way.move.range_ if giving.under_way else None,
        wants=(giving.wants.can_wait, giving.wants.range_) if giving.wants else None,
        seats=_seats(view, me, now_s),
        outdated=_outdated(view, me),
        isolated=view.majority.is_isolated,
        step_down=_step_down(view, me, led, now_s),
    )


def _promote(view: View, me: str, led: frozenset[str], now_s: float) -> tuple[int, ...]:
    promote = []
    for range_, for_s in sorted(view.vacant_s(now_s).items()):
        if range_ in view.lost:
            continue
        candidates = view.candidates(range_, led)
        turn = int(for_s / PATIENCE_S)
        if candidates and candidates[turn % len(candidates)] == me:
            promote.append(range_)
    return tuple(promote)


def _hand_over(view: View, me: str, led: frozenset[str], now_s: float) -> tuple[int, str] | None:
    giving = view.giving
    moves = _moves(view, me, led, now_s) if view.is_firm(me, now_s) else []
    giving.wants = moves[0] if moves else None
    if giving.under_way is None and giving.wants and _may_move(view, me, led, now_s):
        giving.begin(giving.wants, view.epoch(giving.wants.range_), now_s)
    if giving.under_way is None:
        return None
    move = giving.under_way.move
    is_due = move.to in led and view.serves(me, move.range_)
    return (move.range_, move.to) if is_due else None


def _moves(view: View, me: str, led: frozenset[str], now_s: float) -> list[Move]:
    """Return which ranges of this host another one should own that may, the first one first."""
    can_wait = view.stays(me)
    moves = []
    for range_ in range(view.plan.ranges):
        if not view.serves(me, range_) or view.giving.is_vain(range_, now_s):
            continue
        if range_ in view.lost:
            continue  # whoever takes it by its log lacks what that has lost
        best = _best(view, me, range_, led)
        if best != me and (view.lives.is_settled(best, now_s) or not can_wait):
            moves.append(Move(can_wait, range_, best))
    return sorted(moves)


def _best(view: View, owner: str, range_: int, led: frozenset[str]) -> str:
    """Return who should own a range, of its owner and the standbys that are ready to."""
    ready = {
        host
        for host in view.candidates(range_, led)
        if view.stays(host) and view.has_copy(host, range_)
    }
    if view.stays(owner):
        ready.add(owner)
    ranked = view.plan.ranked(range_)
    order = (*ranked, *sorted(ready.difference(ranked)))
    return next((host for host in order if host in ready), owner)


def _may_move(view: View, me: str, led: frozenset[str], now_s: float) -> bool:
    """Tell whether it is the turn of what this host would give away next, and all is quiet."""
    others = [beat for host in led - {me} if (beat := view.beat(host))]
    wants = view.giving.wants
    own = view.beat(me)
    if wants is None or own is None or own.wants != (wants.can_wait, wants.range_):
        return False  # or nobody has heard of it yet
    turns = [(*beat.wants, beat.host) for beat in others if beat.wants is not None]
    return (
        min(turns, default=(True, view.plan.ranges, "")) >= (*own.wants, me)
        and view.calm.for_s(now_s) >= AGREED * view.detect_s
        and _is_quiet(view, me, led, now_s)
    )


def _is_quiet(view: View, me: str, led: frozenset[str], now_s: float) -> bool:
    """Tell whether nothing else is under way anywhere, and all go by one plan.

    A range that nobody may take is no reason to wait: it may be so for days.
    """
    beats = [beat for host in led if (beat := view.beat(host))]
    return (
        view.is_firm(me, now_s)
        and led == view.living(me, now_s)
        and view.vacant_s(now_s).keys() <= view.lost.keys()
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
    led = view.led(me, now_s)
    return not all(host in led and view.has_copy(host, range_) for host in holders)


def _outdated(view: View, me: str) -> tuple[int, ...]:
    beat = view.beat(me)
    owned = sorted(beat.owned) if beat else []
    return tuple(range_ for range_ in owned if not view.serves(me, range_))


def _step_down(view: View, me: str, led: frozenset[str], now_s: float) -> tuple[int, str] | None:
    """Return a stream that another host should rather lead.

    First one that is led on its owner's host, whose loss would cost its range both. Else one of a
    host that leads more than others: its loss stops the acks of all those for an election.
    """
    own = view.beat(me)
    # Not at the same time as a range is handed over, which needs its log.
    if own is None or view.giving.under_way is not None:
        return None
    if view.calm.for_s(now_s) < AGREED * view.detect_s:
        return None
    if not _is_quiet(view, me, led, now_s):
        return None
    others = [beat for host in sorted(led - {me}) if (beat := view.beat(host))]
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
