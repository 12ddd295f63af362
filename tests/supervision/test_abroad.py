"""A fleet that is one of several hosts: what its agent tells, and what its processes are told."""

from __future__ import annotations

from typing import Final

import pytest
from msgspec import structs

from relay.bus.topology import WorkerAddress
from relay.process.control import (
    ClusterTold,
    FromSupervisor,
    HandOver,
    Heartbeat,
    HostState,
    Isolated,
    Promote,
    Stop,
)
from relay.process.exitcodes import FENCED, LOG_LOST_DATA
from relay.settings.tables import ClusterSettings
from relay.supervision.abroad import FENCED_AGAIN_S, LACKING_S, UNLED_S
from relay.supervision.actions import Action, Announce, Kill, Spawn
from relay.supervision.condition import Phase
from relay.supervision.events import (
    Beat,
    ChannelClosed,
    Claimed,
    ClusterSeen,
    FoundLoss,
    RollAsked,
    Served,
    StoodBy,
    StopAsked,
)
from relay.supervision.hangs import BOOT_DEADLINE_S

from .fleet_harness import SUPERVISOR, FleetHarness

HOSTS: Final = ("a=10.0.0.1", "b=10.0.0.2", "c=10.0.0.3")
CLUSTER: Final = ClusterSettings(name="n", hosts=HOSTS, host_name="a", ranges=2)
# Range 1, whose owner is on another host.
ABROAD: Final = WorkerAddress(1, 2048, 4095, "", 40, "b", "tcp://10.0.0.2:9100")
BOTH: Final = ClusterTold(workers=(ABROAD,), fronts=("front-b-0-7",), seats=(0, 1))
BOOT: Final = 5 << 24


class HostHarness(FleetHarness):
    """One host, and what its agent tells of the others."""

    def agent_tells(self, told: ClusterTold) -> list[Action]:
        return self.feed(ClusterSeen(self.child("agent"), told))

    def stands_by(self, index: int, applied: int = 9) -> int:
        number = self.child("worker", index)
        self.feed(StoodBy(number, applied))
        return number

    def owns(self, index: int, epoch: int) -> int:
        number = self.child("worker", index)
        self.feed(Served(number, f"ipc://{number}", f"tcp://10.0.0.1:91{index:02}", epoch))
        return number

    def start(self) -> None:
        """Start, up to the agent's first word."""
        self.feed(Claimed(laid_out=True, numbers=BOOT))
        for role in ("agent", "engine", "front"):
            for number in self.children(role):
                self.served(number)

    def said(self, number: int, kind: type[FromSupervisor]) -> list[FromSupervisor]:
        return [message for message in self.told[number] if isinstance(message, kind)]


@pytest.fixture
def host() -> HostHarness:
    harness = HostHarness(workers=2, fronts=1, cluster=CLUSTER)
    harness.start()
    return harness


@pytest.fixture
def serving(host: HostHarness) -> HostHarness:
    """One that owns range 0 and stands by range 1."""
    host.agent_tells(BOTH)
    host.owns(0, 17)
    host.stands_by(1)
    assert Announce() in host.done
    return host


def test_no_worker_starts_before_the_agent_says_which(host: HostHarness) -> None:
    assert sorted(spawn.role for spawn in host.processes.values()) == ["agent", "engine", "front"]
    assert min(host.processes) > BOOT  # no number comes again after a restart

    host.agent_tells(BOTH)

    assert [host.processes[n].index for n in host.children("worker")] == [0, 1]


def test_it_is_ready_when_every_range_has_an_owner_wherever_that_is(host: HostHarness) -> None:
    host.agent_tells(BOTH)
    assert Announce() not in host.done

    host.owns(0, 17)

    assert Announce() in host.done


def test_it_is_not_ready_while_it_is_isolated(host: HostHarness) -> None:
    host.agent_tells(ClusterTold(workers=(ABROAD,), seats=(0,), isolated=True))
    host.owns(0, 17)
    assert Announce() not in host.done

    host.agent_tells(BOTH)

    assert Announce() in host.done


def test_no_start_is_overdue_that_waits_for_other_hosts() -> None:
    host = HostHarness(workers=2, fronts=1, cluster=CLUSTER)
    host.feed(Claimed(laid_out=True, numbers=BOOT))
    for role in ("agent", "engine"):
        host.served(host.child(role))
    host.silent.add(host.child("front"))  # it listens once every range has an owner

    host.advance(3 * BOOT_DEADLINE_S)

    assert host.exit_code is None
    assert not host.fleet.is_stopping
    assert host.logged("front.hung") == []


