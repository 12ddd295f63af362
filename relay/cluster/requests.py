"""What an operator asks an agent, over the engine, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from relay.cluster.beats import Beat
from relay.cluster.natsframes import UNREADABLE
from relay.cluster.ownership import Decisions
from relay.cluster.placement import Plan
from relay.cluster.view import Life, View
from relay.disk.accord import Origin
from relay.errors import RelayError


class RequestUnreadable(RelayError):
    """Somebody has asked for what no agent of this version knows."""


class StatusAsked(msgspec.Struct, frozen=True, tag="status"):
    """How is the cluster, as this host sees it?"""


class DrainAsked(msgspec.Struct, frozen=True, tag="drain"):
    """Let a host own nothing from here on, or let it own its share again."""

    host: str
    drained: bool = True


class MoveAsked(msgspec.Struct, frozen=True, tag="move"):
    """Let a range be owned by a host from here on; "" ends that."""

    range_: int
    to: str


class RoomAsked(msgspec.Struct, frozen=True, tag="room"):
    """Whose disk is full?"""


Request = StatusAsked | DrainAsked | MoveAsked | RoomAsked


class HostStatus(msgspec.Struct, frozen=True):
    """A host, as another one sees it."""

    life: str  # "living", "agentless" (but its workers answer), "unheard", "silent"
    version: str = ""
    fronts: int = 0
    drained: bool = False
    stops: bool = False
    serves: bool = True  # it is to own ranges: it is no witness, and not drained
    behind: Mapping[int, int] = {}  # how many records of which log its engine lacks
    lacks_room: bool = False  # its disk is as good as full
    accord: int = 0  # the number of the accord that holds there; 0: unknown
    accord_refused: str = ""  # why a newer one does not


class RangeStatus(msgspec.Struct, frozen=True):
    """A range, as a host sees it."""

    owner: str = ""  # "" while nobody is heard to serve it
    epoch: int = 0
    standing: Mapping[str, int] = {}  # up to which record each standby is
    leader: str = ""  # whose engine leads its log
    last: int = 0  # the last record of the log that was heard of
    lost: str = ""  # the host that found the log to have less than was acked: nobody serves it
    fill: float = 0.0  # how full its log is; at 1.0 it takes no more


class ClusterStatus(msgspec.Struct, frozen=True, tag="cluster"):
    """The cluster, as a host sees it."""

    seen_by: str
    has_majority: bool
    isolated: bool
    hosts: Mapping[str, HostStatus]
    ranges: tuple[RangeStatus, ...]
    moving: int | None = None
    has_engines: bool = True  # of our own, which say who leads what
    counters: Mapping[str, int] = {}  # of the agent that says so
    accord: Origin = Origin()  # whose settings are those of all hosts, and since when


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It is settled, and comes about as soon as it can."""

    said: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Nothing was changed."""

    reason: str


class Room(msgspec.Struct, frozen=True, tag="room"):
    """The hosts that live, and whose disk is as good as full."""

    lack: tuple[str, ...] = ()


Answer = ClusterStatus | Done | Refused | Room

NO_ACCORD: Final = Origin()
_NONE: Final[Mapping[Any, Any]] = {}
_encode = msgspec.json.Encoder().encode
_request = msgspec.json.Decoder(Request)
_answer = msgspec.json.Decoder(Answer)


def encode(said: Request | Answer) -> bytes:
    """Return the bytes of a request or an answer."""
    return _encode(said)


def decode_request(data: bytes) -> Request:
    """Return what is asked.

    Raises:
        RequestUnreadable: it is no request.
    """
    try:
        request: Request = _request.decode(data)
    except UNREADABLE as error:
        raise RequestUnreadable(f"a request that cannot be read: {error}") from None
    return request


def decode_answer(data: bytes) -> Answer:
    """Return what was answered.

    Raises:
        RequestUnreadable: it is no answer.
    """
    try:
        answer: Answer = _answer.decode(data)
    except UNREADABLE as error:
        raise RequestUnreadable(f"an answer that cannot be read: {error}") from None
    return answer


class Placing(msgspec.Struct, frozen=True):
    """What operators have settled of who is to own what: one for all hosts, in their bucket."""

    away: tuple[str, ...] = ()
    pins: Mapping[int, str] = {}

    def over(self, plan: Plan) -> Plan:
        """Return `plan` with that."""
        return msgspec.structs.replace(plan, away=frozenset(self.away), pins=self.pins)


def settled(request: DrainAsked | MoveAsked, before: Placing, plan: Plan) -> Placing | Refused:
    """Return what holds after a request, or why it is not granted."""
    match request:
        case DrainAsked(host, drained):
            if host not in plan.hosts:
                return Refused(f"there is no host {host!r} that owns ranges")
            away = (set(before.away) | {host}) if drained else (set(before.away) - {host})
            if away.issuperset(plan.hosts):
                return Refused("nobody would be left to own anything")
            return msgspec.structs.replace(before, away=tuple(sorted(away)))
        case MoveAsked(range_, to):
            if not 0 <= range_ < plan.ranges:
                return Refused(f"there is no range {range_}: they are 0 to {plan.ranges - 1}")
            if to and to not in plan.hosts:
                return Refused(f"there is no host {to!r} that owns ranges")
            if to in before.away:
                return Refused(f"host {to} is drained")
            pins = {**before.pins, range_: to}
            if not to:
                del pins[range_]
            return msgspec.structs.replace(before, pins=pins)


def room_of(view: View, me: str, now_s: float) -> Room:
    """Return whose disk is full, as host `me` has heard."""
    living = sorted(view.living(me, now_s))
    beats = [beat for host in living if (beat := view.beat(host))]
    return Room(tuple(beat.host for beat in beats if beat.engine.lacks_room))


def status_of(
    view: View,
    decisions: Decisions,
    me: str,
    names: Iterable[str],
    now_s: float,
    *,
    has_engines: bool = True,
    fill: Mapping[int, float] = _NONE,
    counters: Mapping[str, int] = _NONE,
    accord: Origin = NO_ACCORD,
) -> ClusterStatus:
    """Return how the cluster of the hosts `names` is, as host `me` sees it."""
    names = list(names)
    beats = {name: beat for name in names if (beat := view.beat(name))}
    living = view.living(me, now_s)
    heard = {name: beat for name, beat in beats.items() if name in living}
    hosts = {
        name: HostStatus(
            life=_life_of(view, name, me, now_s),
            version=beats[name].version if name in beats else "",
            fronts=len(beats[name].fronts) if name in beats else 0,
            drained=name in view.plan.away,
            stops=name in beats and beats[name].draining,
            serves=name in view.plan.hosts and name not in view.plan.away,
            behind=heard[name].engine.behind if name in heard else {},
            lacks_room=name in heard and heard[name].engine.lacks_room,
            accord=heard[name].accord if name in heard else 0,
            accord_refused=heard[name].accord_refused if name in heard else "",
        )
        for name in names
    }
    ranges = []
    for range_ in range(view.plan.ranges):
        owner = view.owner(range_)
        serves = owner is not None and owner.host in living and view.serves(owner.host, range_)
        ranges.append(
            RangeStatus(
                owner=owner.host if owner is not None and serves else "",
                epoch=view.epoch(range_),
                standing={n: b.standing[range_] for n, b in heard.items() if range_ in b.standing},
                leader=next((n for n, b in heard.items() if range_ in b.engine.leads), ""),
                last=max((_last_of(range_, beat) for beat in beats.values()), default=0),
                lost=view.lost.get(range_, ""),
                fill=fill.get(range_, 0.0),
            )
        )
    return ClusterStatus(
        seen_by=me,
        has_majority=view.majority.is_seen,
        isolated=decisions.isolated,
        hosts=hosts,
        ranges=tuple(ranges),
        has_engines=has_engines,
        counters=dict(counters),
        accord=accord,
        moving=next((b.moving for b in heard.values() if b.moving is not None), None),
    )


def _life_of(view: View, host: str, me: str, now_s: float) -> str:
    if host in view.led(me, now_s):
        return "living"
    life = view.life(host, now_s)
    return "agentless" if life is Life.LIVING else life.name.lower()


def _last_of(range_: int, beat: Beat) -> int:
    """Return the last record of a log by what one host knows."""
    return max(beat.engine.last.get(range_, 0), beat.standing.get(range_, 0))
