"""The fleet: what is to be done about the fronts and workers when something happens to them.

Pure: an event comes in (relay.supervision.events) with the time that it is, and actions go out
(relay.supervision.actions). The supervisor does nothing to a process that was not asked for here.

What a part decides on its own is in a module of its own: who hangs (hangs), whose turn it is in a
rolling restart (rolling), the order of a stop (stop), when a dead one starts again (deaths), what
the other hosts of a cluster mean here (abroad).
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final, Literal, assert_never

import msgspec

from relay.bus.topology import Topology, WorkerAddress
from relay.process.control import (
    GroupsChanged,
    KeysChanged,
    Outcome,
    SettingsChanged,
    TopologyChanged,
)
from relay.process.exitcodes import CANNOT_BOOT
from relay.protocol.slots import ShardMap
from relay.settings.tables import Settings
from relay.supervision.abroad import Abroad, again_in_s, stays_away
from relay.supervision.actions import (
    Abort,
    Action,
    Announce,
    CloseListener,
    FetchKeys,
    KillResharding,
    Log,
    Rehearse,
    Renew,
    SetTimer,
    Spawn,
    StartResharding,
    instruct,
    kill,
)
from relay.supervision.condition import Condition, Phase
from relay.supervision.deaths import Backoff, describe_exit
from relay.supervision.events import (
    AccordAsked,
    Asker,
    Beat,
    BootDue,
    ChannelClosed,
    Claimed,
    ClusterSeen,
    DrainAsked,
    Event,
    Exited,
    FoundLoss,
    GroupsTaken,
    KeysAsked,
    KeysTaken,
    KillDue,
    NotRenewed,
    OfChild,
    Rehearsed,
    Resharded,
    RestartDue,
    RollAsked,
    Seated,
    Served,
    SettingsTaken,
    Spawned,
    SpawnFailed,
    StoodBy,
    StopAsked,
    StopDue,
    TookOver,
    WatchDue,
    WentDeaf,
)
from relay.supervision.hangs import BOOT_DEADLINE_S, Watch, is_stuck
from relay.supervision.rolling import Rolling, RollStep, dismiss, step_of
from relay.supervision.seats import Incarnation, Role, Seat, Seats
from relay.supervision.stop import Stopping

_BUSY: Final = "it starts, stops or rolls already"
# Deaths of one child before the relay ever served, after which it is taken for broken.
BOOT_ATTEMPTS: Final = 5
# For a stack dump, between SIGABRT and SIGKILL.
ABORT_GRACE_S: Final = 2.0
# Clients whom the kernel has put into the queue of a front that has died wait for its successor at
# most so long, and its start. Beyond that they are reset, and find another front at once.
LISTENER_PATIENCE_S: Final = 1.0


class Fleet:
    """Every front and worker of one supervisor, from the first start to the last exit.

    Over 25 methods and over 15 fields, since much can happen to it. Call `handle` with each event,
    do what it returns, and hand in at once what came of it; when nothing further has happened, call
    `settle` and do that too. `now_s` is of a clock that only grows.
    """

    def __init__(self, settings: Settings, *, random: Random, oom_kills: int, now_s: float) -> None:
        """`oom_kills` is how many processes the OOM killer has killed so far, as in `Exited`."""
        self._settings = settings.supervisor
        self._random = random
        server, cluster = settings.server, settings.cluster
        counts: dict[Role, int] = {
            # In a cluster the agent says which workers there are to be.
            "worker": 0 if cluster.is_on else server.workers,
            "front": 0 if cluster.is_witness else server.fronts,
            "admin": int(not settings.admin.disabled),
            "agent": int(cluster.is_on),
            "engine": int(cluster.is_on),
        }
        self._seats = Seats(
            [self._make_seat(role, i) for role, count in counts.items() for i in range(count)]
        )
        self._abroad = Abroad(cluster.host_name) if cluster.is_on else None
        self._shard_map = ShardMap(server.workers)
        self._topology = Topology(epoch=0)
        self._resharding = False
        self._served = False  # the ready line is out
        self._rehearsing = False  # from the wish to roll until it begins or is refused
        self._rolling: Rolling | None = None
        self._drained: Seat | None = None  # that alone is renewed by it
        self._asked_by: Asker | None = None  # who is to hear of it, None: every admin
        self._stopping: Stopping | None = None
        self._watch = Watch(now_s=now_s)
        self._watch_turn = 0  # of the timer that counts; 0: there is none
        self._oom_kills = oom_kills
        self._actions: list[Action] = []

    def _make_seat(self, role: Role, index: int) -> Seat:
        bounds = self._settings
        backoff = Backoff(
            min_s=bounds.restart_min_s, max_s=bounds.restart_max_s, random=self._random
        )
        return Seat(role, index, backoff)

    @property
    def is_stopping(self) -> bool:
        """Whether nothing is to be started any more."""
        return self._stopping is not None

    @property
    def is_rolling(self) -> bool:
        """Whether some processes are, or are about to be, of another version than others."""
        return self._rolling is not None or self._rehearsing

    @property
    def has_served(self) -> bool:
        """Whether the ready line is out."""
        return self._served

    def condition(self, *, now_s: float) -> Condition:
        """Return how it is now."""
        if self._stopping:
            phase = Phase.STOPPING
        elif self._resharding:
            phase = Phase.LAYING_OUT
        elif self._rolling:
            phase = Phase.RENEWING
        elif self._served and self._abroad is not None and self._abroad.is_isolated:
            phase = Phase.ISOLATED
        else:
            phase = Phase.SERVING if self._served else Phase.STARTING
        settings = self._settings
        children = self._seats.children()
        return Condition(
            phase=phase,
            fronts=self._seats.places("front"),
            workers=self._seats.places("worker"),
            told={c.number: c.told for c in children if c.role == "front" and c.ready},
            stuck=tuple(
                f"{child.role} {child.index}"
                for child in children
                if is_stuck(
                    child,
                    hung_after_s=settings.hung_after_s,
                    heartbeat_s=settings.heartbeat_s,
                    now_s=now_s,
                )
            ),
        )

    def handle(self, event: Event, *, now_s: float) -> list[Action]:
        """Take in `event`; return what is to be done at once, in order."""
        self._handle(event, now_s)
        return self._take_actions()

    def settle(self, *, now_s: float) -> list[Action]:
        """Draw the consequences of all that has just happened; return what is to be done."""
        if self._abroad is not None and not self._stopping:
            self._reseat(self._abroad, now_s)
        self._update_topology()
        if self._abroad is not None:
            within_s = self._settings.stop_deadline_s
            self._actions += self._abroad.look(
                self._seats,
                is_complete=self._topology.is_complete,
                hand_over_s=within_s,
                now_s=now_s,
            )
        if self._stopping:
            if not self._resharding:
                self._actions += self._stopping.go_on(now_s=now_s)
        elif not (self._served or self._waits_for_others or self._waiting_for()):
            self._served = True
            self._actions.append(Announce())
            for seat in self._seats:
                self._spawn(seat, now_s)  # those that it does not wait for
        elif self._rolling:
            self._roll_on(self._rolling, now_s)
        return self._take_actions()

    def _take_actions(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _log(self, level: Literal["info", "warning", "error"], event: str, **fields: Any) -> None:
        self._actions.append(Log(level, event, fields))

    def _handle(self, event: Event, now_s: float) -> None:
        match event:
            case Claimed(laid_out, numbers):
                self._seats.numbers = numbers
                self._on_claimed(laid_out, now_s)
            case Resharded(returncode, oom_kills):
                self._on_resharded(returncode, oom_kills, now_s)
            case BootDue():
                self._on_boot_due(now_s)
            case RestartDue(role, index):
                if self._seats.has(role, index):
                    self._spawn(self._seats.seat(role, index), now_s)
            case WatchDue(turn):
                if turn == self._watch_turn:
                    self._look(now_s)
            case TookOver():
                self._take_over(event, now_s)
            case RollAsked(by):
                self._roll(by)
            case DrainAsked():
                self._drain(event)
            case Rehearsed(refusal):
                self._on_rehearsed(refusal)
            case NotRenewed(reason):
                self._rehearsing = False
                self._log("error", "supervisor.not_rolled", reason=reason)
                self._tell("failed", reason)
            case SettingsTaken(settings):
                self._adopt(settings, now_s)
            case GroupsTaken():
                self._actions += instruct(self._seats.children("worker"), GroupsChanged())
            case AccordAsked(wanted):
                self._actions += instruct(self._seats.children("agent")[:1], wanted)
            case KeysTaken():
                self._actions += instruct(self._seats.children("front"), KeysChanged())
            case KeysAsked():
                self._actions.append(FetchKeys())
            case StopAsked(signal):
                self._on_stop_asked(signal, now_s)
            case StopDue(role):
                if self._stopping:
                    self._actions += self._stopping.overdue(role)
            case _:
                child = self._seats.find(event.incarnation)
                if child:
                    self._handle_of_child(child, event, now_s)

    def _handle_of_child(self, child: Incarnation, event: OfChild, now_s: float) -> None:
        match event:
            case Spawned(_, pid):
                child.pid = pid
                child.connected = True
                self._actions += instruct([child], TopologyChanged(self._topology))
                if self._abroad is not None:
                    self._actions += self._abroad.greet(child)
            case Served(_, endpoint, tcp, epoch):
                child.heard_s = now_s
                child.endpoint, child.tcp, child.epoch = endpoint, tcp, epoch
            case StoodBy(_, applied):
                child.heard_s = now_s
                if self._abroad is not None:
                    self._abroad.stands_by(child, applied)
            case FoundLoss():
                if self._abroad is not None:
                    self._actions += self._abroad.found_loss(child, self._seats)
            case ClusterSeen(_, told):
                child.heard_s = now_s
                if self._abroad is not None:
                    self._abroad.hear(told, child.number, now_s)
            case Beat(_, told):
                child.heard_s = now_s
                child.told = told
                if self._abroad is not None:
                    self._abroad.lives(child, now_s)
            case ChannelClosed():
                child.connected = False
            case WentDeaf():
                self._log("error", f"{child.role}.deaf", index=child.index, pid=child.pid)
                self._actions.append(kill(child))
            case KillDue():
                self._actions.append(kill(child))
            case SpawnFailed(_, reason):
                self._seats.vacate(child)
                self._restart_later(child, None, {"error": f"cannot start it: {reason}"}, now_s)
            case Exited(_, returncode, oom_kills):
                self._on_exited(child, returncode, oom_kills, now_s)
            case _:
                assert_never(event)

    # --- start ---

    def _on_claimed(self, laid_out: bool, now_s: float) -> None:
        if self._stopping:
            return
        if laid_out:
            self._spawn_all(now_s)
        else:
            self._resharding = True
            self._actions.append(StartResharding())

    def _on_resharded(self, returncode: int, oom_kills: int, now_s: float) -> None:
        self._resharding = False
        if self._stopping:
            return  # it was killed, which it is made for
        if returncode == 0:
            self._spawn_all(now_s)
            return
        struck = oom_kills - self._oom_kills
        fields = describe_exit(returncode, oom_kills=struck, we_killed=False)
        self._log("error", "reshard.exited", **fields)
        self._stop(exit_code=1, now_s=now_s)

    def _spawn_all(self, now_s: float) -> None:
        # The engine first, without which the others of a cluster wait.
        for seat in sorted(self._seats, key=lambda seat: seat.role != "engine"):
            if seat.is_vital:
                self._spawn(seat, now_s)
        if self._abroad is None:  # else it may be long until others are there
            self._actions.append(SetTimer(BOOT_DEADLINE_S, BootDue()))
        self._look(now_s)

    def _spawn(self, seat: Seat, now_s: float) -> None:
        seat.waits = False
        if not self._stopping and not seat.child:
            child = self._seats.fill(seat, now_s=now_s)
            self._actions.append(Spawn(seat.role, seat.index, child.number))

    def _on_boot_due(self, now_s: float) -> None:
        if not self._served and not self._stopping:
            self._log(
                "error",
                "supervisor.boot_overdue",
                deadline_s=BOOT_DEADLINE_S,
                waiting_for=[str(seat) for seat in self._waiting_for()],
            )
            self._stop(exit_code=1, now_s=now_s)

    def _waiting_for(self) -> list[Seat]:
        """Return the seats without which nobody is served; workers of a cluster may be others'."""
        vital = [seat for seat in self._seats if seat.is_vital]
        if self._abroad is not None:
            vital = [seat for seat in vital if seat.role != "worker"]
        return [seat for seat in vital if not (seat.child and seat.child.ready)]

    @property
    def _waits_for_others(self) -> bool:
        """Whether it is for other hosts to have somebody served here."""
        if self._abroad is None:
            return False
        return self._abroad.is_isolated or not self._topology.is_complete

    def _update_topology(self) -> None:
        host = self._abroad.host if self._abroad is not None else ""
        found = Topology(
            epoch=self._topology.epoch,
            workers=tuple(_addresses(self._seats.children("worker"), self._shard_map, host)),
            fronts=tuple(c.identity(host) for c in self._seats.children("front") if c.connected),
        )
        if self._abroad is not None:
            found = msgspec.structs.replace(
                found,
                workers=self._abroad.workers_with(found.workers),
                fronts=self._abroad.fronts_with(found.fronts),
            )
        if found != self._topology:
            self._topology = msgspec.structs.replace(found, epoch=found.epoch + 1)
            self._actions += instruct(self._seats.children(), TopologyChanged(self._topology))

    def _reseat(self, abroad: Abroad, now_s: float) -> None:
        """Have a worker for each range of which there is to be a copy here, and no others."""
        for index in sorted(abroad.ranges - abroad.lost):
            if not self._seats.has("worker", index):
                self._seats.add(seat := self._make_seat("worker", index))
                self._spawn(seat, now_s)
        if self._rolling or abroad.told is None:
            return
        for seat in [s for s in self._seats if s.role == "worker" and s.index not in abroad.ranges]:
            if seat.child is None:
                self._seats.remove(seat)
            elif not seat.child.dismissed:
                within_s = self._settings.stop_deadline_s
                self._actions += dismiss(seat.child, within_s=within_s)

    # --- deaths and hangs ---

    def _on_exited(self, child: Incarnation, returncode: int, oom_kills: int, now_s: float) -> None:
        was_leaving = self._seats.vacate(child)
        struck, self._oom_kills = oom_kills - self._oom_kills, oom_kills
        fields = {
            "pid": child.pid,
            **describe_exit(returncode, oom_kills=struck, we_killed=child.we_killed),
            "uptime_s": round(now_s - child.started_s, 1),
        }
        if self._stopping or was_leaving:
            level: Literal["info", "warning"] = "info" if returncode == 0 else "warning"
            self._log(level, f"{child.role}.exited", index=child.index, **fields)
        elif self._abroad is not None and (delay_s := again_in_s(child, returncode)) is not None:
            self._log("info", f"{child.role}.exited", index=child.index, **fields)
            self._actions.append(SetTimer(delay_s, RestartDue(child.role, child.index)))
        elif self._abroad is not None and stays_away(returncode):
            self._log("error", f"{child.role}.exited", index=child.index, **fields)
        else:
            self._restart_later(child, returncode if returncode >= 0 else None, fields, now_s)

    def _restart_later(
        self, dead: Incarnation, exit_code: int | None, fields: dict[str, Any], now_s: float
    ) -> None:
        seat = self._seats.seat(dead.role, dead.index)
        delay_s = seat.backoff.restart_delay_s(
            uptime_s=fields.get("uptime_s", 0.0), exit_code=exit_code
        )
        fields = {"index": seat.index, **fields, "attempt": seat.backoff.deaths}
        hopeless = exit_code == CANNOT_BOOT or seat.backoff.deaths >= BOOT_ATTEMPTS
        if not self._served and hopeless:
            self._log("error", f"{seat.role}.exited", **fields)
            self._stop(exit_code=1, now_s=now_s)
        else:
            fields["restart_in_ms"] = round(delay_s * 1000)
            self._log("warning", f"{seat.role}.exited", **fields)
            if self._rolling and self._rolling.gives_up(seat, exit_code=exit_code):
                self._rolling = None
                self._log("error", "supervisor.roll_given_up", seat=str(seat))
                self._tell("failed", f"the new {seat} has died; who was not renewed stays")
                self._drained = self._asked_by = None
                if seat.child:
                    return  # the predecessor has stayed
            seat.waits = True
            self._actions.append(SetTimer(delay_s, RestartDue(seat.role, seat.index)))
            if seat.role == "front" and delay_s > LISTENER_PATIENCE_S and not seat.leaving:
                self._actions.append(CloseListener(seat.index))

    def _look(self, now_s: float) -> None:
        """Look who hangs, and set the timer for the next look in place of the one of before."""
        self._watch_turn += 1
        self._actions.append(SetTimer(self._settings.heartbeat_s, WatchDue(self._watch_turn)))
        if self._stopping:
            return  # the stop has its own deadline
        settings = self._settings
        children = self._seats.children()
        if self._waits_for_others:
            for front in self._seats.children("front"):
                if not front.ready:  # nor is it to be, before every range has an owner
                    front.heard_s = now_s
        for child in self._watch.look(
            children,
            hung_after_s=settings.hung_after_s,
            heartbeat_s=settings.heartbeat_s,
            now_s=now_s,
        ):
            self._log(
                "error",
                f"{child.role}.hung",
                index=child.index,
                pid=child.pid,
                silent_s=round(now_s - child.heard_s, 1),
            )
            self._actions.append(Abort(child.number))
            self._actions.append(SetTimer(ABORT_GRACE_S, KillDue(child.number)))

    # --- what an operator asks for ---

    def _tell(
        self, state: Literal["running", "done", "failed"], detail: str, by: Asker | None = None
    ) -> None:
        """Tell what becomes of a roll or drain to who has asked; of a roll to any admin else."""
        asker = by or self._asked_by
        if asker is None:
            heard, number = self._seats.children("admin"), 0
        else:
            child, number = self._seats.find(asker.incarnation), asker.number
            heard = [child] if child is not None else []
        self._actions += instruct(heard, Outcome(number, state, detail))

    @property
    def _is_busy(self) -> bool:
        return bool(not self._served or self._stopping or self._rolling or self._rehearsing)

    def _drain(self, asked: DrainAsked) -> None:
        name = f"{asked.role} {asked.index}"
        if not self._seats.has(asked.role, asked.index):
            self._tell("failed", f"there is no {name}", asked.by)
        elif self._is_busy:
            self._tell("failed", _BUSY, asked.by)
        else:
            self._drained = seat = self._seats.seat(asked.role, asked.index)
            self._asked_by = asked.by
            self._rolling = Rolling([seat])  # `settle` begins it
            self._log("info", "supervisor.draining", seat=name)
            self._tell("running", f"{name} is renewed")

    def _roll(self, by: Asker | None) -> None:
        if self._is_busy:
            self._log("warning", "supervisor.not_rolled", reason=_BUSY)
            if by is not None:
                self._tell("failed", _BUSY, by)
            return
        self._asked_by = by
        self._rehearsing = True
        self._actions.append(Rehearse())

    def _on_rehearsed(self, refusal: str) -> None:
        if self._stopping:
            return
        if refusal:
            self._rehearsing = False
            self._log("error", "supervisor.not_rolled", reason=refusal)
            self._tell("failed", refusal)
        else:
            self._tell("running", "the code in place can be started; every process is renewed")
            self._actions.append(Renew())

    def as_it_is(self) -> TookOver:
        """Return what a newer supervisor takes over, which `Renew` has asked for."""
        return TookOver(
            tuple(
                Seated(
                    each.role,
                    each.index,
                    each.number,
                    each.pid,
                    each.started_s,
                    each.endpoint,
                    each.tcp,
                    each.epoch,
                    each.standing,
                )
                for each in self._seats.children()
            ),
            self._seats.numbers,
            self._topology.epoch,
            self._abroad.as_it_is() if self._abroad is not None else None,
            tuple(sorted(self._abroad.lost)) if self._abroad is not None else (),
        )

    def _take_over(self, found: TookOver, now_s: float) -> None:
        self._served = True
        self._seats.numbers = found.numbers
        self._topology = Topology(epoch=found.epoch)
        if self._abroad is not None and found.cluster is not None:
            agents = [each.incarnation for each in found.children if each.role == "agent"]
            self._abroad.hear(found.cluster, max(agents, default=0), now_s)
            self._abroad.lost.update(found.lost)
        for each in found.children:
            if not self._seats.has(each.role, each.index):  # a worker of a cluster
                self._seats.add(self._make_seat(each.role, each.index))
            self._seats.restore(
                Incarnation(
                    role=each.role,
                    index=each.index,
                    number=each.incarnation,
                    started_s=each.started_s,
                    heard_s=now_s,
                    pid=each.pid,
                    connected=True,
                    endpoint=each.endpoint,
                    tcp=each.tcp,
                    epoch=each.epoch,
                    standing=each.standing,
                )
            )
        self._log("info", "supervisor.rolling", children=len(self._seats))
        self._rolling = Rolling(self._seats)  # `settle` begins it
        for seat in self._seats:
            self._spawn(seat, now_s)  # whoever died meanwhile
        self._look(now_s)

    def _roll_on(self, rolling: Rolling, now_s: float) -> None:
        seat = rolling.turn()
        if seat is None:
            self._rolling = None
            if self._drained is not None:
                self._log("info", "supervisor.drained", seat=str(self._drained))
                self._tell("done", f"{self._drained} is renewed")
                self._drained = self._asked_by = None
            else:
                self._log("info", "supervisor.rolled")
                self._tell("done", "every process is renewed")
            return
        match step := step_of(seat):
            case RollStep.WAIT:
                pass
            case RollStep.SPAWN:
                self._spawn(seat, now_s)
            case RollStep.DISMISS:
                assert seat.leaving is not None
                self._actions += dismiss(seat.leaving, within_s=self._settings.stop_deadline_s)
            case _:
                assert_never(step)

    def _adopt(self, settings: Settings, now_s: float) -> None:
        self._settings = supervisor = settings.supervisor
        for seat in self._seats:
            seat.backoff.adopt(min_s=supervisor.restart_min_s, max_s=supervisor.restart_max_s)
        children = self._seats.children()
        self._actions += instruct(children, SettingsChanged(settings))
        for child in children:
            child.heard_s = now_s  # its silence until now was by the old interval
        if self._watch_turn:
            self._look(now_s)

    def _on_stop_asked(self, signal: str, now_s: float) -> None:
        if not self._stopping:
            self._log("info", "supervisor.stopping", signal=signal)
            self._stop(exit_code=0, now_s=now_s)
        elif signal == "SIGINT":
            self._log("info", "supervisor.hurrying", signal=signal)
            self._actions += self._stopping.hurry(now_s=now_s)

    def _stop(self, *, exit_code: int, now_s: float) -> None:
        """Begin to stop; `settle` carries on as the children go."""
        self._stopping = Stopping(
            self._seats,
            exit_code=exit_code,
            deadline_s=self._settings.stop_deadline_s,
            now_s=now_s,
        )
        if self._resharding:
            self._actions.append(KillResharding())
        self._actions += [CloseListener(s.index) for s in self._seats if s.role == "front"]
        self._actions += self._stopping.begin()


def _addresses(
    workers: list[Incarnation], shard_map: ShardMap, host: str
) -> Iterator[WorkerAddress]:
    for child in workers:
        if child.connected and child.endpoint is not None:
            shard = shard_map.shards[child.index]
            yield WorkerAddress(
                index=child.index,
                first_slot=shard[0],
                last_slot=shard[-1],
                endpoint=child.endpoint,
                incarnation=child.epoch or child.number,
                host=host,
                tcp=child.tcp,
                number=child.number if host else 0,
            )