def test_all_are_told_of_workers_and_fronts_of_all_hosts(serving: HostHarness) -> None:
    front, worker = serving.child("front"), serving.child("worker", 0)

    for number in (front, worker, serving.child("agent")):
        topology = serving.topology(number)
        assert topology.workers == (
            WorkerAddress(0, 0, 2047, f"ipc://{worker}", 17, "a", "tcp://10.0.0.1:9100", worker),
            ABROAD,
        )
        assert topology.fronts == (f"front-a-0-{front}", "front-b-0-7")


@pytest.mark.parametrize(("epoch", "is_here"), [(39, False), (41, True)])
def test_c6_of_two_owners_of_a_range_the_newer_one_is_listed(
    serving: HostHarness, epoch: int, is_here: bool
) -> None:
    serving.owns(1, epoch)

    owner = serving.topology(serving.child("front")).workers[1]
    assert (owner.host, owner.incarnation) == (("a", 41) if is_here else ("b", 40))


def test_what_the_agent_has_told_outlives_it(serving: HostHarness) -> None:
    before = serving.topology(serving.child("front"))

    serving.die(serving.child("agent"))

    assert serving.topology(serving.child("front")) == before


def test_a_standby_is_promoted_once_it_stands_by(host: HostHarness) -> None:
    host.agent_tells(ClusterTold(seats=(0, 1), promote=(0,)))
    worker = host.child("worker", 0)
    assert host.said(worker, Promote) == []

    host.stands_by(0)
    host.agent_tells(ClusterTold(seats=(0, 1), promote=(0,), fronts=("front-b-0-7",)))

    assert host.said(worker, Promote) == [Promote()]
    host.owns(0, 17)
    assert host.said(worker, Promote) == [Promote()]


def test_a_standby_that_found_another_owner_is_promoted_again_if_that_is_still_wanted(
    host: HostHarness,
) -> None:
    host.agent_tells(ClusterTold(seats=(0,), promote=(0,)))
    worker = host.stands_by(0)

    host.stands_by(0, applied=12)

    assert host.said(worker, Promote) == [Promote(), Promote()]


def test_an_owner_hands_its_range_over_and_comes_back_as_a_standby(serving: HostHarness) -> None:
    owner = serving.child("worker", 0)

    for _ in range(2):
        serving.agent_tells(ClusterTold(workers=(ABROAD,), seats=(0, 1), hand_over=((0, "b"),)))

    assert serving.said(owner, HandOver) == [HandOver("b")]
    serving.die(owner, returncode=0)
    assert serving.level("worker.exited") == "info"
    serving.advance(0)
    assert serving.child("worker", 0) != owner


def test_one_that_does_not_get_done_with_handing_over_is_killed(serving: HostHarness) -> None:
    owner = serving.child("worker", 0)
    serving.agent_tells(ClusterTold(workers=(ABROAD,), seats=(0, 1), hand_over=((0, "b"),)))

    serving.advance(SUPERVISOR.stop_deadline_s)

    assert [a.incarnation for a in serving.done if hasattr(a, "incarnation")][-1] == owner


def test_a_seat_comes_and_goes_as_the_agent_says(serving: HostHarness) -> None:
    standby = serving.child("worker", 1)

    serving.agent_tells(ClusterTold(workers=(ABROAD,), seats=(0,)))

    assert [type(each) for each in serving.said(standby, Stop)] == [Stop]
    serving.die(standby, returncode=0)
    serving.advance(5)
    assert [serving.processes[n].index for n in serving.children("worker")] == [0]
    serving.agent_tells(BOTH)
    assert serving.child("worker", 1) != standby


def test_a_fenced_worker_starts_again_soon_however_often(serving: HostHarness) -> None:
    for _ in range(5):
        serving.die(serving.child("worker", 0), returncode=FENCED)
        started = serving.advance(FENCED_AGAIN_S)
        assert [a.role for a in started if isinstance(a, Spawn)] == ["worker"]
    assert serving.level("worker.exited") == "info"


def test_one_whose_log_lost_what_it_had_confirmed_is_not_started_again(
    serving: HostHarness,
) -> None:
    serving.die(serving.child("worker", 0), returncode=LOG_LOST_DATA)

    serving.advance(60)

    assert [serving.processes[n].index for n in serving.children("worker")] == [1]
    assert serving.level("worker.exited") == "error"


