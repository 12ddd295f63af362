"""The agent of a host: sees the other hosts, and says what is to happen on this one.

It does not decide (`relay.cluster.ownership`) and does nothing to a process: it hears its own
supervisor and the other agents, and tells both. Where it dies, everything goes on as it was told
last; the next one listens for a while before it tells anything.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections import Counter
from pathlib import Path
from typing import Final, assert_never

import msgspec

from relay import clock, log
from relay.cluster.beats import EVERY_S, BeatUnreadable, decode_beat, encode_beat
from relay.cluster.chores import Chores, Found, plan_of
from relay.cluster.home import Home, tell
from relay.cluster.line import Line
from relay.cluster.names import (
    agent_of,
    answers_to,
    beats_of,
    calls_of,
    changes_of,
    copies_of,
)
from relay.cluster.natswire import Message
from relay.cluster.ownership import Decisions, decide
from relay.cluster.requests import (
    Answer,
    DrainAsked,
    MoveAsked,
    Refused,
    RequestUnreadable,
    RoomAsked,
    decode_request,
    encode,
    room_of,
    status_of,
)
from relay.cluster.transfers import Transfers
from relay.cluster.trimming import Trimming
from relay.cluster.view import Life, View
from relay.cluster.vouching import Calls, VouchUnreadable, decode_vouch
from relay.disk.accord import Origin
from relay.disk.layout import read_layout
from relay.process.control import (
    AccordSettled,
    AccordWanted,
    ChildReady,
    ClusterTold,
    GroupsChanged,
    HandOver,
    HostState,
    Isolated,
    KeysChanged,
    Outcome,
    PeerGone,
    Promote,
    SettingsChanged,
    Stop,
    TopologyChanged,
    Wish,
)
from relay.process.duties import Duties
from relay.process.memo import read_memo
from relay.process.place import Place
from relay.process.run import settle

# Between two beats, however much changes.
BEAT_SOONEST_S: Final = 0.02
# What a silence means is looked at so often.
THINK_S: Final = 0.1
# The supervisor may be renewing its processes, and takes no other groups meanwhile.
GROUPS_AGAIN_S: Final = 15.0
# The numbers of what is wished of the supervisor.
_GROUPS: Final = 1
_ACCORD: Final = 2
# Of a reason that all hosts are told.
_MOST_TOLD: Final = 300
# Between two trims of a log; each removes some seconds of it.
TRIM_EVERY_S: Final = 10.0
# While the host waits for others, it says for whom so often.
WAITING_EVERY_S: Final = 10.0


class Agent:
    """One agent process. Over 15 fields: it is where everything about a host comes together."""

    def __init__(self, place: Place) -> None:
        """Connect to nothing yet."""
        self._place = place
        self._control = place.control
        cluster = self._cluster = place.settings.cluster
        now_s = self._began_s = time.monotonic()
        self._home = Home(cluster.host_name, incarnation=place.incarnation)
        self._plan = plan_of(cluster)  # before what operators have settled
        self._view = View(
            self._plan,
            cluster.addresses,
            detect_s=cluster.detect_s,
            isolate_s=cluster.isolate_s,
            now_s=now_s,
        )
        self._line = Line(
            cluster,
            name=f"{cluster.host_name} agent",
            subjects=[
                beats_of(cluster.name, "*"),
                agent_of(cluster.name, cluster.host_name),
                copies_of(cluster.name, "*"),
                copies_of(cluster.name, "*", cluster.host_name),
                changes_of(cluster.name),
                answers_to(cluster.name, cluster.host_name, "*"),
            ],
        )
        self._chores = Chores(
            cluster, place.data_dir, min_free_bytes=place.settings.store.min_free_bytes
        )
        self._calls = Calls(place.incarnation, detect_s=cluster.detect_s)
        self._transfers = Transfers(cluster.host_name, place.data_dir / "copies", self._store_of)
        self._found = Found()
        self._decisions: Decisions | None = None  # the last ones
        self._told: ClusterTold | None = None
        self._beat_due_s = self._beat_sent_s = self._think_due_s = now_s
        self._say_due_s = now_s + WAITING_EVERY_S
        self._counters: Counter[str] = Counter()
        self._duties = Duties(
            "agent",
            place.control,
            self._counters,
            heartbeat_s=place.settings.supervisor.heartbeat_s,
        )
        self._trimmings: dict[int, Trimming] = {}  # of the ranges that are owned here
        self._trim_due_s = now_s
        self._said_lost: set[int] = set()
        self._said_other: set[str] = set()
        self._living: frozenset[str] = frozenset()
        self._led: frozenset[str] = frozenset()
        self._groups_due_s = math.inf  # when the supervisor is to read the groups again
        self._accord_due_s = math.inf  # the same of the accord
        self._wished = Found()  # of which groups and accord that was wished last
        self._accord = 0  # the number of the one that holds here, once it is known
        self._accord_refused = ""  # why a newer one does not
        self._draining = self._stops = False

    def run(self) -> None:
        """Work until the supervisor says stop or is gone."""
        self._chores.start()
        self._control.send(ChildReady())
        settle()
        log.get_logger().info("agent.started")
        while not self._stops:
            self._turn()
        self._draining = True
        self._beat(time.monotonic())  # what is here no more others take at once
        self._transfers.close()
        self._chores.close()
        self._line.close()
        log.get_logger().info("agent.stopped", **self._counters)

    def _turn(self) -> None:
        """Wait until there is something to do, and do it."""
        if self._line.keep(time.monotonic()):
            self._beat_due_s = 0.0
        self._wait()
        now_s = time.monotonic()
        self._read_control(now_s)
        found = self._chores.take()
        for settled in self._chores.settled():
            self._control.send(settled)
        self._learn(found)
        # Beats that have come are heard before anything is made of a silence.
        for message in self._line.receive(now_s):
            self._take(message, now_s)
        if now_s >= self._think_due_s:
            self._think(now_s)
        if now_s >= self._groups_due_s:
            self._groups_due_s = now_s + GROUPS_AGAIN_S
            self._wished = msgspec.structs.replace(self._wished, groups=self._found.groups)
            self._control.send(Wish(_GROUPS, "groups"))
        if now_s >= self._accord_due_s:
            self._accord_due_s = now_s + GROUPS_AGAIN_S
            self._wished = msgspec.structs.replace(self._wished, accord=self._found.accord)
            self._control.send(Wish(_ACCORD, "accord"))
        if now_s >= self._trim_due_s:
            self._trim(now_s)
        if now_s >= max(self._beat_due_s, self._beat_sent_s + BEAT_SOONEST_S):
            self._beat(now_s)
        self._duties.tick(clock.clock_ms())

    def _wait(self) -> None:
        poll = select.poll()
        unsent = select.POLLOUT if self._control.has_unsent else 0
        poll.register(self._control.fileno(), select.POLLIN | unsent)
        poll.register(self._chores.descriptor, select.POLLIN)
        due_s = min(self._think_due_s, max(self._beat_due_s, self._beat_sent_s + BEAT_SOONEST_S))
        wire = self._line.wire
        if wire is not None:
            if wire.has_input:
                return
            poll.register(wire.fileno(), select.POLLIN | (select.POLLOUT if wire.has_unsent else 0))
        wait_s = max(0.0, due_s - time.monotonic())
        poll.poll(int(1000 * wait_s) + 1)

    # ------------------------------------------------------------------------ what it is told

    def _read_control(self, now_s: float) -> None:
        self._control.flush()
        for message in self._control.receive():
            match message:
                case TopologyChanged(topology):
                    if self._home.follow(topology):
                        self._look_at_home()
                case HostState(standing, lost, synced):
                    if self._home.stand_by(standing, lost, synced):
                        self._look_at_home()
                case SettingsChanged(settings):
                    self._place.taken(settings)
                    self._duties.adopt(heartbeat_s=settings.supervisor.heartbeat_s)
                    self._chores.min_free_bytes = settings.store.min_free_bytes
                case Stop() | PeerGone():
                    self._stops = True
                case Outcome():
                    self._hear_outcome(message, now_s)
                case AccordWanted():
                    self._share(message)
                case GroupsChanged() | KeysChanged():
                    pass  # the business of others
                case Promote() | HandOver() | Isolated():
                    pass  # which it has asked for itself
                case _:
                    assert_never(message)

    def _look_at_home(self) -> None:
        self._think_due_s = self._beat_due_s = 0.0
        if self._home.has_workers:
            self._chores.know_logs()

    def _hear_outcome(self, outcome: Outcome, now_s: float) -> None:
        """Take what the supervisor says of a wish; what it could not do it is asked for again.

        So is what others have changed since it was asked.
        """
        is_done = outcome.state == "done"
        again_s = math.inf if is_done else now_s + GROUPS_AGAIN_S
        if outcome.number == _GROUPS:
            is_new = self._found.groups != self._wished.groups
            self._groups_due_s = now_s if is_new else again_s
            return
        is_new = self._found.accord != self._wished.accord
        self._accord_due_s = now_s if is_new else again_s
        self._accord_refused = "" if is_done else outcome.detail[:_MOST_TOLD]
        if is_done:
            self._accord = self._wished.accord.number
        self._beat_due_s = 0.0

    def _share(self, wanted: AccordWanted) -> None:
        """Have the engines take what the files here say, where there is a majority for it."""
        memo = self._control.take_descriptor()
        try:
            content = read_memo(memo)
        finally:
            os.close(memo)
        if self._view.majority.is_seen:
            self._chores.share(wanted.number, Origin(*wanted.before), content)
            return
        refusal = "this host sees no majority of the hosts, without which nothing can be shared"
        self._control.send(AccordSettled(wanted.number, refusal))

    def _take(self, message: Message, now_s: float) -> None:
        _, kind, *words = message.subject.split(".")
        match kind:
            case "beat":
                self._hear(message, now_s)
            case "agent":
                self._answer(message, now_s)
            case "answer":
                self._take_answer(message, words)
            case "kv":
                self._chores.look_soon()
            case "snapshot":
                range_ = int(words[0]) if words[0].isdecimal() else -1
                answer = self._transfers.answer(message.payload, now_s, range_=range_)
                if answer is not None and message.reply:
                    self._line.publish(message.reply, answer, now_s=now_s)

    def _take_answer(self, message: Message, words: list[str]) -> None:
        """Take what a worker of a host has answered that does not beat."""
        number = words[-1] if words else ""
        call = self._calls.call(int(number)) if number.isdecimal() else None
        if call is None or message.status:  # it is too late, or nobody is there
            return
        try:
            vouch = decode_vouch(message.payload)
        except VouchUnreadable as error:
            self._counters["answers_unreadable"] += 1
            log.get_logger().warning("answer.unreadable", host=call.host, reason=str(error))
            return
        if vouch.range_ < self._view.plan.ranges:
            self._view.vouch(call.host, vouch, call.at_s)

    def _call(self, now_s: float) -> None:
        """Ask the workers of hosts that do not beat whether they are there."""
        me, view = self._home.host, self._view
        beatless_s = {host: view.beatless_s(host, now_s) for host in view.plan.hosts if host != me}
        for number, host in self._calls.due(beatless_s, now_s):
            if view.life(host, now_s) is Life.SILENT:
                self._calls.rest(host, now_s)
            subject = calls_of(self._cluster.name, host)
            reply = answers_to(self._cluster.name, me, str(number))
            if self._line.publish(subject, b"", now_s=now_s, reply=reply):
                self._counters["calls"] += 1

    def _store_of(self, range_: int) -> Path | None:
        """Return where the store of a range is, None where there is none here."""
        if not 0 <= range_ < self._plan.ranges:
            return None
        if not self._home.holds(range_, at_least=self._plan.begins_behind(range_)):
            return None
        data = self._place.data_dir
        return read_layout(data).store_directory(data, range_)

    def _hear(self, message: Message, now_s: float) -> None:
        try:
            beat = decode_beat(message.payload)
        except BeatUnreadable as error:
            self._counters["beats_unreadable"] += 1
            log.get_logger().warning("beat.unreadable", subject=message.subject, reason=str(error))
            return
        if not self._view.is_of_us(beat):
            self._view.hear(beat, now_s)
            self._counters["beats_of_others"] += 1
            if beat.host not in self._said_other:
                self._said_other.add(beat.host)
                log.get_logger().error(
                    "host.has_another_file",
                    host=beat.host,
                    its_ranges=beat.ranges,
                    ranges=self._view.plan.ranges,
                    has_our_backup=beat.origin == self._view.plan.origin,
                )
            return
        self._said_other.discard(beat.host)
        before = self._view.beat(beat.host)
        if self._view.hear(beat, now_s) and (
            before is None
            or (before.owned, before.standing.keys(), before.fronts, before.lost)
            != (beat.owned, beat.standing.keys(), beat.fronts, beat.lost)
        ):
            self._think_due_s = 0.0

    def _learn(self, found: Found) -> None:
        if found is self._found:
            return
        if found.placing != self._found.placing:
            self._view.plan = found.placing.over(self._plan)
        if found.groups != self._found.groups:
            self._groups_due_s = 0.0
        if found.accord != self._found.accord:
            self._accord_due_s = 0.0
        self._found = found
        self._think_due_s = 0.0

    def _answer(self, message: Message, now_s: float) -> None:
        """Answer what an operator asks, now or once the engine has it."""
        self._counters["requests"] += 1
        try:
            request = decode_request(message.payload)
        except RequestUnreadable as error:
            answer: Answer = Refused(str(error))
        else:
            if isinstance(request, DrainAsked | MoveAsked):
                self._chores.settle(request, message.reply)
                return
            if isinstance(request, RoomAsked):
                answer = room_of(self._view, self._home.host, now_s)
            elif self._decisions is None:
                answer = Refused("the agent has just started; ask again")
            else:
                answer = status_of(
                    *(self._view, self._decisions, self._home.host, self._cluster.addresses, now_s),
                    has_engines=self._cluster.has_own_engine,
                    fill=self._found.fill,
                    counters=self._counters,
                    accord=self._found.accord,
                )
        if message.reply:
            self._line.publish(message.reply, encode(answer), now_s=now_s)

    # -------------------------------------------------------------------------- what it makes of it

    def _think(self, now_s: float) -> None:
        self._think_due_s = now_s + THINK_S
        me, view = self._home.host, self._view
        self._call(now_s)
        for range_ in view.lost.keys() - self._said_lost:
            self._said_lost.add(range_)
            log.get_logger().error("range.lost_data", range=range_, found_by=view.lost[range_])
        before = self._decisions
        self._decisions = decisions = decide(view, me, now_s)
        if before is None or (decisions.moving, decisions.wants) != (before.moving, before.wants):
            self._beat_due_s = 0.0
        living = view.living(me, now_s)
        self._counters["hosts_lost"] += len(self._living - living)
        self._living = living
        led = view.led(me, now_s)
        if led != self._led and led != living:
            log.get_logger().warning("host.without_agent", hosts=sorted(living - led))
        self._led = led
        self._chores.without_room = room_of(view, me, now_s).lack
        # With a majority: one with another file than all others would make what is none of theirs.
        self._chores.make_logs(
            view.majority.is_seen
            and next(each for each in self._cluster.addresses if each in led) == me
        )
        if not self._found.has_logs:
            self._say_what_is_missing(living, now_s)
            return
        if decisions.step_down is not None:
            self._chores.move_leader(*decisions.step_down)
        is_new = now_s < self._began_s + self._cluster.isolate_s
        told = tell(view, decisions, me, self._told, now_s, is_new=is_new)
        if told is not None and told != self._told:
            self._told = told
            self._control.send(told)

    def _say_what_is_missing(self, living: frozenset[str], now_s: float) -> None:
        if now_s >= self._say_due_s:
            self._say_due_s = now_s + WAITING_EVERY_S
            missing = [each for each in self._cluster.addresses if each not in living]
            log.get_logger().info("agent.waiting", hosts_not_heard=missing)

    def _trim(self, now_s: float) -> None:
        """Have the logs of what is owned here end where every copy has more, and is old enough."""
        self._trim_due_s = now_s + TRIM_EVERY_S
        self._transfers.tick(now_s)
        owned, view = self._home.owned, self._view
        self._trimmings = {range_: self._trimmings.get(range_, Trimming()) for range_ in owned}
        up_to = {}
        for range_, trimming in self._trimmings.items():
            trimming.note(self._found.engine.last.get(range_, 0), now_s)
            synced = view.synced(range_, self._home.host, now_s)
            copied = view.copied(range_, self._home.host, now_s)
            fill = self._found.fill.get(range_, 0.0)
            if number := trimming.up_to(synced, now_s, copied=copied, fill=fill):
                up_to[range_] = number
        if up_to:
            self._chores.trim(up_to)

    def _beat(self, now_s: float) -> None:
        """Tell all others how this host is."""
        self._beat_due_s, self._beat_sent_s = now_s + EVERY_S, now_s
        if not self._home.is_known:
            return  # others would take what is here
        beat = self._home.beat(
            moving=self._decisions.moving if self._decisions else None,
            wants=self._decisions.wants if self._decisions else None,
            plan=self._view.plan.mark,
            ranges=self._view.plan.ranges,
            origin=self._view.plan.origin,
            # Who may soon write nothing is to own nothing, where another one can.
            draining=self._draining or self._found.engine.lacks_room,
            engine=self._found.engine,
            lost=self._view.lost,
            copied=self._transfers.copied(),
            accord=self._accord,
            accord_refused=self._accord_refused,
        )
        self._view.hear(beat, now_s)
        subject = beats_of(self._cluster.name, self._home.host)
        if self._line.publish(subject, encode_beat(beat), now_s=now_s):
            self._counters["beats_sent"] += 1


def main(place: Place) -> None:
    """Run the agent until it is told to stop."""
    Agent(place).run()
