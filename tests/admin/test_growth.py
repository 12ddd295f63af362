"""How fast the stores grow, and when they are full at that rate."""

from __future__ import annotations

import pytest

from relay.admin.growth import EVERY_S, KEPT_S, LEAST_S, NOISE_BYTES, Growth, Look

GIB = 1 << 30
HOUR_S = 3600.0
DAY_S = 86_400.0


def looks(*, hours: int, used_per_h: int, room_per_h: int) -> tuple[Growth, Look]:
    growth = Growth()
    look = Look(0.0, 10 * GIB, 100 * GIB)
    for n in range(hours + 1):
        look = Look(n * HOUR_S, 10 * GIB + n * used_per_h, 100 * GIB - n * room_per_h)
        growth.add(look)
    return growth, look


def test_a_steady_growth_says_how_full_it_is_in_a_week_and_when_it_is_full() -> None:
    growth, now = looks(hours=48, used_per_h=GIB // 16, room_per_h=GIB // 16)

    found = growth.outlook(now)

    assert found.grows_bytes_per_day == 1.5 * GIB
    assert found.full_in_s == pytest.approx(97 / 1.5 * DAY_S)
    assert found.measured_s == 2 * DAY_S
    assert found.says == (
        "13.0 GiB stored, room for 97.0 GiB; grows by 1.5 GiB a day, measured for 2d 0h;"
        " at that rate room for 86.5 GiB in a week, full in 64d 16h"
    )


def test_of_less_than_an_hour_no_rate_is_told() -> None:
    growth = Growth()
    growth.add(Look(0.0, GIB, GIB))
    found = growth.outlook(Look(LEAST_S - 1, 2 * GIB, 0))

    assert (found.grows_bytes_per_day, found.full_in_s) == (None, None)
    assert "shows after 1h" in found.says


def test_before_the_first_look_nothing_is_measured() -> None:
    found = Growth().outlook(Look(5.0, GIB, GIB))

    assert found.measured_s == 0.0
    assert found.says.startswith("1.0 GiB stored, room for 1.0 GiB; ")


def test_of_less_than_a_day_it_says_that_it_guesses() -> None:
    growth, now = looks(hours=5, used_per_h=GIB, room_per_h=GIB)
    assert "the rate is a guess" in growth.outlook(now).says

    growth, now = looks(hours=24, used_per_h=GIB, room_per_h=GIB)
    assert "guess" not in growth.outlook(now).says


def test_what_others_write_on_that_disk_counts_and_is_named() -> None:
    growth, now = looks(hours=24, used_per_h=0, room_per_h=GIB)
    found = growth.outlook(now)

    assert found.grows_bytes_per_day == 0
    assert found.full_in_s == pytest.approx(76 * HOUR_S)
    assert "the stores do not grow, while room shrinks by 24.0 GiB a day" in found.says
    assert "more than they is on that disk" in found.says
    assert "in a week" not in found.says  # it is full before


def test_a_journal_that_takes_its_place_is_no_trend() -> None:
    growth, now = looks(hours=1, used_per_h=0, room_per_h=NOISE_BYTES)
    found = growth.outlook(now)
    assert found.full_in_s is None
    assert found.says.endswith("the rate is a guess; at that rate it is never full")

    growth, now = looks(hours=1, used_per_h=0, room_per_h=NOISE_BYTES + 1)
    assert growth.outlook(now).full_in_s is not None


def test_what_does_not_grow_is_never_full() -> None:
    growth, now = looks(hours=24, used_per_h=-GIB // 100, room_per_h=-GIB // 100)
    found = growth.outlook(now)

    assert found.full_in_s is None
    assert found.says.endswith("at that rate it is never full")


def test_a_growth_of_some_bytes_is_not_told_to_be_full_in_a_thousand_years() -> None:
    growth, now = looks(hours=24, used_per_h=10, room_per_h=10)
    assert growth.outlook(now).says.endswith("not full for ten years")


def test_where_there_is_no_room_it_says_that_sends_are_refused() -> None:
    growth = Growth()
    growth.add(Look(0.0, GIB, GIB))
    found = growth.outlook(Look(DAY_S, 2 * GIB, -5))

    assert "no room for more: sends are refused (500)" in found.says
    assert found.full_in_s == 0.0
    assert found.says.endswith("it is full now")
    assert growth.outlook(Look(DAY_S, GIB, 0)).says.endswith("it is full now")


def test_looks_are_some_minutes_apart_and_forgotten_after_a_week() -> None:
    growth = Growth()
    at_s = 0.0
    while at_s <= 3 * KEPT_S:
        assert growth.is_due(at_s) == (at_s % EVERY_S == 0)
        growth.add(Look(at_s, int(at_s), GIB))
        at_s += EVERY_S / 2

    found = growth.outlook(Look(at_s, int(at_s), GIB))

    assert found.measured_s <= KEPT_S + EVERY_S
    assert found.grows_bytes_per_day == pytest.approx(DAY_S)
