"""Takeovers: they are counted by user, for a while, of so many users."""

from functools import partial

import pytest

from workers.shard import takeovers
from workers.shard.takeovers import Takeovers

note = partial(Takeovers.note, most=3, window_ms=1000)
wait_ms = partial(Takeovers.wait_ms, most=3, window_ms=1000)


@pytest.fixture
def noted() -> Takeovers:
    return Takeovers()


def test_so_many_within_the_window_may_happen_and_the_next_waits_for_the_oldest(
    noted: Takeovers,
) -> None:
    for ms in (100, 300, 500):
        assert wait_ms(noted, "bob", now_ms=ms) == 0
        note(noted, "bob", now_ms=ms)

    assert wait_ms(noted, "bob", now_ms=600) == 500
    assert wait_ms(noted, "bob", now_ms=1099) == 1
    assert wait_ms(noted, "bob", now_ms=1100) == 0
    assert wait_ms(noted, "carol", now_ms=600) == 0


def test_only_the_last_that_matter_are_kept(noted: Takeovers) -> None:
    for ms in range(100):
        note(noted, "bob", now_ms=ms)

    assert wait_ms(noted, "bob", now_ms=100) == 97 + 1000 - 100


def test_with_none_allowed_every_one_waits(noted: Takeovers) -> None:
    assert noted.wait_ms("bob", most=0, window_ms=1000, now_ms=5) == 1000


def test_a_clock_that_was_put_back_locks_nobody_out(noted: Takeovers) -> None:
    for ms in (90_000, 90_001, 90_002):
        note(noted, "bob", now_ms=ms)

    assert wait_ms(noted, "bob", now_ms=500) == 0


def test_users_whose_time_is_over_are_forgotten(noted: Takeovers) -> None:
    for number in range(50):
        note(noted, f"user{number}", now_ms=number)

    note(noted, "late", now_ms=1020)

    assert len(noted) == 30
    assert wait_ms(noted, "user49", now_ms=1020) == 0


def test_of_too_many_users_those_whose_last_is_longest_ago_are_forgotten(
    noted: Takeovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeovers, "MAX_USERS", 3)
    for user in ("a", "a", "a", "b", "c", "a", "d"):
        note(noted, user, now_ms=1)

    assert len(noted) == 3
    assert wait_ms(noted, "a", now_ms=1) > 0
