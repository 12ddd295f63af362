"""Rates: what each may take, however often it comes back, and whom it costs memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.process.rates import Rate, Rates

DAY_MS = 86_400_000
NOW = 1_566_970_629_000


def wait_ms(
    rates: Rates,
    now_ms: int,
    count: int = 1,
    *,
    who: str = "alice",
    per_s: float = 2,
    burst: int = 4,
) -> int:
    return rates.wait_ms(who, count, Rate(per_s, burst), now_ms)


def test_a_burst_is_let_through_and_then_so_many_a_second() -> None:
    rates = Rates()

    assert [wait_ms(rates, NOW) for _ in range(6)] == [0, 0, 0, 0, 500, 500]
    assert wait_ms(rates, NOW + 499) == 1
    assert wait_ms(rates, NOW + 500) == 0
    assert wait_ms(rates, NOW + 500) == 500


def test_everyone_has_a_bucket_of_its_own() -> None:
    rates = Rates()
    assert wait_ms(rates, NOW, 4) == 0

    assert wait_ms(rates, NOW, 4, who="bob") == 0
    assert wait_ms(rates, NOW, 4) > 0


def test_what_is_too_much_takes_nothing() -> None:
    rates = Rates()
    assert wait_ms(rates, NOW, 3) == 0

    assert wait_ms(rates, NOW, 2) == 500
    assert wait_ms(rates, NOW, 1) == 0


def test_a_bucket_never_holds_more_than_a_burst() -> None:
    rates = Rates()
    assert wait_ms(rates, NOW, 4) == 0

    assert wait_ms(rates, NOW + DAY_MS, 4) == 0
    assert wait_ms(rates, NOW + DAY_MS) == 500


def test_more_than_a_burst_at_once_takes_a_full_bucket() -> None:
    rates = Rates()
    assert wait_ms(rates, NOW, 100) == 0

    assert wait_ms(rates, NOW, 100) == 2000
    assert wait_ms(rates, NOW + 1999, 100) == 1
    assert wait_ms(rates, NOW + 2000, 100) == 0


def test_a_clock_that_was_ahead_costs_nobody_a_message() -> None:
    rates = Rates()
    assert wait_ms(rates, NOW + 40 * DAY_MS, 4) == 0

    assert wait_ms(rates, NOW, 4) == 0
    assert wait_ms(rates, NOW, 1) == 500


def test_who_is_slow_is_forgotten() -> None:
    rates = Rates()
    for number in range(10_000):
        assert wait_ms(rates, NOW + 500 * number, who=f"user{number}") == 0

    assert len(rates) <= 1025


def test_who_is_not_is_remembered_however_many_there_are() -> None:
    rates = Rates()
    for number in range(5_000):
        assert wait_ms(rates, NOW, 4, who=f"user{number}") == 0

    assert all(wait_ms(rates, NOW, who=f"user{number}") for number in range(5_000))


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 5)), max_size=50))
def test_it_is_a_bucket_of_tokens(steps: list[tuple[int, int]]) -> None:
    rates = Rates()
    now_ms, held_ms = NOW, 2000  # a token is 500 ms
    for pause_ms, count in steps:
        now_ms += pause_ms
        held_ms = min(2000, held_ms + pause_ms)
        needed_ms = 500 * min(count, 4)

        assert wait_ms(rates, now_ms, count) == max(0, needed_ms - held_ms)

        if needed_ms <= held_ms:
            held_ms -= needed_ms
