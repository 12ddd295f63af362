"""Hosts that decide by each other's beats, without a process: a clock, a network, and the logs.

Each host has a clock of its own, which tells another time than all others. A log takes an epoch
record from whoever reaches a majority of the voters, and knows its newest owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from relay.cluster.beats import Beat, EngineFacts, Owned, decode_beat, encode_beat
from relay.cluster.ownership import Decisions, decide
from relay.cluster.placement import Plan
from relay.cluster.view import View
from relay.cluster.vouching import Calls, Vouch

DETECT_S = 1.5
ISOLATE_S = 3.0
TICK_S = 0.25
CLAIM_S = 0.5  # from the order to own a range until that is so
START_S = 1.0  # from the seat of a range until its standby has caught up


class Event(NamedTuple):
    """Something that a host has done."""

    at_s: float
    host: str
    range_: int


class Node:
    """One host: what it is told, and what it has."""

    def __init__(self, name: str, plan: Plan, voters: tuple[str, ...], clock_s: float) -> None:
        self.name = name
        self.plan = plan
        self.voters = voters
        self.clock_s = clock_s  # what its clock says more than the true time
        self.boot = 0
        self.is_up = self.is_frozen = False
        self.draining = self.is_deaf = False
        self.has_agent = True
        self.engine = EngineFacts()
        self.ranges: set[int] = set()  # that it serves, as far as it knows
        self.epochs: dict[int, int] = {}
        self.standing: dict[int, int] = {}
        self.starting: dict[int, float] = {}  # seats, and when their standby is there
        self.claiming: dict[int, float] = {}
        self.lost: dict[int, str] = {}  # ranges whose log has less than was acked
        self.stuck: set[int] = set()  # ranges that it cannot claim
        self.inbox: list[tuple[float, bytes]] = []
        self.decided: Decisions | None = None
        self.view: View

    def start(self, now_s: float) -> None:
        self.boot += 1
        self.number = 0
        self.is_up, self.is_frozen = True, False
        self.ranges, self.epochs, self.standing = set(), {}, {}
        self.starting, self.claiming = {}, {}
        self.agents = 0
        self.start_agent(now_s)

    def start_agent(self, now_s: float) -> None:
        """Have an agent that knows nothing yet."""
        self.agents += 1
        self.has_agent = True
        self.decided = None
        self.inbox = []
        self.calls = Calls(self.agents, detect_s=DETECT_S)
        self.view = View(
            self.plan,
            self.voters,
            detect_s=DETECT_S,
            isolate_s=ISOLATE_S,
            now_s=now_s + self.clock_s,
        )

    def beat(self) -> Beat:
        self.number += 1
        return Beat(
            host=self.name,
            boot=self.boot,
            number=self.number,
            owned={range_: Owned(self.epochs[range_], "tcp://") for range_ in self.ranges},
            standing=dict(self.standing),
            lost=self.lost | self.view.lost,
            draining=self.draining,
            moving=self.decided.moving if self.decided else None,
            wants=self.decided.wants if self.decided else None,
            plan=self.view.plan.mark,
            ranges=self.view.plan.ranges,
            engine=self.engine,
        )


class Cluster:
    """All hosts, what is between them, and the logs."""

    def __init__(
        self, hosts: Iterable[str] = "abc", *, witness: str = "", ranges: int = 16
    ) -> None:
        names = tuple(hosts)
        voters = (*names, *((witness,) if witness else ()))
        self.plan = Plan(names, ranges, 1)
        self.now_s = 0.0
        self.nodes = {
            name: Node(name, self.plan, voters, 1000.0 * index * index)
            for index, name in enumerate(voters)
        }
        self.voters = voters
        self.cut: frozenset[str] = frozenset()  # hosts that reach none but themselves
        self.delay_s: Callable[[], float] = lambda: 0.0
        self.owners: dict[int, tuple[int, str]] = {}  # the truth: what the logs say
        self.epoch = 0
        self.promoted: list[Event] = []
        self.handed: list[Event] = []
        self.most_moving = 0

    def start(self, *names: str) -> None:
        for name in names or self.voters:
            self.nodes[name].start(self.now_s)

    def kill(self, name: str) -> None:
        self.nodes[name].is_up = False

    def kill_agent(self, name: str) -> None:
        """Take its agent alone; `start_agent` brings another one."""
        self.nodes[name].has_agent = False

    def start_agent(self, name: str) -> None:
        self.nodes[name].start_agent(self.now_s)

    def reaches(self, one: str, other: str) -> bool:
        return one == other or not {one, other} & self.cut

    def has_majority(self, name: str) -> bool:
        up = [
            each
            for each in self.voters
            if self.nodes[each].is_up
            and not self.nodes[each].is_frozen
            and self.reaches(name, each)
        ]
        return 2 * len(up) > len(self.voters)

    # -------------------------------------------------------------------------------- time passes

    def run(self, for_s: float) -> None:
        until_s = self.now_s + for_s
        while self.now_s < until_s:
            self.tick()

    def until(self, is_so: Callable[[], bool], within_s: float) -> float:
        """Return how long it took."""
        began_s = self.now_s
        while not is_so():
            assert self.now_s - began_s < within_s, f"not so after {within_s} s"
            self.tick()
        return self.now_s - began_s

    def tick(self) -> None:
        self.now_s += TICK_S
        nodes = [node for node in self.nodes.values() if node.is_up and not node.is_frozen]
        led = [node for node in nodes if node.has_agent]
        for node in led:
            self.listen(node)
            node.decided = decide(node.view, node.name, self.now_s + node.clock_s)
            self.carry_out(node, node.decided)
        for node in nodes:
            self.work(node)
        for node in led:
            self.send(node)
            self.call(node)
        moving = [node for node in led if node.view.giving.under_way]
        self.most_moving = max(self.most_moving, len(moving))

    def listen(self, node: Node) -> None:
        due = [data for at_s, data in node.inbox if at_s <= self.now_s]
        node.inbox = [each for each in node.inbox if each[0] > self.now_s]
        for data in due:
            node.view.hear(decode_beat(data), self.now_s + node.clock_s)

    def send(self, node: Node) -> None:
        beat = node.beat()
        node.view.hear(beat, self.now_s + node.clock_s)
        data = encode_beat(beat)
        for other in self.nodes.values():
            hears = other.is_up and other.has_agent and not other.is_deaf and other is not node
            if hears and self.reaches(node.name, other.name):
                other.inbox.append((self.now_s + self.delay_s(), data))

    def call(self, node: Node) -> None:
        """Ask the workers of those that do not beat, which answer at once."""
        now_s = self.now_s + node.clock_s
        beatless_s = {
            name: node.view.beatless_s(name, now_s) for name in self.plan.hosts if name != node.name
        }
        for number, host in node.calls.due(beatless_s, now_s):
            other, call = self.nodes[host], node.calls.call(number)
            assert call is not None
            if other.is_up and not other.is_frozen and self.reaches(node.name, host):
                for range_ in (*other.ranges, *other.standing):
                    epoch = other.epochs[range_] if range_ in other.ranges else 0
                    if not node.is_deaf:
                        node.view.vouch(host, Vouch(range_, epoch), call.at_s)

    # ------------------------------------------------------------------------- what hosts carry out

    def carry_out(self, node: Node, decided: Decisions) -> None:
        self.change_seats(node, set(decided.seats))
        for range_ in decided.promote:
            if range_ in node.standing and range_ not in node.claiming:
                node.claiming[range_] = self.now_s + CLAIM_S
        if decided.hand_over is not None:
            range_, to = decided.hand_over
            if range_ in node.ranges:
                self.handed.append(Event(self.now_s, node.name, range_))
                self.leave(node, range_)
                if range_ in self.nodes[to].standing:
                    self.nodes[to].claiming[range_] = self.now_s + CLAIM_S
        if self.has_majority(node.name):
            for range_ in decided.outdated:
                self.leave(node, range_)  # it looks at the log, and is fenced

    def work(self, node: Node) -> None:
        """Have the workers do what they do whether there is an agent or not."""
        for range_, at_s in list(node.claiming.items()):
            if self.now_s >= at_s and range_ not in node.stuck and self.has_majority(node.name):
                del node.claiming[range_]
                if range_ in node.standing:
                    self.own(node, range_)
        for range_, at_s in list(node.starting.items()):
            if self.now_s >= at_s and self.has_majority(node.name):
                del node.starting[range_]
                node.standing[range_] = 0
        for range_ in node.standing:
            node.standing[range_] = self.owners.get(range_, (0, ""))[0]
        if not node.has_agent and self.has_majority(node.name):
            for range_ in [each for each in node.ranges if self.owner(each) != node.name]:
                self.leave(node, range_)  # it looks at the log from time to time

    def own(self, node: Node, range_: int) -> None:
        self.epoch += 1
        self.owners[range_] = (self.epoch, node.name)
        del node.standing[range_]
        node.ranges.add(range_)
        node.epochs[range_] = self.epoch
        self.promoted.append(Event(self.now_s, node.name, range_))

    def leave(self, node: Node, range_: int) -> None:
        node.ranges.discard(range_)
        node.starting[range_] = self.now_s + START_S

    def change_seats(self, node: Node, seats: set[int]) -> None:
        for range_ in seats - node.ranges - node.standing.keys() - node.starting.keys():
            node.starting[range_] = self.now_s + START_S
        for range_ in [each for each in node.starting if each not in seats]:
            del node.starting[range_]
        for range_ in [each for each in node.standing if each not in seats]:
            del node.standing[range_]

    # --------------------------------------------------------------------------------- what is seen

    def owner(self, range_: int) -> str:
        """Return who serves a range; empty: nobody does."""
        epoch, host = self.owners.get(range_, (0, ""))
        if not host or not self.nodes[host].is_up:
            return ""
        node = self.nodes[host]
        return host if range_ in node.ranges and node.epochs[range_] == epoch else ""

    @property
    def owned(self) -> dict[int, str]:
        return {range_: self.owner(range_) for range_ in range(self.plan.ranges)}

    @property
    def home(self) -> dict[int, str]:
        """The owners that the plan wants."""
        return {range_: self.plan.ranked(range_)[0] for range_ in range(self.plan.ranges)}

    def serves(self) -> bool:
        """Tell whether every range has an owner that is reached."""
        return all(host and host not in self.cut for host in self.owned.values())

    def is_home(self) -> bool:
        return self.owned == self.home
