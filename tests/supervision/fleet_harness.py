"""A supervisor without processes: it has a made-up clock and does what the fleet wants done."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Mapping
from random import Random
from typing import Any

from relay.bus.topology import Topology
from relay.process.control import FromSupervisor, TopologyChanged
from relay.settings.tables import (
    AdminSettings,
    ClusterSettings,
    ServerSettings,
    Settings,
    SupervisorSettings,
)
from relay.supervision.actions import (
    Abort,
    Action,
    Announce,
    Exit,
    Instruct,
    Kill,
    KillResharding,
    Log,
    Rehearse,
    Renew,
    SetTimer,
    Spawn,
    StartResharding,
)
from relay.supervision.condition import Condition
from relay.supervision.events import (
    Beat,
    ChannelClosed,
    Claimed,
    Due,
    Event,
    Exited,
    NotRenewed,
    Rehearsed,
    RestartDue,
    Served,
    Spawned,
    SpawnFailed,
)
from relay.supervision.fleet import Fleet
from relay.supervision.seats import Role

SUPERVISOR = SupervisorSettings(
    stop_deadline_s=20, restart_min_s=0.1, restart_max_s=10, heartbeat_s=1, hung_after_s=15
)
FIRST_PID = 1000


class FleetHarness:
    """A fleet, its made-up processes, and what was done to them.

    A living process gives a sign of life each second while the clock is moved, unless it is in
    `silent`. After each action it is checked that it makes sense.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        fronts: int = 1,
        supervisor: SupervisorSettings = SUPERVISOR,
        seed: int = 1,
        admin: bool = False,
        cluster: ClusterSettings | None = None,
    ) -> None:
        server = ServerSettings(workers=workers, fronts=fronts)
        self.now_s = 100.0
        self.oom_kills = 0
        without = AdminSettings(disabled=not admin)
        self._settings = Settings(
            server=server,
            supervisor=supervisor,
            admin=without,
            cluster=cluster or ClusterSettings(),
        )
        self._random = Random(seed)
        self.refusal = ""  # of a rehearsal
        self.fleet = self._new_fleet()
        self.done: list[Action] = []
        self.processes: dict[int, Spawn] = {}  # that live, by incarnation
        self.connected: set[int] = set()
        self.told: defaultdict[int, list[FromSupervisor]] = defaultdict(list)
        self.silent: set[int] = set()
        self.spawns_fail = False
        self.resharding = False
        self.exit_code: int | None = None
        self._timers: list[tuple[float, int, Due]] = []
        self._order = itertools.count()
        self._numbers: set[int] = set()

    def _new_fleet(self) -> Fleet:
        return Fleet(self._settings, random=self._random, oom_kills=0, now_s=self.now_s)

    # --- what a test does ---

    def serve(self) -> None:
        """Start, until the ready line is out."""
        self.feed(Claimed(laid_out=True))
        self.all_serve()
        assert Announce() in self.done

    def all_serve(self) -> None:
        """Have every process say that it is ready."""
        for number in list(self.processes):
            self.served(number)

    def served(self, number: int) -> None:
        """Have one process say that it is ready."""
        spawn = self.processes[number]
        self.feed(Served(number, f"ipc://{number}" if spawn.role == "worker" else ""))

    def feed(self, *events: Event) -> list[Action]:
        """Tell the fleet what happened, all at once; return what was done for it."""
        before = len(self.done)
        for event in events:
            self._carry_out(self.fleet.handle(event, now_s=self.now_s))
        self._carry_out(self.fleet.settle(now_s=self.now_s))
        return self.done[before:]

    def die(self, *numbers: int, returncode: int = -9) -> list[Action]:
        """Let processes die, all at once."""
        for number in numbers:
            del self.processes[number]
            self.connected.discard(number)
        return self.feed(*(Exited(number, returncode, self.oom_kills) for number in numbers))

    def close_channel(self, number: int) -> list[Action]:
        self.connected.discard(number)
        return self.feed(ChannelClosed(number))

    def advance(self, seconds: float) -> list[Action]:
        """Move the clock, with the timers and the signs of life on the way."""
        before = len(self.done)
        end_s = self.now_s + seconds
        next_beat_s = self.now_s + 1
        while True:
            timer_s = self._timers[0][0] if self._timers else end_s
            self.now_s = min(end_s, max(self.now_s, min(timer_s, next_beat_s)))
            if next_beat_s <= self.now_s:
                next_beat_s += 1
                self.feed(*(Beat(n) for n in self.connected - self.silent))
            elif self._timers and timer_s <= self.now_s:
                self.feed(heapq.heappop(self._timers)[2])
            else:
                return self.done[before:]

    def sleep(self, seconds: float) -> list[Action]:
        """Move the clock as a pause of the whole machine does: what was due comes after it."""
        self.now_s += seconds
        return self.advance(0)

    # --- what a test asks ---

    def condition(self) -> Condition:
        """Return how the fleet is now."""
        return self.fleet.condition(now_s=self.now_s)

    def child(self, role: Role, index: int = 0) -> int:
        """The youngest process of that name that lives."""
        return max(n for n, s in self.processes.items() if (s.role, s.index) == (role, index))

    def children(self, role: Role) -> list[int]:
        return [number for number, spawn in self.processes.items() if spawn.role == role]

    def topology(self, number: int) -> Topology:
        """What the process was told last of the others."""
        told = [m.topology for m in self.told[number] if isinstance(m, TopologyChanged)]
        return told[-1]

    def logged(self, event: str) -> list[Mapping[str, Any]]:
        """The fields of all lines of this event."""
        return [a.fields for a in self.done if isinstance(a, Log) and a.event == event]

    def level(self, event: str) -> str:
        """The level of the last line of this event."""
        return [a.level for a in self.done if isinstance(a, Log) and a.event == event][-1]

    def restart_delays(self) -> list[float]:
        return [
            action.delay_s
            for action in self.done
            if isinstance(action, SetTimer) and isinstance(action.due, RestartDue)
        ]

    # --- what a supervisor does ---

    def _carry_out(self, actions: list[Action]) -> None:
        to_do = deque(actions)
        while to_do:
            action = to_do.popleft()
            self.done.append(action)
            event = self._do(action)
            if event:
                to_do.extend(self.fleet.handle(event, now_s=self.now_s))

    def _do(self, action: Action) -> Event | None:
        assert self.exit_code is None, f"{action} after the end"
        match action:
            case Spawn():
                return self._spawn(action)
            case Instruct(number, message):
                assert number in self.connected
                self.told[number].append(message)
            case Abort(number) | Kill(number):
                assert number in self.processes
            case SetTimer(delay_s, due):
                assert delay_s >= 0
                heapq.heappush(self._timers, (self.now_s + delay_s, next(self._order), due))
            case Rehearse():
                return Rehearsed(self.refusal)
            case Renew():
                if self.connected != set(self.processes):
                    return NotRenewed("one has closed its channel and lives")
                found = self.fleet.as_it_is()
                self.fleet = self._new_fleet()
                self._timers.clear()
                return found
            case StartResharding():
                assert not self.processes
                self.resharding = True
            case KillResharding():
                assert self.resharding
            case Exit(exit_code):
                assert not self.processes
                assert not self.resharding
                self.exit_code = exit_code
            case _:
                pass
        return None

    def _spawn(self, spawn: Spawn) -> Event:
        number = spawn.incarnation
        assert number not in self._numbers, "a number is never used twice"
        self._numbers.add(number)
        assert not self.fleet.is_stopping
        assert not self.resharding
        name = (spawn.role, spawn.index)
        others = [s for s in self.processes.values() if (s.role, s.index) == name]
        assert len(others) <= (1 if spawn.role == "front" else 0), "a store has one holder"
        if self.spawns_fail:
            return SpawnFailed(number, "no room")
        self.processes[number] = spawn
        self.connected.add(number)
        return Spawned(number, FIRST_PID + number)
