"""The other hosts of a cluster, as this host's agent tells of them, and what follows here.

Pure, like the fleet, to which it belongs; without a cluster there is none of it. Which ranges this
host has a copy of, who is to own one and who is to give it away is the agents' to decide
(relay.cluster.ownership). Here it becomes what the processes are told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import structs

from relay.bus.topology import WorkerAddress
from relay.process.control import ClusterTold, HandOver, HostState, Isolated, Promote
from relay.process.exitcodes import FENCED, LOG_LOST_DATA
from relay.supervision.actions import Action, Log, SetTimer, instruct
from relay.supervision.events import KillDue
from relay.supervision.seats import Incarnation, Seats

# Without a word of an agent for so long nobody here knows who owns what by now. It is longer than
# one that hangs takes to be killed and started again.
UNLED_S: Final = 12.0
# Then a range that no front reaches for so long may be served elsewhere, and nobody can tell.
LACKING_S: Final = 3
# A worker that was fenced starts again so soon, as a standby: it has done nothing wrong.
FENCED_AGAIN_S: Final = 0.1


class Abroad:
    """What the agent has told last; from its first word on."""

    def __init__(self, host: str) -> None:
        """Know nothing yet; `host` is this one's name."""
        self.host = host
        self.told: ClusterTold | None = None
        self._teller = 0  # the agent that has told it
        self._led_s: float | None = None  # when one has given a sign of life that has told
        self._isolated: bool | None = None  # None: no agent has known yet
        self._is_lost = False  # no agent is there, and some range may be served elsewhere
        self._closed = False  # what the fronts were told
        self._promoted: set[int] = set()  # incarnations, since they told last that they stand by
        # Whose log has less than was acked: none sits there until the relay is started anew.
        self.lost: set[int] = set()
        self._state: tuple[int, HostState] | None = None  # that which agent was told last

    @property
    def ranges(self) -> frozenset[int]:
        """Of which there is to be a copy here."""
        return frozenset(self.told.seats if self.told else ())

    @property
    def is_isolated(self) -> bool:
        """Whether nobody may be served here, as far as is known."""
        return self._isolated is not False or self._is_lost

    def hear(self, told: ClusterTold, teller: int, now_s: float) -> None:
        """Take in what the agent `teller` tells; what it means follows from `look`."""
        self.told, self._teller, self._led_s = told, teller, now_s
        if told.isolated is not None:
            self._isolated = told.isolated

    def lives(self, child: Incarnation, now_s: float) -> None:
        """Note a sign of life of a process, if it is the agent that has told what holds."""
        if child.number == self._teller:
            self._led_s = now_s

    def as_it_is(self) -> ClusterTold | None:
        """Return what a successor of this fleet is to `hear` first."""
        isolated = True if self._closed else self._isolated
        return self.told and structs.replace(self.told, isolated=isolated)

    def greet(self, child: Incarnation) -> list[Action]:
        """Tell one that has just been spawned what it could not hear."""
        if child.role == "front" and self._closed:
            return instruct([child], Isolated(True))
        return []

    def stands_by(self, child: Incarnation, applied: int) -> None:
        """Note how far a standby is; if it was promoted, that has not come about."""
        child.standing = applied
        self._promoted.discard(child.number)

    def found_loss(self, child: Incarnation, seats: Seats) -> list[Action]:
        """Have the agent know it before it hears that the range has no owner."""
        self.lost.add(child.index)
        return self._tell_state(seats)

    def look(
        self, seats: Seats, *, is_complete: bool, hand_over_s: float, now_s: float
    ) -> list[Action]:
        """Return what the processes are to be told now, after anything has happened.

        `is_complete`: each range has an owner, as far as is known. Who gives its range away is
        killed after `hand_over_s`, as in a stop.
        """
        told = self.told
        if told is None:
            return self._tell_state(seats)
        actions = self._look_who_leads(seats, is_complete, now_s)
        # What an agent wanted that is no more may be long past; the next one says so again.
        agents = seats.children("agent")
        is_led = any(each.number == self._teller and each.connected for each in agents)
        for index in told.promote if is_led else ():
            child = _in_seat(seats, index)
            if child and child.is_standby and child.number not in self._promoted:
                self._promoted.add(child.number)
                actions += instruct([child], Promote())
        for index, to in told.hand_over if is_led else ():
            child = _in_seat(seats, index)
            if child and child.ready and child.connected:
                child.dismissed = True
                actions += instruct([child], HandOver(to))
                actions.append(SetTimer(hand_over_s, KillDue(child.number)))
        return actions + self._tell_state(seats)

    def _look_who_leads(self, seats: Seats, is_complete: bool, now_s: float) -> list[Action]:
        """Have the fronts send their clients away where they are better served elsewhere.

        So it is when the agent says so. Where none is there, what it told last may not hold any
        more: it does not where some range is reached by nobody.
        """
        silent_s = now_s - self._led_s if self._led_s is not None else 0.0
        fronts = seats.children("front")
        lacks = not is_complete or any(each.told.lacking_s >= LACKING_S for each in fronts)
        was_lost = self._is_lost
        self._is_lost = silent_s >= UNLED_S and (was_lost or lacks)
        actions: list[Action] = []
        if self._is_lost and not was_lost:
            fields = {"silent_s": round(silent_s, 1)}
            actions.append(Log("error", "supervisor.without_agent", fields))
        closes = self._isolated is True or self._is_lost
        if closes != self._closed:
            self._closed = closes
            actions += instruct(fronts, Isolated(closes))
        return actions

    def _tell_state(self, seats: Seats) -> list[Action]:
        workers = seats.children("worker")
        state = HostState(
            {w.index: w.standing or 0 for w in workers if w.is_standby},
            tuple(sorted(self.lost)),
            {w.index: w.told.synced for w in workers if w.told.synced},
        )
        agents = [each for each in seats.children("agent") if each.connected]
        if not agents or self._state == (agents[0].number, state):
            return []
        self._state = (agents[0].number, state)
        return instruct(agents[:1], state)

    def workers_with(self, own: Iterable[WorkerAddress]) -> tuple[WorkerAddress, ...]:
        """Return every owner that is known, of each range the one of the newest epoch (C6)."""
        newest: dict[int, WorkerAddress] = {}
        for each in (*own, *(self.told.workers if self.told else ())):
            known = newest.get(each.index)
            if known is None or known.incarnation < each.incarnation:
                newest[each.index] = each
        return tuple(newest[index] for index in sorted(newest))

    def fronts_with(self, own: Iterable[str]) -> tuple[str, ...]:
        """Return every front that is known."""
        return (*own, *(self.told.fronts if self.told else ()))


def again_in_s(child: Incarnation, returncode: int) -> float | None:
    """Return when the next one starts where a worker has exited as it was to; None: it was not.

    It has given its range away, or is not to be here any more; or another one owns the range.
    """
    if child.role != "worker":
        return None
    if child.dismissed and returncode == 0:
        return 0.0
    return FENCED_AGAIN_S if returncode == FENCED else None


def stays_away(returncode: int) -> bool:
    """Whether one that has exited must not start again before somebody has looked."""
    return returncode == LOG_LOST_DATA


def _in_seat(seats: Seats, index: int) -> Incarnation | None:
    """Return who sits there and may be told something for good."""
    child = seats.seat("worker", index).child if seats.has("worker", index) else None
    return child if child and not child.dismissed else None
