"""When a dead child starts again, and how its death is told."""

import itertools
import signal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.process.exitcodes import CANNOT_BOOT
from relay.supervision.deaths import Backoff, describe_exit, parse_oom_kills

MIN_S, MAX_S = 0.1, 10.0


def backoff(seed: int = 1) -> Backoff:
    return Backoff(min_s=MIN_S, max_s=MAX_S, random=Random(seed))


def delays(count: int, *, seed: int = 1, uptime_s: float = 0.1) -> list[float]:
    policy = backoff(seed)
    return [policy.restart_delay_s(uptime_s=uptime_s, exit_code=1) for _ in range(count)]


@given(st.integers())
def test_delays_grow_from_the_least_to_the_most(seed: int) -> None:
    found = delays(12, seed=seed)

    assert MIN_S / 2 <= found[0] <= MIN_S
    assert MAX_S / 2 <= found[-1] <= MAX_S
    growing = found[:7]  # 0.1 doubled six times is still under 10
    assert all(a <= b for a, b in itertools.pairwise(growing))


def test_children_that_die_together_do_not_come_back_together() -> None:
    assert len({delays(1, seed=seed)[0] for seed in range(20)}) == 20


def test_a_long_crash_loop_stays_at_the_slow_pace() -> None:
    assert all(MAX_S / 2 <= delay <= MAX_S for delay in delays(5000)[10:])


def test_other_bounds_hold_from_the_next_death_on() -> None:
    policy = backoff()

    policy.adopt(min_s=2.0, max_s=3.0)

    found = [policy.restart_delay_s(uptime_s=0.1, exit_code=1) for _ in range(5)]
    assert all(1.0 <= delay <= 3.0 for delay in found)
    assert policy.restart_delay_s(uptime_s=0.1, exit_code=CANNOT_BOOT) == 3.0
    policy.restart_delay_s(uptime_s=3.0, exit_code=1)
    assert policy.deaths == 1


def test_a_child_that_lived_a_while_starts_quickly_again() -> None:
    policy = backoff()
    for _ in range(8):
        policy.restart_delay_s(uptime_s=0.1, exit_code=1)

    delay = policy.restart_delay_s(uptime_s=MAX_S, exit_code=1)

    assert delay <= MIN_S
    assert policy.deaths == 1


def test_one_that_cannot_boot_is_tried_only_at_the_slow_pace() -> None:
    assert backoff().restart_delay_s(uptime_s=0.1, exit_code=CANNOT_BOOT) == MAX_S


def test_a_death_by_signal_backs_off_like_any_other() -> None:
    assert backoff().restart_delay_s(uptime_s=0.1, exit_code=None) <= MIN_S


def describe(returncode: int, *, oom_kills: int = 0, we_killed: bool = False) -> dict[str, object]:
    return {**describe_exit(returncode, oom_kills=oom_kills, we_killed=we_killed)}


@pytest.mark.parametrize("code", [0, 1, 70])
def test_an_exit_is_told_by_its_code_alone(code: int) -> None:
    assert describe(code) == {"exit_code": code}


def test_one_that_cannot_boot_is_told_to_have_said_why() -> None:
    fields = describe(CANNOT_BOOT)

    assert fields["exit_code"] == CANNOT_BOOT
    assert "its own log line" in str(fields["hint"])


def test_a_plain_signal_is_told_by_its_name_alone() -> None:
    assert describe(-signal.SIGTERM) == {"signal": "SIGTERM"}


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    number = signal.SIGRTMIN + 1

    assert describe(-number) == {"signal": f"SIG{number}"}


def test_a_crash_points_to_the_stack_dump() -> None:
    assert "stack" in str(describe(-signal.SIGSEGV)["hint"])


def test_a_sigkill_after_an_oom_kill_blames_the_oom_killer() -> None:
    assert "OOM killer has struck" in str(describe(-signal.SIGKILL, oom_kills=1)["hint"])


def test_a_sigkill_from_elsewhere_only_suspects() -> None:
    assert "from outside" in str(describe(-signal.SIGKILL)["hint"])


def test_our_own_sigkill_needs_no_hint() -> None:
    assert describe(-signal.SIGKILL, oom_kills=1, we_killed=True) == {"signal": "SIGKILL"}


def test_oom_kills_are_read_from_vmstat() -> None:
    assert parse_oom_kills("nr_free_pages 12\noom_kill 3\noom_kill_disable 7\n") == 3
    assert parse_oom_kills("nr_free_pages 12\n") == 0
