"""Who takes a range, who gives one away, and when nobody does anything."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from relay.cluster.beats import Beat, EngineFacts, Owned
from relay.cluster.moves import (
    FORGIVEN_S,
    MOST_DOUBLINGS,
    PATIENCE_S,
    SETTLED_S,
    VAIN_S,
    Move,
)
from relay.cluster.ownership import AGREED, decide
from relay.cluster.placement import Plan
from relay.cluster.view import CAUGHT_UP_RECORDS, GONE_S, Life, View
from relay.cluster.vouching import Vouch
from tests.cluster.simulated import (
    CLAIM_S,
    DETECT_S,
    ISOLATE_S,
    START_S,
    TICK_S,
    Cluster,
)


@pytest.fixture
def cluster() -> Cluster:
    """Three hosts that serve as the plan wants, and have done so for long."""
    cluster = Cluster()
    cluster.start()
    cluster.until(cluster.is_home, 10)
    cluster.run(SETTLED_S + DETECT_S)
    cluster.promoted.clear()
    return cluster


# ----------------------------------------------------------------------------------------- at first


def test_a_range_that_nobody_ever_owned_is_taken_by_who_prefers_to() -> None:
    cluster = Cluster()
    cluster.start()

    took_s = cluster.until(cluster.is_home, 10)

    assert took_s <= DETECT_S + START_S + CLAIM_S + 1
    assert len(cluster.promoted) == 16
    assert max(Counter(cluster.owned.values()).values()) == 6


def test_two_of_three_serve_all_and_the_third_gets_its_share_one_by_one() -> None:
    cluster = Cluster()
    cluster.start("a", "b")
    cluster.until(cluster.serves, 10)
    assert set(cluster.owned.values()) == {"a", "b"}
    at_first = len(cluster.promoted)

    cluster.start("c")
    cluster.until(cluster.is_home, SETTLED_S + 16 * 10)

    assert len(cluster.promoted) - at_first == 5, "no range moved that need not"
    assert cluster.most_moving == 1


def test_one_of_three_serves_nobody_and_takes_nothing() -> None:
    cluster = Cluster()
    cluster.start("a")
    cluster.run(60)

    assert cluster.promoted == []
    assert cluster.nodes["a"].decided is not None
    assert cluster.nodes["a"].decided.isolated


def test_two_hosts_and_a_witness_bear_the_loss_of_one() -> None:
    cluster = Cluster("ab", witness="w")
    cluster.start()
    cluster.until(cluster.is_home, 10)
    assert set(cluster.owned.values()) == {"a", "b"}

    cluster.kill("b")
    cluster.until(cluster.serves, 5)
    assert set(cluster.owned.values()) == {"a"}


# ------------------------------------------------------------------------ another cluster's file


def test_a_host_with_another_number_of_ranges_owns_nothing_and_serves_nobody() -> None:
    cluster = Cluster()
    cluster.nodes["c"].plan = Plan(cluster.plan.hosts, 4, 1)

    cluster.start()
    cluster.run(60)

    assert set(cluster.owned.values()) == {"a", "b"}
    decided = cluster.nodes["c"].decided
    assert decided is not None
    assert decided.isolated
    assert "c" not in {event.host for event in cluster.promoted}


# ----------------------------------------------------------------------------------- data is lost


def test_a_range_whose_log_has_less_than_was_acked_is_nobodys(cluster: Cluster) -> None:
    range_ = next(each for each, host in cluster.home.items() if host == "b")
    node = cluster.nodes["b"]
    node.lost = {range_: "b"}
    node.ranges.discard(range_)

    cluster.run(3 * PATIENCE_S)
    assert cluster.promoted == []
    node.lost = {}
    cluster.kill("b")
    cluster.start("b")
    cluster.run(3 * PATIENCE_S)

    assert range_ not in {event.range_ for event in cluster.promoted}, "none forgets it"


def test_an_owner_keeps_a_range_whose_log_has_less_than_was_acked(cluster: Cluster) -> None:
    range_ = next(each for each, host in cluster.home.items() if host == "b")
    cluster.nodes["c"].lost = {range_: "c"}
    cluster.nodes["b"].draining = True

    cluster.until(lambda: cluster.nodes["b"].ranges == {range_}, 6 * (AGREED * DETECT_S + 5))
    cluster.run(60)

    assert cluster.owner(range_) == "b", "another one would lack what is not in the log"


# ----------------------------------------------------------------------------------- a host is lost


def test_a_hosts_ranges_are_taken_by_their_standbys_and_no_other_is(cluster: Cluster) -> None:
    standbys = {r: cluster.plan.ranked(r)[1] for r, host in cluster.home.items() if host == "b"}
    cluster.kill("b")

    took_s = cluster.until(cluster.serves, 5)

    assert took_s <= DETECT_S + CLAIM_S + 3 * TICK_S
    assert {event.range_: event.host for event in cluster.promoted} == standbys


def test_it_gets_them_back_when_all_has_been_calm_for_a_while(cluster: Cluster) -> None:
    cluster.kill("b")
    cluster.until(cluster.serves, 5)
    cluster.promoted.clear()
    cluster.start("b")
    cluster.run(SETTLED_S)
    assert cluster.promoted == []

    cluster.until(cluster.is_home, 16 * 10)

    assert len(cluster.promoted) == 6
    assert cluster.most_moving == 1


def test_a_range_whose_process_is_gone_is_taken_at_once(cluster: Cluster) -> None:
    range_ = next(range_ for range_, host in cluster.owned.items() if host == "a")
    cluster.leave(cluster.nodes["a"], range_)

    took_s = cluster.until(cluster.serves, 5)

    assert took_s <= CLAIM_S + 3 * TICK_S
    assert cluster.owner(range_) == cluster.plan.ranked(range_)[1]


def test_where_the_first_in_rank_cannot_the_next_one_tries(cluster: Cluster) -> None:
    cluster = Cluster("abcd", ranges=8)
    cluster.plan = Plan(("a", "b", "c", "d"), 8, 2)
    for node in cluster.nodes.values():
        node.plan = cluster.plan
    cluster.start()
    cluster.until(cluster.is_home, 10)
    range_ = next(range_ for range_, host in cluster.owned.items() if host == "a")
    _, first, second, _ = cluster.plan.ranked(range_)
    cluster.nodes[first].stuck.add(range_)
    cluster.kill("a")

    cluster.run(PATIENCE_S)
    assert cluster.owner(range_) == ""
    cluster.until(cluster.serves, PATIENCE_S)
    assert cluster.owner(range_) == second


@pytest.mark.slow
def test_who_is_away_for_long_is_no_copy_and_a_third_host_becomes_one(cluster: Cluster) -> None:
    cluster.kill("b")
    cluster.run(GONE_S + DETECT_S + 5)

    for range_ in range(16):
        copies = {n.name for n in cluster.nodes.values() if n.is_up and range_ in n.standing}
        assert {cluster.owner(range_), *copies} == {"a", "c"}

    cluster.start("b")
    cluster.until(cluster.is_home, SETTLED_S + 16 * 10)
    cluster.run(10)
    seats = Counter(r for n in cluster.nodes.values() for r in (*n.ranges, *n.standing))
    assert set(seats.values()) == {2}, "what is not needed any more is gone"


# ----------------------------------------------------------------------------- an agent is lost


@pytest.mark.parametrize("away_s", [1.0, 2.0, 5.0, 60.0])
def test_an_agent_that_is_lost_alone_costs_nothing(cluster: Cluster, away_s: float) -> None:
    cluster.kill_agent("b")
    until_s = cluster.now_s + away_s
    while cluster.now_s < until_s:
        cluster.tick()
        for name in "ac":
            decided = cluster.nodes[name].decided
            assert decided is not None
            assert not decided.isolated
            assert cluster.nodes[name].view.life("b", cluster_s(cluster, name)) is Life.LIVING
    cluster.start_agent("b")
    cluster.run(60)

    assert (cluster.promoted, cluster.handed) == ([], [])


def cluster_s(cluster: Cluster, name: str) -> float:
    """Return what the clock of a host says."""
    return cluster.now_s + cluster.nodes[name].clock_s


def test_agents_of_all_hosts_may_be_lost_one_after_the_other(cluster: Cluster) -> None:
    for name in "abcabc":
        cluster.kill_agent(name)
        cluster.run(4)
        cluster.start_agent(name)
        cluster.run(1)
    cluster.run(60)

    assert (cluster.promoted, cluster.handed) == ([], [])


def test_a_host_that_is_lost_without_an_agent_is_taken_over_as_soon_as_any(
    cluster: Cluster,
) -> None:
    cluster.kill_agent("b")
    cluster.run(10)
    cluster.kill("b")

    took_s = cluster.until(cluster.serves, 5)

    assert took_s <= DETECT_S + CLAIM_S + 3 * TICK_S


def test_a_worker_that_dies_where_there_is_no_agent_is_taken_over(cluster: Cluster) -> None:
    range_ = next(each for each, host in cluster.home.items() if host == "b")
    cluster.kill_agent("b")
    cluster.run(10)
    cluster.leave(cluster.nodes["b"], range_)

    took_s = cluster.until(cluster.serves, 5)

    assert took_s <= DETECT_S + CLAIM_S + 3 * TICK_S
    assert [event.range_ for event in cluster.promoted] == [range_]


def test_a_worker_and_the_agent_may_die_together(cluster: Cluster) -> None:
    range_ = next(each for each, host in cluster.home.items() if host == "b")
    cluster.leave(cluster.nodes["b"], range_)
    cluster.kill_agent("b")

    took_s = cluster.until(cluster.serves, 5)

    assert took_s <= 2 * DETECT_S + CLAIM_S + 3 * TICK_S
    assert [event.range_ for event in cluster.promoted] == [range_]


def test_of_a_lost_host_a_majority_with_one_without_an_agent_takes_what_it_can(
    cluster: Cluster,
) -> None:
    cluster.kill_agent("b")
    cluster.run(10)
    cluster.kill("c")
    cluster.run(10)

    by_a = {r for r in range(16) if cluster.plan.ranked(r)[:2] == ("c", "a")}
    assert {event.range_ for event in cluster.promoted} == by_a
    cluster.start_agent("b")
    cluster.until(cluster.serves, 10)
    assert {event.host for event in cluster.promoted} == {"a", "b"}


def test_nothing_moves_to_or_from_a_host_without_an_agent(cluster: Cluster) -> None:
    cluster.kill("b")
    cluster.until(cluster.serves, 5)
    cluster.start("b")
    cluster.run(5)
    cluster.kill_agent("b")
    cluster.run(120)
    assert cluster.handed == []

    cluster.start_agent("b")
    cluster.until(cluster.is_home, 16 * 10)


def test_an_agent_that_starts_while_another_is_away_takes_nothing(cluster: Cluster) -> None:
    for name in "ab":
        cluster.kill_agent(name)
    cluster.run(5)
    cluster.start_agent("a")
    cluster.run(60)
    cluster.start_agent("b")
    cluster.run(60)

    assert (cluster.promoted, cluster.handed) == ([], [])


def test_what_was_answered_long_ago_is_no_sign_of_life() -> None:
    view, _, c = pair_and_me()
    now_s = NOW_S
    for number in range(500, 520):
        view.vouch("b", Vouch(0, 5), NOW_S - DETECT_S)
        promote = decide(view, "a", now_s).promote
        now_s += TICK_S
        view.hear(later(c, number), now_s)

    assert promote == (0,)


def test_an_answer_of_a_standby_does_not_say_that_the_range_is_owned() -> None:
    view, _, c = pair_and_me()
    now_s = NOW_S
    for number in range(500, 520):
        view.vouch("b", Vouch(0, 0), now_s)
        promote = decide(view, "a", now_s).promote
        now_s += TICK_S
        view.hear(later(c, number), now_s)

    assert view.life("b", now_s) is Life.LIVING
    assert promote == (0,)


# ------------------------------------------------------------------------------------- no majority


def test_a_host_that_is_cut_off_sends_its_clients_away_and_takes_nothing(
    cluster: Cluster,
) -> None:
    cluster.cut = frozenset("b")
    node = cluster.nodes["b"]

    took_s = cluster.until(lambda: node.decided is not None and node.decided.isolated, 10)
    assert abs(took_s - (DETECT_S + ISOLATE_S)) <= 2 * TICK_S
    cluster.run(30)

    assert {event.host for event in cluster.promoted} == {"a", "c"}
    assert node.decided is not None
    assert (node.decided.promote, node.decided.hand_over) == ((), None)


def test_when_it_is_healed_it_learns_that_it_is_outdated_and_serves_again(
    cluster: Cluster,
) -> None:
    cluster.cut = frozenset("b")
    cluster.run(10)
    cluster.cut = frozenset()

    cluster.until(lambda: not cluster.nodes["b"].ranges, 2)
    cluster.until(cluster.is_home, SETTLED_S + 16 * 10)
    assert cluster.nodes["b"].decided is not None
    assert not cluster.nodes["b"].decided.isolated


def test_without_any_majority_nobody_takes_anything(cluster: Cluster) -> None:
    cluster.cut = frozenset("abc")
    cluster.run(60)
    assert cluster.promoted == []

    cluster.cut = frozenset()
    cluster.run(60)
    assert cluster.promoted == [], "all serve what they served before"


# ---------------------------------------------------------------------------------------- flapping


def test_beats_that_are_late_change_nothing(cluster: Cluster) -> None:
    chance = random.Random(1)
    cluster.delay_s = lambda: chance.uniform(0, DETECT_S - 2 * TICK_S)
    cluster.run(120)

    assert (cluster.promoted, cluster.handed) == ([], [])
    assert not any(node.decided and node.decided.isolated for node in cluster.nodes.values())


def test_who_goes_deaf_takes_nothing_from_those_who_serve(cluster: Cluster) -> None:
    cluster.nodes["a"].is_deaf = True
    cluster.run(60)
    cluster.nodes["a"].is_deaf = False
    cluster.run(60)

    assert [event for event in cluster.promoted if event.host == "a"] == []


@pytest.mark.parametrize("asleep_s", [1.0, 1.75, 10.0, 100.0])
def test_who_wakes_up_takes_nothing_before_it_has_listened(
    cluster: Cluster, asleep_s: float
) -> None:
    cluster.nodes["a"].is_frozen = True
    cluster.nodes["a"].inbox.clear()
    cluster.run(asleep_s)
    cluster.nodes["a"].is_frozen = False
    cluster.nodes["a"].inbox.clear()
    before = len([event for event in cluster.promoted if event.host == "a"])
    cluster.run(10)

    assert len([event for event in cluster.promoted if event.host == "a"]) == before
    assert cluster.serves()


def test_a_host_that_comes_and_goes_is_given_no_range_again(cluster: Cluster) -> None:
    cluster.kill("b")
    cluster.until(cluster.serves, 5)
    cluster.promoted.clear()
    for _ in range(5):
        cluster.start("b")
        cluster.run(SETTLED_S - 2)
        cluster.kill("b")
        cluster.run(5)

    assert (cluster.promoted, cluster.handed) == ([], [])


def test_a_host_whose_disk_is_full_now_and_then_is_given_ranges_a_few_times_only() -> None:
    cluster = Cluster(ranges=6)
    cluster.start()
    cluster.until(cluster.is_home, 10)
    cluster.run(2 * SETTLED_S)
    node = cluster.nodes["b"]
    for _ in range(20):
        node.draining = True
        cluster.run(15)
        node.draining = False
        cluster.run(15)
    assert len(cluster.handed) <= 2, "it never had room for long"

    cluster.until(cluster.is_home, SETTLED_S * 2**MOST_DOUBLINGS + 6 * 5)


@pytest.mark.slow
@pytest.mark.parametrize("up_s", [30, 60, 100])
def test_a_host_that_comes_and_goes_on_and_on_is_given_ranges_a_few_times_only(
    up_s: int,
) -> None:
    cluster = Cluster(ranges=6)
    cluster.start()
    cluster.until(cluster.is_home, 10)
    cluster.kill("b")
    cluster.run(5)
    until_s = cluster.now_s + 1200
    while cluster.now_s < until_s:
        cluster.start("b")
        cluster.run(up_s)
        cluster.kill("b")
        cluster.run(5)
    assert len(cluster.handed) <= (MOST_DOUBLINGS + 1) * 2

    cluster.start("b")
    most_s = SETTLED_S * 2**MOST_DOUBLINGS + 6 * 5
    cluster.until(cluster.is_home, most_s)


def test_a_host_that_comes_and_goes_keeps_no_range_of_another_from_home(
    cluster: Cluster,
) -> None:
    cluster = Cluster("abcd")
    cluster.start()
    cluster.until(cluster.is_home, 10)
    cluster.kill("b")
    cluster.until(cluster.serves, 5)
    cluster.start("b")

    def is_home() -> bool:
        return all(cluster.owner(r) == "b" for r, host in cluster.home.items() if host == "b")

    for _ in range(6):
        cluster.kill("d")
        cluster.run(9)
        cluster.start("d")
        cluster.run(9)

    assert is_home()


@pytest.mark.slow
def test_after_a_while_a_loss_is_forgiven() -> None:
    cluster = Cluster(ranges=6)
    cluster.start()
    cluster.until(cluster.is_home, 10)
    for _ in range(3):
        cluster.kill("b")
        cluster.run(5)
        cluster.start("b")
        cluster.run(5)
    cluster.run(SETTLED_S)
    assert cluster.handed == []
    cluster.run(3 * FORGIVEN_S)
    assert cluster.is_home()
    cluster.kill("b")
    cluster.until(cluster.serves, 5)

    cluster.start("b")

    cluster.until(cluster.is_home, SETTLED_S + 6 * 5)


# ---------------------------------------------------------------------------------------- moving


def test_all_that_gathered_on_one_host_is_home_in_about_a_minute_with_one_short_pause_each(
    cluster: Cluster,
) -> None:
    cluster.kill("a")
    cluster.until(cluster.serves, 5)
    cluster.start("a")
    cluster.run(5)
    cluster.kill("b")
    cluster.until(cluster.serves, 5)
    cluster.start("b")
    assert Counter(cluster.owned.values())["c"] > 8
    moved = sum(cluster.owner(range_) != host for range_, host in cluster.home.items())

    paused: Counter[int] = Counter()
    began_s = cluster.now_s
    while not cluster.is_home():
        assert cluster.now_s - began_s < SETTLED_S + 60
        cluster.tick()
        vacant = [range_ for range_, host in cluster.owned.items() if not host]
        assert len(vacant) <= 1
        paused.update(vacant)

    assert len(cluster.handed) == moved, "none moved twice"
    assert all(ticks * TICK_S <= CLAIM_S + TICK_S for ticks in paused.values())
    assert cluster.most_moving == 1


def test_a_move_that_comes_to_nothing_keeps_no_other_range_from_home(cluster: Cluster) -> None:
    away = [range_ for range_, host in cluster.home.items() if host == "b"]
    cluster.kill("b")
    cluster.until(cluster.serves, 5)
    cluster.start("b")
    cluster.nodes["b"].stuck.add(away[0])

    cluster.run(SETTLED_S + PATIENCE_S + 2 * SETTLED_S + VAIN_S / 2 + 5 * len(away))

    assert [cluster.owner(range_) for range_ in away[1:]] == ["b"] * (len(away) - 1)
    assert cluster.owner(away[0]) not in ("", "b")
    tries = [event for event in cluster.handed if event.range_ == away[0]]
    assert len(tries) <= 2


def test_a_range_that_nobody_may_take_keeps_no_other_from_moving(cluster: Cluster) -> None:
    range_ = next(each for each, host in cluster.home.items() if host == "b")
    node = cluster.nodes["b"]
    node.lost = {range_: "b"}
    node.ranges.discard(range_)
    node.draining = True
    assert cluster.owner(range_) == ""

    cluster.until(lambda: not node.ranges, 6 * (AGREED * DETECT_S + 5))

    assert cluster.owner(range_) == ""


def test_a_host_that_leaves_gives_its_ranges_away_one_by_one(cluster: Cluster) -> None:
    cluster.nodes["b"].draining = True

    cluster.until(lambda: "b" not in cluster.owned.values(), 6 * (AGREED * DETECT_S + 5))
    cluster.until(cluster.serves, 5)

    assert len(cluster.handed) == 6
    assert cluster.most_moving == 1
    assert "b" not in {event.host for event in cluster.promoted}


def test_a_host_that_is_drained_keeps_its_copies_until_others_have_them(cluster: Cluster) -> None:
    away = Plan(cluster.plan.hosts, 16, 1, away=frozenset("b"))
    cluster.plan = away
    for node in cluster.nodes.values():
        node.view.plan = away

    def copies(range_: int) -> int:
        return sum(range_ in (*n.ranges, *n.standing) for n in cluster.nodes.values())

    for _ in range(400):
        cluster.tick()
        assert all(copies(range_) >= 1 for range_ in range(16))
    node = cluster.nodes["b"]
    assert (node.ranges, node.standing) == (set(), {})
    assert cluster.is_home()


def test_a_range_that_is_pinned_moves_there_and_stays(cluster: Cluster) -> None:
    range_ = next(range_ for range_, host in cluster.owned.items() if host == "a")
    to = cluster.plan.ranked(range_)[1]
    pinned = Plan(cluster.plan.hosts, 16, 1, pins={range_: to})
    for node in cluster.nodes.values():
        node.view.plan = pinned
    cluster.until(lambda: cluster.owner(range_) == to, SETTLED_S + 20)
    cluster.run(60)

    assert cluster.owner(range_) == to
    assert len(cluster.promoted) == 1


def test_hosts_that_go_by_different_plans_move_nothing(cluster: Cluster) -> None:
    cluster.nodes["b"].view.plan = Plan(("a", "b", "c"), 16, 1, pins={0: "b", 1: "b", 2: "b"})
    cluster.nodes["b"].draining = True
    cluster.run(120)

    assert cluster.handed == []


def test_nothing_moves_while_a_range_is_vacant(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.stuck.add(0)
    owner = cluster.owner(0)
    cluster.leave(cluster.nodes[owner], 0)
    next(node for node in cluster.nodes.values() if node.name != owner).draining = True
    cluster.run(120)

    assert cluster.handed == []


# ----------------------------------------------------------------------------- one view by itself


def view_of(*beats: Beat, plan: Plan | None = None, for_s: float = 30.0) -> View:
    """Return a view of hosts a, b, c that has heard these beats for long."""
    plan = plan or Plan(("a", "b", "c"), 1, 1)
    view = View(plan, plan.hosts, detect_s=DETECT_S, isolate_s=ISOLATE_S, now_s=0.0)
    for number in range(1, int(for_s / TICK_S) + 1):
        for beat in beats:
            told = {name: getattr(beat, name) for name in beat.__struct_fields__}
            told |= {"number": number, "plan": plan.mark}
            view.hear(Beat(**told), number * TICK_S)
        view.look("a", number * TICK_S)
    return view


NOW_S = 121 * TICK_S
OWNED = {0: Owned(5, "tcp://")}


def test_a_standby_that_lacks_much_is_taken_only_where_there_is_no_other() -> None:
    plan = Plan(("a", "b", "c"), 1, 2)
    far, near = 100, 100 + CAUGHT_UP_RECORDS + 1
    a = Beat(host="a", boot=1, number=1, standing={0: far})
    b = Beat(host="b", boot=1, number=1, standing={0: near})
    c = Beat(host="c", boot=1, number=1)

    def taken_by(me: str, *beats: Beat) -> bool:
        view = view_of(*beats, plan=plan, for_s=PATIENCE_S / 2)
        return decide(view, me, PATIENCE_S / 2).promote == (0,)

    assert not taken_by("a", a, b, c)
    assert taken_by("b", a, b, c)
    assert taken_by("a", a, c)


def test_a_range_is_not_given_to_who_lacks_much_of_its_log() -> None:
    last = EngineFacts(last={0: 10_000})
    a = Beat(host="a", boot=1, number=1, owned=OWNED, draining=True, engine=last, wants=(False, 0))
    b = Beat(host="b", boot=1, number=1, standing={0: 10_000 - CAUGHT_UP_RECORDS - 1})
    c = Beat(host="c", boot=1, number=1)
    assert decide(view_of(a, b, c), "a", NOW_S).hand_over is None

    b = Beat(host="b", boot=1, number=1, standing={0: 10_000 - CAUGHT_UP_RECORDS})
    decided = decide(view_of(a, b, c), "a", NOW_S)
    assert (decided.hand_over, decided.moving) == ((0, "b"), 0)


def test_while_another_host_moves_a_range_none_is_moved_here() -> None:
    a = Beat(host="a", boot=1, number=1, owned=OWNED, draining=True, wants=(False, 0))
    b = Beat(host="b", boot=1, number=1, standing={0: 5})
    c = Beat(host="c", boot=1, number=1, moving=3)

    assert decide(view_of(a, b, c), "a", NOW_S).hand_over is None
    c = Beat(host="c", boot=1, number=1)
    assert decide(view_of(a, b, c), "a", NOW_S).hand_over == (0, "b")


def test_whoever_would_give_away_what_comes_first_has_its_turn() -> None:
    a = Beat(host="a", boot=1, number=1, owned=OWNED, draining=True, wants=(False, 0))
    b = Beat(host="b", boot=1, number=1, standing={0: 5})

    def begins(wants: tuple[bool, int] | None) -> bool:
        c = Beat(host="c", boot=1, number=1, wants=wants)
        return decide(view_of(a, b, c), "a", NOW_S).hand_over is not None

    assert begins(None)
    assert begins((True, 0)), "which can wait"
    assert begins((False, 1))
    plan = Plan(("a", "b", "c"), 2, 1)
    a = msgspec.structs.replace(a, owned={1: OWNED[0]}, wants=(False, 1))
    b = Beat(host="b", boot=1, number=1, standing={1: 5})
    c = Beat(host="c", boot=1, number=1, owned={0: OWNED[0]}, wants=(False, 0))
    decided = decide(view_of(a, b, c, plan=plan), "a", NOW_S)
    assert (decided.hand_over, decided.wants) == (None, (False, 1))


def test_nobody_gives_away_what_it_has_not_said_that_it_would() -> None:
    a = Beat(host="a", boot=1, number=1, owned=OWNED, draining=True)
    b = Beat(host="b", boot=1, number=1, standing={0: 5})

    decided = decide(view_of(a, b), "a", NOW_S)

    assert (decided.hand_over, decided.wants) == (None, (False, 0))


def test_a_move_that_does_not_come_about_is_given_up() -> None:
    a = Beat(host="a", boot=1, number=1, owned=OWNED, draining=True, wants=(False, 0))
    b = Beat(host="b", boot=1, number=1, standing={0: 5})
    c = Beat(host="c", boot=1, number=1)
    view = view_of(a, b, c)
    assert decide(view, "a", NOW_S).moving == 0

    now_s = NOW_S
    while now_s < NOW_S + PATIENCE_S - 2 * TICK_S:
        now_s += TICK_S
        assert decide(view, "a", now_s).moving == 0
    assert decide(view, "a", NOW_S + PATIENCE_S).moving is None


def test_of_two_owners_the_newer_epoch_is_and_the_other_is_told(cluster: Cluster) -> None:
    old = Beat(host="a", boot=1, number=1, owned={0: Owned(5, "")})
    new = Beat(host="b", boot=1, number=1, owned={0: Owned(9, "")})
    c = Beat(host="c", boot=1, number=1)
    for beats in ((old, new, c), (new, old, c)):
        view = view_of(*beats)
        assert view.owner(0) == (9, "b")
        assert decide(view, "a", NOW_S).outdated == (0,)
        assert decide(view, "b", NOW_S).outdated == ()
        assert not view.serves("a", 0)


def test_an_epoch_that_was_told_once_holds_though_its_owner_is_gone_and_an_older_lives() -> None:
    old = Beat(host="a", boot=1, number=1, owned={0: Owned(5, "")})
    c = Beat(host="c", boot=1, number=1, standing={0: 9})
    view = View(
        Plan(("a", "b", "c"), 1, 1), "abc", detect_s=DETECT_S, isolate_s=ISOLATE_S, now_s=0.0
    )
    view.hear(Beat(host="b", boot=1, number=1, owned={0: Owned(9, "")}), 0.0)
    now_s = 0.0
    for number in range(1, 20):
        now_s += TICK_S
        for beat in (old, c):
            told = {name: getattr(beat, name) for name in beat.__struct_fields__}
            view.hear(Beat(**(told | {"number": number})), now_s)
        view.look("c", now_s)

    assert decide(view, "c", now_s).promote == (0,)
    assert decide(view, "a", now_s).outdated == (0,)


def test_a_beat_that_is_late_or_comes_again_is_no_sign_of_life() -> None:
    view = View(Plan(("a", "b"), 1, 1), "ab", detect_s=DETECT_S, isolate_s=ISOLATE_S, now_s=0.0)
    assert view.hear(Beat(host="b", boot=2, number=5), 0.0)

    for order in ((2, 5), (2, 4), (1, 99)):
        assert not view.hear(Beat(host="b", boot=order[0], number=order[1]), 1.0)
    assert view.silent_s("b", 2.0) == 2.0
    assert view.hear(Beat(host="b", boot=3, number=1), 2.0)


def later(beat: Beat, number: int) -> Beat:
    told = {name: getattr(beat, name) for name in beat.__struct_fields__}
    return Beat(**(told | {"number": number}))


def pair_and_me() -> tuple[View, Beat, Beat]:
    """Return what a has heard of b and c for long, which own a range each, and their beats."""
    plan = Plan(("a", "b", "c"), 2, 2)
    a = Beat(host="a", boot=1, number=1, standing={0: 5, 1: 5})
    b = Beat(host="b", boot=1, number=1, owned={0: Owned(5, "")}, plan=plan.mark)
    c = Beat(host="c", boot=1, number=1, owned={1: Owned(5, "")}, plan=plan.mark)
    return view_of(a, b, c, plan=plan), b, c


def test_who_goes_deaf_takes_nothing_though_one_host_was_heard_a_little_longer() -> None:
    view, _, c = pair_and_me()
    view.hear(later(c, 500), NOW_S)

    now_s = NOW_S
    while now_s < NOW_S + 20:
        assert decide(view, "a", now_s).promote == ()
        now_s += TICK_S


def test_a_host_that_is_silent_is_replaced_while_the_other_is_heard() -> None:
    view, _, c = pair_and_me()
    now_s = NOW_S - TICK_S
    for number in range(500, 510):
        is_lost = now_s - (NOW_S - TICK_S) >= DETECT_S
        assert decide(view, "a", now_s).promote == ((0,) if is_lost else ())
        now_s += TICK_S
        view.hear(later(c, number), now_s)


def test_who_wakes_up_and_hears_one_host_before_the_other_takes_nothing() -> None:
    view, b, c = pair_and_me()
    assert not decide(view, "a", NOW_S).isolated
    now_s = NOW_S + 1000
    assert not decide(view, "a", now_s).isolated
    assert view.life("b", now_s) is Life.UNHEARD
    for number in range(500, 520):
        if number > 502:
            view.hear(later(b, number), now_s)
        view.hear(later(c, number), now_s)
        assert decide(view, "a", now_s).promote == ()
        now_s += TICK_S


def test_who_has_just_started_and_hears_one_host_before_the_other_takes_nothing() -> None:
    _, b, c = pair_and_me()
    plan = Plan(("a", "b", "c"), 2, 2)
    view = View(plan, plan.hosts, detect_s=DETECT_S, isolate_s=ISOLATE_S, now_s=0.0)
    a = Beat(host="a", boot=2, number=1, standing={0: 5, 1: 5})
    for number in range(1, 40):
        now_s = number * TICK_S
        view.hear(later(a, number), now_s)
        view.hear(later(c, number), now_s)
        if now_s >= DETECT_S:
            view.hear(later(b, number), now_s)
        assert decide(view, "a", now_s).promote == ()


def test_a_host_that_counts_anew_is_heard_when_it_was_silent_for_long() -> None:
    """It has another data directory."""
    view = View(Plan(("a", "b"), 1, 1), "ab", detect_s=DETECT_S, isolate_s=ISOLATE_S, now_s=0.0)
    view.hear(Beat(host="b", boot=7, number=5), 0.0)

    assert not view.hear(Beat(host="b", boot=1, number=1), PATIENCE_S - 1)
    assert view.hear(Beat(host="b", boot=1, number=1), PATIENCE_S)
    assert not view.hear(Beat(host="b", boot=1, number=1), PATIENCE_S + 1)
    assert view.hear(Beat(host="b", boot=1, number=2), PATIENCE_S + 1)


def test_an_agent_that_starts_again_takes_nothing_and_is_soon_in_the_picture(
    cluster: Cluster,
) -> None:
    node = cluster.nodes["a"]
    node.view = View(
        node.plan,
        node.voters,
        detect_s=DETECT_S,
        isolate_s=ISOLATE_S,
        now_s=cluster.now_s + node.clock_s,
    )

    took_s = cluster.until(lambda: node.decided is not None and not node.decided.isolated, 5)
    cluster.run(60)

    assert took_s <= DETECT_S + 2 * TICK_S
    assert (cluster.promoted, cluster.handed) == ([], [])


def test_a_stream_is_not_led_where_its_owner_is() -> None:
    led = EngineFacts(leads=(0,), current=(0,))
    a = Beat(host="a", boot=1, number=1, owned=OWNED, engine=led)
    b = Beat(host="b", boot=1, number=1, standing={0: 5}, engine=EngineFacts(current=()))
    c = Beat(host="c", boot=1, number=1, engine=EngineFacts(leads=(1, 2), current=(0,)))

    assert decide(view_of(a, b, c), "a", NOW_S).step_down == (0, "c")
    b = Beat(host="b", boot=1, number=1, standing={0: 5}, engine=EngineFacts(current=(0,)))
    assert decide(view_of(a, b, c), "a", NOW_S).step_down == (0, "b"), "it leads less"
    assert decide(view_of(a, b), "a", NOW_S).step_down == (0, "b")
    away = Beat(host="a", boot=1, number=1, engine=led)
    assert decide(view_of(away, b, c), "a", NOW_S).step_down is None


def test_who_leads_more_logs_than_others_gives_some_to_who_leads_least() -> None:
    """Its loss would stop the acks of all those for an election."""
    plan = Plan(("a", "b", "c"), 4, 1)
    all_of_them = (0, 1, 2, 3)
    a = Beat(host="a", boot=1, number=1, engine=EngineFacts(leads=(0, 1, 2)))
    b = Beat(host="b", boot=1, number=1, engine=EngineFacts(leads=(3,), current=all_of_them))
    c = Beat(host="c", boot=1, number=1, engine=EngineFacts(current=all_of_them))

    def moved(a: Beat, b: Beat, c: Beat) -> tuple[int, str] | None:
        return decide(view_of(a, b, c, plan=plan), "a", NOW_S).step_down

    def owns(beat: Beat, *ranges: int) -> Beat:
        owned = dict.fromkeys(ranges, OWNED[0])
        return msgspec.structs.replace(beat, owned=owned)

    assert moved(a, owns(b, 0, 1, 2, 3), c) == (0, "c")
    assert moved(a, owns(b, 3), owns(c, 0, 1, 2)) == (0, "b"), "not on the owner's host"
    assert moved(a, owns(b, 1, 2, 3), owns(c, 0)) == (0, "b"), "first what comes first"
    a = msgspec.structs.replace(a, engine=EngineFacts(leads=(0, 1)))
    assert moved(a, owns(b, 3), owns(c, 0, 1, 2)) is None, "one more is no more than fair"


def test_no_stream_gets_another_leader_while_a_range_is_handed_over() -> None:
    led = EngineFacts(leads=(0,), current=(0,))
    a = Beat(host="a", boot=1, number=1, owned=OWNED, engine=led)
    b = Beat(host="b", boot=1, number=1, standing={0: 5}, engine=EngineFacts(current=(0,)))
    view = view_of(a, b)
    view.giving.begin(Move(False, 0, "b"), view.epoch(0), NOW_S)

    assert decide(view, "a", NOW_S).step_down is None


def test_what_a_log_may_lose_follows_from_the_standbys_that_are_to_be() -> None:
    plan = Plan(("a", "b", "c"), 1, 2)
    a = Beat(host="a", boot=1, number=1, owned=OWNED, synced={0: 60})
    b = Beat(host="b", boot=1, number=1, standing={0: 99}, synced={0: 70})
    c = Beat(host="c", boot=1, number=1, standing={0: 99}, synced={0: 80}, copied={0: 40})
    fresh = Beat(host="c", boot=1, number=1, standing={0: 99})

    assert view_of(a, b, c, plan=plan).synced(0, "a", NOW_S) == [60, 70, 80]
    assert view_of(a, b, plan=plan).synced(0, "a", NOW_S) == [60, 70, None]
    assert view_of(a, b, fresh, plan=plan).synced(0, "a", NOW_S) == [60, 70, None]
    assert view_of(a, b, c, plan=plan).copied(0, "a", NOW_S) == 40
    assert view_of(a, b, fresh, plan=plan).copied(0, "a", NOW_S) is None


def test_an_owner_that_is_to_give_its_range_away_counts_until_then() -> None:
    plan = Plan(("a", "b", "c"), 1, 1, away=frozenset("a"))
    a = Beat(host="a", boot=1, number=1, owned=OWNED, synced={0: 5})
    b = Beat(host="b", boot=1, number=1, standing={0: 99}, synced={0: 70})

    assert view_of(a, b, plan=plan).synced(0, "a", NOW_S) == [5, 70, None]


# ---------------------------------------------------------------------------------- anything at all


class Trouble(RuleBasedStateMachine):
    """Hosts die, are cut off, freeze, go deaf; at the end all is as the plan wants."""

    cluster: Cluster

    @initialize(count=st.integers(3, 5), ranges=st.integers(1, 8), seed=st.integers(0, 999))
    def begin(self, count: int, ranges: int, seed: int) -> None:
        chance = random.Random(seed)
        self.cluster = Cluster("abcde"[:count], ranges=ranges)
        self.cluster.delay_s = lambda: chance.uniform(0, DETECT_S / 2)
        self.cluster.start()
        self.checked = 0
        self.lost_majority: dict[str, float] = {}

    def pick(self, index: int) -> str:
        names: tuple[str, ...] = self.cluster.voters
        return names[index % len(names)]

    @rule(ticks=st.integers(1, 100))
    def time_passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.cluster.tick()
            self.check()

    def check(self) -> None:
        cluster = self.cluster
        for name, node in cluster.nodes.items():
            if cluster.has_majority(name):
                self.lost_majority.pop(name, None)
            else:
                self.lost_majority.setdefault(name, cluster.now_s)
            since_s = self.lost_majority.get(name, cluster.now_s)
            runs = node.is_up and not node.is_frozen and node.has_agent
            if runs and cluster.now_s - since_s > 2 * DETECT_S + 1:
                assert node.decided is not None
                assert (node.decided.promote, node.decided.hand_over) == ((), None)

    @rule(index=st.integers(0, 4))
    def kill(self, index: int) -> None:
        self.cluster.kill(self.pick(index))

    @rule(index=st.integers(0, 4))
    def start(self, index: int) -> None:
        if not self.cluster.nodes[self.pick(index)].is_up:
            self.cluster.start(self.pick(index))

    @rule(which=st.sets(st.integers(0, 4)))
    def cut(self, which: set[int]) -> None:
        self.cluster.cut = frozenset(map(self.pick, which))

    @rule(index=st.integers(0, 4), is_frozen=st.booleans())
    def freeze(self, index: int, is_frozen: bool) -> None:
        self.cluster.nodes[self.pick(index)].is_frozen = is_frozen

    @rule(index=st.integers(0, 4), is_deaf=st.booleans())
    def deafen(self, index: int, is_deaf: bool) -> None:
        self.cluster.nodes[self.pick(index)].is_deaf = is_deaf

    @rule(index=st.integers(0, 4), has_agent=st.booleans())
    def lose_agent(self, index: int, has_agent: bool) -> None:
        node = self.cluster.nodes[self.pick(index)]
        if node.is_up and has_agent != node.has_agent:
            if has_agent:
                self.cluster.start_agent(node.name)
            else:
                self.cluster.kill_agent(node.name)

    @rule(index=st.integers(0, 4), draining=st.booleans())
    def drain(self, index: int, draining: bool) -> None:
        self.cluster.nodes[self.pick(index)].draining = draining

    @precondition(lambda self: hasattr(self, "cluster"))
    @invariant()
    def owners_are_newest(self) -> None:
        for node in self.cluster.nodes.values():
            if node.is_up:
                for range_ in range(self.cluster.plan.ranges):
                    assert node.view.epoch(range_) <= self.cluster.owners.get(range_, (0, ""))[0]

    def teardown(self) -> None:
        if not hasattr(self, "cluster"):
            return
        cluster = self.cluster
        cluster.cut = frozenset()
        for name, node in cluster.nodes.items():
            node.is_frozen = node.is_deaf = node.draining = False
            if not node.is_up:
                cluster.start(name)
            elif not node.has_agent:
                cluster.start_agent(name)
        cluster.run(10)
        cluster.most_moving = 0
        settled_s = SETTLED_S * 2**MOST_DOUBLINGS
        cluster.until(cluster.is_home, PATIENCE_S + settled_s + 10 * cluster.plan.ranges)
        promoted = len(cluster.promoted)
        cluster.run(60)
        assert cluster.is_home()
        assert len(cluster.promoted) == promoted
        assert cluster.most_moving <= 1


TestTrouble = pytest.mark.ordeal(pytest.mark.slow(Trouble.TestCase))
TestTrouble.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_a_standby_that_waits_for_a_backup_has_no_copy_and_who_has_one_keeps_it() -> None:
    plan = Plan(("a", "b", "c"), 1, 1, begins=(500,))
    a = Beat(host="a", boot=1, number=1, standing={0: 0}, origin=plan.origin)
    b = Beat(host="b", boot=1, number=1, standing={0: 0}, origin=plan.origin)
    c = Beat(host="c", boot=1, number=1, standing={0: 500}, origin=plan.origin)
    view = view_of(a, b, c, plan=plan, for_s=PATIENCE_S / 2)

    assert [view.has_copy(host, 0) for host in "abc"] == [False, False, True]
    assert view.candidates(0, frozenset("abc"))[0] == "c"
    assert 0 in decide(view, "c", PATIENCE_S / 2).seats


def test_hosts_whose_logs_begin_elsewhere_are_none_of_ours() -> None:
    plan = Plan(("a", "b", "c"), 1, 1, begins=(500,))
    a = Beat(host="a", boot=1, number=1, origin=plan.origin)
    empty = Beat(host="b", boot=1, number=1)
    other = Beat(host="c", boot=1, number=1, origin=Plan(("a",), 1, 1, begins=(501,)).origin)

    view = view_of(a, empty, other, plan=plan)

    assert view.living("a", NOW_S) == {"a"}
    assert not view.majority.is_seen
    assert Plan(("a", "b"), 1, 1).origin == 0
