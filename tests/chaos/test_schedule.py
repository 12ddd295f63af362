"""The schedule of faults: the same for the same seed, as many as asked for, all within the run."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from .schedule import Fault, draw_faults


def draw(seed: int, seconds: float = 600.0, kills_per_minute: float = 30.0) -> list[Fault]:
    return draw_faults(
        Random(seed), seconds=seconds, kills_per_minute=kills_per_minute, workers=3, fronts=2
    )


def test_a_seed_draws_the_same_faults_again() -> None:
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


@pytest.mark.parametrize("seed", range(5))
def test_there_are_as_many_kills_as_asked_for_in_order_and_within_the_run(seed: int) -> None:
    faults = draw(seed)

    assert sum(fault.deed == "kill" for fault in faults) == 300
    times = [fault.at_s for fault in faults]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= 600


def test_every_role_is_killed_and_every_role_is_frozen() -> None:
    done: Counter[tuple[str, str, int]] = Counter(
        (fault.deed, fault.target, fault.index) for fault in draw(1)
    )

    for role, count in (("worker", 3), ("front", 2), ("supervisor", 1)):
        for index in range(count):
            assert done["kill", role, index]
            assert done["pause", role, index]
    assert done["kill", "tree", 0]
    assert done["renew", "supervisor", 0]
    assert len(done) == 14


def test_a_pause_ends_within_seconds_and_a_kill_has_none() -> None:
    for fault in draw(2):
        assert (1 <= fault.pause_s <= 3) if fault.deed == "pause" else fault.pause_s == 0


def test_no_kills_means_no_faults() -> None:
    assert draw(1, kills_per_minute=0) == []


def test_a_fault_says_what_it_does() -> None:
    assert str(Fault(1.0, "kill", "worker", 2)) == "kill worker 2"
    assert str(Fault(1.0, "kill", "tree")) == "kill tree"
    assert str(Fault(1.0, "renew", "supervisor")) == "renew supervisor"
    assert str(Fault(1.0, "pause", "supervisor", 0, 1.25)) == "pause supervisor for 1.2 s"
