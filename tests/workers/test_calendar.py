"""The day by which things expire: a clock that jumps is believed once that has lasted an hour."""

import pytest

from workers.calendar import LASTS_MS, TOLERANCE_MS, Calendar

NOW_MS = 1_796_000_000_000
DAY_MS = 86_400_000
YEARS_MS = 730 * DAY_MS


class Clocks:
    """Both clocks, and the calendar that looks at them once a second."""

    def __init__(self, *, known_ms: int = NOW_MS, now_ms: int = NOW_MS) -> None:
        self.now_ms, self.clock_ms = now_ms, 5_000
        self.calendar = Calendar(now_ms=now_ms, clock_ms=self.clock_ms, known_ms=known_ms)

    def after(self, passed_ms: int, *, set_by_ms: int = 0) -> int:
        self.clock_ms += passed_ms
        self.now_ms += passed_ms + set_by_ms
        return self.calendar.look(now_ms=self.now_ms, clock_ms=self.clock_ms)

    def go_on(self, passed_ms: int) -> int:
        for _ in range(passed_ms // 60_000):
            self.after(60_000)
        return self.after(passed_ms % 60_000)


def test_the_day_is_what_the_clock_shows() -> None:
    clocks = Clocks()

    assert clocks.go_on(10 * DAY_MS) == NOW_MS + 10 * DAY_MS
    assert not clocks.calendar.doubt_ms


@pytest.mark.parametrize("jump_ms", [31 * DAY_MS, YEARS_MS, -31 * DAY_MS, -YEARS_MS])
def test_a_jump_and_back_moves_nothing(jump_ms: int) -> None:
    clocks = Clocks()
    clocks.go_on(DAY_MS)

    days = [clocks.after(1000, set_by_ms=jump_ms), clocks.after(1000), clocks.after(1000)]

    assert days == [NOW_MS + DAY_MS + n * 1000 for n in (1, 2, 3)]
    assert clocks.calendar.doubt_ms == jump_ms
    assert clocks.after(1000, set_by_ms=-jump_ms) == NOW_MS + DAY_MS + 4000
    assert not clocks.calendar.doubt_ms


@pytest.mark.parametrize("jump_ms", [31 * DAY_MS, -31 * DAY_MS])
def test_a_jump_that_lasts_an_hour_is_believed(jump_ms: int) -> None:
    clocks = Clocks()
    clocks.after(1000, set_by_ms=jump_ms)

    assert clocks.go_on(LASTS_MS - 1000) == NOW_MS + LASTS_MS
    assert clocks.calendar.moved_ms == 0
    assert clocks.after(1000) == NOW_MS + jump_ms + LASTS_MS + 1000
    assert clocks.calendar.moved_ms == jump_ms
    assert clocks.after(1000) == clocks.now_ms
    assert clocks.calendar.moved_ms == clocks.calendar.doubt_ms == 0


def test_a_clock_that_jumps_on_and_on_is_never_believed() -> None:
    clocks = Clocks()

    for number in range(1, 300):
        assert clocks.after(60_000, set_by_ms=DAY_MS) == NOW_MS + number * 60_000


def test_a_small_correction_is_followed_at_once_but_many_are_not() -> None:
    clocks = Clocks()

    assert clocks.after(1000, set_by_ms=TOLERANCE_MS) == NOW_MS + 1000 + TOLERANCE_MS
    assert clocks.after(1000, set_by_ms=TOLERANCE_MS) == NOW_MS + 2000


def test_a_clock_that_runs_a_little_fast_is_followed_for_ever() -> None:
    clocks = Clocks()

    for _ in range(24 * 60):
        assert clocks.after(60_000, set_by_ms=1000) == clocks.now_ms
    assert clocks.now_ms - NOW_MS > DAY_MS + 2 * TOLERANCE_MS


def test_a_start_goes_by_what_the_store_knows_until_the_clock_has_lasted() -> None:
    clocks = Clocks(known_ms=NOW_MS - 40 * DAY_MS)

    assert clocks.after(1000) == NOW_MS - 40 * DAY_MS + 1000
    assert clocks.go_on(LASTS_MS) > NOW_MS


def test_a_start_by_a_clock_that_is_behind_lets_nothing_expire() -> None:
    clocks = Clocks(known_ms=NOW_MS + YEARS_MS)

    assert clocks.after(1000) == NOW_MS + 1000
    assert not clocks.calendar.doubt_ms


def test_a_new_store_believes_the_clock() -> None:
    assert Clocks(known_ms=0).after(1000) == NOW_MS + 1000
