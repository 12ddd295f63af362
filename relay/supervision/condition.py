"""How the fleet is, at one moment: in a line for people, and whether it gets on."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from relay.process.control import Heartbeat


class Phase(enum.Enum):
    """What the relay is about; the value is what the line says."""

    LAYING_OUT = "laying out the data anew"
    STARTING = "starting"
    SERVING = "serving"
    RENEWING = "renewing every process"
    ISOLATED = "cut off from its cluster, so nobody is served"
    STOPPING = "stopping"


class Places(msgspec.Struct, frozen=True):
    """How many of the seats of a role serve."""

    serving: int
    of: int

    def line(self, noun: str) -> str:
        """Say it of seats called `noun`, as "2 workers" or "1 of 2 workers"."""
        missing = f"{self.serving} of " if self.serving < self.of else ""
        return missing + _counted(self.of, noun)


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """All that there is to say."""

    phase: Phase
    fronts: Places
    workers: Places
    told: Mapping[int, Heartbeat]  # by the incarnation of a process
    # Seats whose process hangs and cannot be ended: nobody serves what is theirs.
    stuck: tuple[str, ...] = ()

    @property
    def gets_on(self) -> bool:
        """Whether every process does its work, or is being replaced."""
        return not self.stuck


class Summary:
    """Sums up one condition after another, with what has happened since the one before."""

    def __init__(self) -> None:
        self._told: Mapping[int, Heartbeat] = {}
        self._at_s = 0.0

    def line(self, condition: Condition, *, now_s: float) -> str:
        """Return `condition` in a line; `now_s` is of a clock that only grows."""
        line = condition.phase.value
        if condition.phase is not Phase.LAYING_OUT:
            line += f": {condition.fronts.line('front')}, {condition.workers.line('worker')}"
        if condition.told:
            logins = messages = 0
            for number, told in condition.told.items():
                before = self._told.get(number, Heartbeat())
                logins += told.logins - before.logins
                messages += told.messages - before.messages
            elapsed_s = now_s - self._at_s
            sessions = sum(told.sessions for told in condition.told.values())
            line += f", {_counted(sessions, 'session')}"
            if self._told and elapsed_s > 0:
                line += f", {_rate(logins, elapsed_s)} logins/s"
                line += f", {_rate(messages, elapsed_s)} messages/s"
        if condition.stuck:
            line += f"; hangs and cannot be ended: {', '.join(condition.stuck)}"
        self._told, self._at_s = dict(condition.told), now_s
        return line


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _rate(count: int, elapsed_s: float) -> str:
    per_s = count / elapsed_s
    return f"{per_s:.1f}" if per_s < 10 else f"{per_s:.0f}"
