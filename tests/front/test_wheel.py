"""The timer wheel: never early, in order, and cheap whatever the clock does."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.front.wheel import TimerWheel

HOUR_MS = 3_600_000


@pytest.fixture
def wheel() -> TimerWheel[str]:
    return TimerWheel(100)


def test_a_key_fires_once_at_its_time_rounded_up_to_a_tick(wheel: TimerWheel[str]) -> None:
    wheel.schedule("a", 1_010)

    assert wheel.expire(1_010) == []
    assert wheel.expire(1_099) == []
    assert wheel.expire(1_100) == ["a"]
    assert wheel.expire(9_999) == []
    assert "a" not in wheel


def test_a_time_on_a_tick_fires_at_that_tick(wheel: TimerWheel[str]) -> None:
    wheel.schedule("a", 1_000)

    assert wheel.expire(999) == []
    assert wheel.expire(1_000) == ["a"]


def test_keys_fire_in_the_order_of_their_ticks_and_then_of_scheduling(
    wheel: TimerWheel[str],
) -> None:
    for key, at_ms in [("late", 300), ("b", 150), ("a", 101), ("now", 0), ("c", 200)]:
        wheel.schedule(key, at_ms)

    assert wheel.expire(1_000) == ["now", "b", "a", "c", "late"]


def test_scheduling_again_replaces_the_time(wheel: TimerWheel[str]) -> None:
    wheel.schedule("a", 100)
    wheel.schedule("a", 500)

    assert len(wheel) == 1
    assert wheel.expire(400) == []
    assert wheel.expire(500) == ["a"]


def test_a_cancelled_key_never_fires(wheel: TimerWheel[str]) -> None:
    wheel.schedule("a", 100)
    wheel.cancel("a")
    wheel.cancel("never scheduled")

    assert len(wheel) == 0
    assert wheel.expire(HOUR_MS) == []


def test_a_time_in_the_past_fires_at_the_next_expire(wheel: TimerWheel[str]) -> None:
    wheel.expire(5_000)
    wheel.schedule("a", 10)
    wheel.schedule("b", 5_000)

    assert wheel.expire(5_000) == ["a", "b"]


def test_a_clock_that_goes_backwards_fires_nothing(wheel: TimerWheel[str]) -> None:
    wheel.expire(5_000)
    wheel.schedule("a", 4_000)

    assert wheel.expire(4_500) == []
    assert wheel.expire(5_000) == ["a"]


@pytest.mark.timeout(5)
def test_a_jump_of_the_clock_does_not_walk_every_tick() -> None:
    wheel = TimerWheel[str](1)
    wheel.schedule("a", 10**15)
    wheel.schedule("b", 10**15 + 1)

    assert wheel.expire(10**15) == ["a"]
    assert wheel.expire(10**18) == ["b"]


def test_a_tick_has_a_length() -> None:
    with pytest.raises(ValueError, match="0 ms"):
        TimerWheel[str](0)


class WheelAgainstDict(RuleBasedStateMachine):
    """The wheel does what a plain dict of due ticks does."""

    TICK_MS = 10
    keys = st.integers(0, 8)

    def __init__(self) -> None:
        super().__init__()
        self.wheel = TimerWheel[int](self.TICK_MS)
        self.due_tick: dict[int, int] = {}  # in the order of scheduling
        self.now_ms = 0

    @rule(key=keys, after_ms=st.integers(-100, 500) | st.just(HOUR_MS))
    def schedule(self, key: int, after_ms: int) -> None:
        at_ms = max(0, self.now_ms + after_ms)
        self.wheel.schedule(key, at_ms)
        self.due_tick.pop(key, None)
        self.due_tick[key] = max(-(-at_ms // self.TICK_MS), self.now_ms // self.TICK_MS)

    @rule(key=keys)
    def cancel(self, key: int) -> None:
        self.wheel.cancel(key)
        self.due_tick.pop(key, None)

    @rule(elapsed_ms=st.integers(0, 60) | st.just(HOUR_MS))
    def expire(self, elapsed_ms: int) -> None:
        self.now_ms += elapsed_ms
        due = [key for key, tick in self.due_tick.items() if tick <= self.now_ms // self.TICK_MS]
        due.sort(key=self.due_tick.__getitem__)
        assert self.wheel.expire(self.now_ms) == due
        for key in due:
            del self.due_tick[key]

    @invariant()
    def holds_the_same_keys(self) -> None:
        assert len(self.wheel) == len(self.due_tick)
        assert all(key in self.wheel for key in self.due_tick)


TestWheelAgainstDict = WheelAgainstDict.TestCase
TestWheelAgainstDict.settings = settings(max_examples=60, stateful_step_count=30)