def test_the_agent_hears_of_a_loss_before_it_hears_that_the_range_has_no_owner(
    serving: HostHarness,
) -> None:
    agent, owner = serving.child("agent"), serving.child("worker", 0)

    serving.feed(FoundLoss(owner))

    assert serving.said(agent, HostState)[-1] == HostState({1: 9}, (0,))
    serving.die(owner, returncode=LOG_LOST_DATA)
    assert serving.said(agent, HostState)[-1] == HostState({1: 9}, (0,))


def test_the_agent_is_told_who_stands_by_and_how_far(serving: HostHarness) -> None:
    agent = serving.child("agent")
    assert serving.said(agent, HostState)[-1] == HostState({1: 9})

    serving.stands_by(1, applied=12)
    assert serving.said(agent, HostState)[-1] == HostState({1: 12})
    serving.close_channel(serving.child("worker", 1))
    assert serving.said(agent, HostState)[-1] == HostState({})


def test_the_agent_is_told_what_a_power_cut_would_leave_to_owners_and_standbys(
    serving: HostHarness,
) -> None:
    owner, standby = serving.children("worker")

    serving.feed(Beat(owner, Heartbeat(synced=15)), Beat(standby, Heartbeat(synced=7)))

    assert serving.said(serving.child("agent"), HostState)[-1] == HostState(
        {1: 9}, synced={0: 15, 1: 7}
    )
    serving.die(standby)
    assert serving.said(serving.child("agent"), HostState)[-1] == HostState({}, synced={0: 15})


def test_the_next_agent_is_told_too(serving: HostHarness) -> None:
    serving.die(serving.child("agent"))

    serving.advance(5)

    assert serving.said(serving.child("agent"), HostState) == [HostState({1: 9})]


def test_nobody_is_promoted_by_the_word_of_an_agent_that_is_gone(host: HostHarness) -> None:
    host.agent_tells(ClusterTold(seats=(0, 1), promote=(0,)))
    worker = host.stands_by(0)
    assert host.said(worker, Promote) == [Promote()]
    host.owns(0, 17)
    host.die(host.child("agent"))

    host.die(worker, returncode=FENCED)
    host.advance(FENCED_AGAIN_S)
    successor = host.stands_by(0)

    assert host.said(successor, Promote) == []
    host.advance(1)
    host.agent_tells(ClusterTold(seats=(0, 1), promote=(0,)))
    assert host.said(successor, Promote) == [Promote()]


def lose_agents(host: HostHarness, for_s: float) -> None:
    """Have each agent die as soon as it is there."""
    until_s = host.now_s + for_s
    while host.now_s < until_s:
        host.die(*host.children("agent"))
        host.advance(0.5)


def lacks(host: HostHarness, front: int, for_s: int) -> None:
    host.silent.add(front)
    host.feed(Beat(front, Heartbeat(lacking_s=for_s)))


def test_without_an_agent_clients_stay_where_every_range_is_reached(serving: HostHarness) -> None:
    lose_agents(serving, 5 * UNLED_S)

    assert serving.said(serving.child("front"), Isolated) == []
    assert serving.condition().phase is Phase.SERVING


def test_without_an_agent_clients_are_sent_away_where_a_range_is_not_reached(
    serving: HostHarness,
) -> None:
    front = serving.child("front")
    lacks(serving, front, LACKING_S)
    serving.advance(2 * UNLED_S)
    assert serving.said(front, Isolated) == [], "the agent knows better"

    lose_agents(serving, UNLED_S + 2)

    assert serving.said(front, Isolated) == [Isolated(True)]
    assert serving.condition().phase is Phase.ISOLATED
    assert serving.level("supervisor.without_agent") == "error"
    serving.advance(11)
    serving.agent_tells(BOTH)
    assert serving.said(front, Isolated) == [Isolated(True), Isolated(False)]
    assert serving.condition().phase is Phase.SERVING


def test_without_an_agent_clients_are_sent_away_where_a_range_is_nobodys(
    serving: HostHarness,
) -> None:
    front, owner = serving.child("front"), serving.child("worker", 0)
    lose_agents(serving, UNLED_S + 2)
    assert serving.said(front, Isolated) == []

    serving.die(owner)

    assert serving.said(front, Isolated) == [Isolated(True)]


def test_an_agent_that_hangs_is_killed_in_time_and_its_clients_stay(serving: HostHarness) -> None:
    agent, front = serving.child("agent"), serving.child("front")
    serving.silent.add(agent)
    began_s = serving.now_s
    while Kill(agent) not in serving.done:
        assert serving.now_s - began_s < UNLED_S
        serving.advance(0.5)
    serving.die(agent)
    serving.advance(1)
    serving.served(serving.child("agent"))
    serving.agent_tells(BOTH)

    assert serving.said(front, Isolated) == []


