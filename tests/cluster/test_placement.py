"""Placement: balanced, the same on all hosts, and little moves when a host comes or goes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cluster.placement import Plan, copies

NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,4}", fullmatch=True), min_size=1, unique=True)
HOSTS = NAMES.filter(lambda names: len(names) <= 6).map(tuple)
RANGES = st.integers(1, 24)


def owners(
    hosts: tuple[str, ...], ranges: int, away: frozenset[str] = frozenset()
) -> dict[int, str]:
    return {
        range_: copies(range_, hosts, 1, ranges=ranges, away=away)[0] for range_ in range(ranges)
    }


def is_balanced(counts: Counter[str], hosts: tuple[str, ...]) -> bool:
    each = [counts[host] for host in hosts]
    return max(each) - min(each) <= 1


@given(HOSTS, RANGES)
def test_owners_are_balanced_within_one(hosts: tuple[str, ...], ranges: int) -> None:
    assert is_balanced(Counter(owners(hosts, ranges).values()), hosts)


@given(HOSTS, RANGES, st.data())
def test_they_are_so_when_hosts_are_away(
    hosts: tuple[str, ...], ranges: int, data: st.DataObject
) -> None:
    away = data.draw(st.sets(st.sampled_from(hosts), max_size=len(hosts) - 1).map(frozenset))
    here = tuple(host for host in hosts if host not in away)

    placed = owners(hosts, ranges, away)

    assert is_balanced(Counter(placed.values()), here)


@given(HOSTS, RANGES, st.integers(1, 4))
def test_each_copy_is_on_another_host(hosts: tuple[str, ...], ranges: int, standbys: int) -> None:
    for range_ in range(ranges):
        placed = copies(range_, hosts, standbys, ranges=ranges)

        assert len(placed) == len(set(placed)) == min(len(hosts), 1 + standbys)


@given(HOSTS, RANGES)
def test_a_host_that_comes_takes_its_share_and_nothing_else_moves(
    hosts: tuple[str, ...], ranges: int
) -> None:
    before, after = owners(hosts, ranges), owners((*hosts, "new-one"), ranges)

    moved = {range_: after[range_] for range_ in before if before[range_] != after[range_]}
    assert set(moved.values()) <= {"new-one"}
    assert len(moved) == ranges // (len(hosts) + 1)


@given(HOSTS.filter(lambda hosts: len(hosts) > 1), RANGES, st.data())
def test_a_host_that_goes_leaves_each_range_to_who_stood_by_and_nothing_else_moves(
    hosts: tuple[str, ...], ranges: int, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(hosts))
    before, after = owners(hosts, ranges), owners(hosts, ranges, frozenset([gone]))

    for range_, owner in before.items():
        standby = copies(range_, hosts, 1, ranges=ranges)[1]
        assert after[range_] == (standby if owner == gone else owner)


def test_the_copies_of_three_hosts_are_balanced_too() -> None:
    counts = Counter(
        host for range_ in range(16) for host in copies(range_, ("a", "b", "c"), 1, ranges=16)
    )

    assert is_balanced(counts, ("a", "b", "c"))


def test_where_all_are_away_there_is_no_copy() -> None:
    assert copies(0, ("a", "b"), 1, ranges=4, away=frozenset("ab")) == ()


def test_a_range_that_is_pinned_is_on_that_host_and_the_rest_of_its_rank_is_as_it_was() -> None:
    plan = Plan(("a", "b", "c"), 3, 1)
    ranked = plan.ranked(0)
    pinned = Plan(("a", "b", "c"), 3, 1, pins={0: ranked[2]})

    assert pinned.ranked(0) == (ranked[2], ranked[0], ranked[1])
    assert pinned.ranked(1) == plan.ranked(1)
    assert Plan(("a", "b"), 3, 1, pins={0: "c"}).ranked(0) == Plan(("a", "b"), 3, 1).ranked(0)


@pytest.mark.parametrize(
    "other",
    [
        Plan(("b", "a"), 4, 1),
        Plan(("a", "b"), 5, 1),
        Plan(("a", "b"), 4, 2),
        Plan(("a", "b"), 4, 1, away=frozenset("b")),
        Plan(("a", "b"), 4, 1, pins={1: "a"}),
    ],
)
def test_hosts_that_go_by_another_plan_can_be_told(other: Plan) -> None:
    assert other.mark != Plan(("a", "b"), 4, 1).mark


def test_the_order_of_what_has_none_makes_no_other_plan() -> None:
    one = Plan(("a", "b", "c"), 4, 1, away=frozenset("cb"), pins={1: "a", 0: "b"})

    assert one.mark == Plan(("a", "b", "c"), 4, 1, frozenset("bc"), {0: "b", 1: "a"}).mark
