"""The schedule of host faults: the same for a seed, a majority kept, each kind in its turn."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from .schedule import APART_S, TAKINGS, HostFault, draw_host_faults


def draw(seed: int, seconds: float = 900.0, kills: float = 6.0) -> list[HostFault]:
    return draw_host_faults(
        Random(seed),
        seconds=seconds,
        hosts="abc",
        ranges=4,
        kills_per_minute=kills,
        moves_per_minute=1.0,
        drains_per_minute=0.5,
    )


def test_a_seed_draws_the_same_faults_again() -> None:
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


@pytest.mark.parametrize("seed", range(20))
def test_no_host_is_taken_before_the_one_before_had_time_to_follow_again(seed: int) -> None:
    takings = [fault for fault in draw(seed) if fault.takes]

    assert takings
    for before, behind in pairwise(takings):
        assert behind.at_s - (before.at_s + before.away_s) >= APART_S


@pytest.mark.parametrize("seed", range(20))
def test_all_begins_and_is_over_within_the_run_in_order_of_time(seed: int) -> None:
    faults = draw(seed)

    assert faults == sorted(faults, key=lambda fault: fault.at_s)
    assert all(fault.at_s >= 0 and fault.at_s + fault.away_s <= 900 for fault in faults)


def test_each_kind_of_loss_comes_before_any_comes_again() -> None:
    takings = [fault.deed for fault in draw(3) if fault.takes]

    kinds = len(TAKINGS)
    assert len(takings) > 2 * kinds
    assert set(takings[:kinds]) == set(takings[kinds : 2 * kinds]) == set(TAKINGS)


def test_each_host_is_taken_and_each_kind_of_process_killed_on_it() -> None:
    faults = draw(1, seconds=6000)

    assert {fault.host for fault in faults if fault.takes} == set("abc")
    kills = Counter((fault.host, fault.target) for fault in faults if fault.deed == "kill")
    assert set(kills) == {(h, t) for h in "abc" for t in ("worker", "front", "agent")}
    assert kills.total() == 600
    assert sum(fault.deed == "move" for fault in faults) == 100


@pytest.mark.parametrize("seed", range(20))
def test_one_host_at_a_time_is_drained_and_let_back_before_the_end(seed: int) -> None:
    drains = [fault for fault in draw(seed) if fault.deed == "drain"]

    assert len(drains) == 8
    for before, behind in pairwise(drains):
        assert behind.at_s >= before.at_s + before.away_s
    assert not any(fault.takes for fault in drains)


def test_three_minutes_take_a_host_at_least_four_times() -> None:
    for seed in range(50):
        assert sum(fault.takes for fault in draw(seed, seconds=180)) >= 4


def test_a_run_too_short_for_any_loss_has_none() -> None:
    assert draw(1, seconds=3, kills=0) == []


def test_a_fault_says_what_it_does() -> None:
    assert str(HostFault(1.0, "cut", "a", 3.25)) == "cut a for 3.2 s"
    assert str(HostFault(1.0, "power cut", "b", 5.0)) == "power cut b for 5.0 s"
    assert str(HostFault(1.0, "kill engine", "c")) == "kill engine of c"
    assert str(HostFault(1.0, "kill", "c", target="worker", index=2)) == "kill worker 2 of c"
    assert str(HostFault(1.0, "drain", "b", 12.0)) == "drain b for 12.0 s"
    assert str(HostFault(1.0, "move", "b", index=3)) == "move range 3 to b"