def test_fronts_hear_that_the_host_is_isolated_and_when_it_is_not(serving: HostHarness) -> None:
    front = serving.child("front")
    cut_off = ClusterTold(workers=(ABROAD,), seats=(0, 1), isolated=True)

    serving.agent_tells(cut_off)
    serving.agent_tells(cut_off)

    assert serving.said(front, Isolated) == [Isolated(True)]
    assert serving.condition().phase is Phase.ISOLATED
    serving.die(front)
    serving.advance(1)
    assert serving.said(serving.child("front"), Isolated) == [Isolated(True)]
    serving.agent_tells(BOTH)
    assert serving.said(serving.child("front"), Isolated) == [Isolated(True), Isolated(False)]
    assert serving.condition().phase is Phase.SERVING


def test_an_agent_that_cannot_know_leaves_it_as_it_was(serving: HostHarness) -> None:
    front = serving.child("front")
    unknown = structs.replace(BOTH, isolated=None)

    serving.agent_tells(unknown)
    assert serving.said(front, Isolated) == []
    serving.agent_tells(structs.replace(BOTH, isolated=True))
    serving.agent_tells(unknown)

    assert serving.said(front, Isolated) == [Isolated(True)]
    assert serving.condition().phase is Phase.ISOLATED


def test_a_first_agent_that_cannot_know_is_no_reason_to_be_ready(host: HostHarness) -> None:
    host.agent_tells(structs.replace(BOTH, isolated=None))
    host.owns(0, 17)
    assert Announce() not in host.done

    host.agent_tells(BOTH)

    assert Announce() in host.done
    assert host.said(host.child("front"), Isolated) == []


def test_a_newer_supervisor_knows_what_the_agent_has_told(serving: HostHarness) -> None:
    serving.agent_tells(structs.replace(BOTH, isolated=True))
    serving.feed(RollAsked())

    assert serving.topology(serving.child("front")).workers[1] == ABROAD
    assert serving.said(serving.child("front"), Isolated)[-1] == Isolated(True)


def test_a_stop_ends_the_agent_behind_the_workers_and_the_engine_last(serving: HostHarness) -> None:
    serving.feed(StopAsked("SIGTERM"))
    gone = []
    while serving.processes:
        (told, *_) = [n for n in serving.processes if serving.said(n, Stop)]
        gone.append(serving.processes[told].role)
        serving.die(told, returncode=0)

    assert gone == ["front", "worker", "worker", "agent", "engine"]
    assert serving.exit_code == 0


def test_a_rolling_restart_renews_all_and_a_standby_need_not_own_its_range(
    serving: HostHarness,
) -> None:
    before = set(serving.processes)
    serving.feed(RollAsked())
    for _ in range(40):
        told = [n for n in serving.processes if serving.said(n, Stop)]
        for number in told:
            serving.die(number, returncode=0)
        for number, spawn in list(serving.processes.items()):
            if number not in before and spawn.role == "worker":
                serving.feed(StoodBy(number, 9))
            elif number not in before:
                serving.served(number)

    assert serving.logged("supervisor.rolled")
    assert before.isdisjoint(serving.processes)
    assert serving.topology(serving.child("front")).workers == (ABROAD,)


def test_a_worker_that_closed_its_channel_is_told_nothing(serving: HostHarness) -> None:
    owner = serving.child("worker", 0)
    serving.connected.discard(owner)
    serving.feed(ChannelClosed(owner))

    serving.agent_tells(ClusterTold(workers=(ABROAD,), seats=(0, 1), hand_over=((0, "b"),)))

    assert serving.said(owner, HandOver) == []


def test_a_witness_has_no_front_and_is_ready_when_all_ranges_have_owners() -> None:
    hosts = replace_witness(CLUSTER)
    host = HostHarness(workers=2, fronts=1, cluster=hosts)
    host.start()
    assert sorted(s.role for s in host.processes.values()) == ["agent", "engine"]

    other = WorkerAddress(0, 0, 2047, "", 3, "b", "tcp://10.0.0.2:9101")
    host.agent_tells(ClusterTold(workers=(other, ABROAD)))

    assert Announce() in host.done


def replace_witness(cluster: ClusterSettings) -> ClusterSettings:
    return ClusterSettings(
        name=cluster.name, hosts=cluster.hosts, host_name="a", witness="a", ranges=2
    )
