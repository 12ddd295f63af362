"""When numbers were given out: in doubt later than it was, never earlier."""

import random

from relay.bus.envelopes import Seq
from workers.shard.dates import (
    KEPT_EVERY_US,
    Dates,
    Note,
    decode,
    encode,
    latest_day_us,
    merge,
)

NOW_US = 1_796_000_000_000_000
DAY_US = 86_400_000_000
AHEAD_US = 730 * DAY_US
MONTH_US = 30 * DAY_US


def note(dates: Dates, seq: int, day_us: int) -> bool:
    return dates.note(Seq(seq), day_us=day_us, shortest_us=MONTH_US, longest_us=MONTH_US)


def test_numbers_tell_it_themselves() -> None:
    dates = Dates()

    assert not note(dates, NOW_US, NOW_US)
    assert dates.reached(NOW_US - DAY_US) == NOW_US - DAY_US


def test_numbers_that_run_ahead_count_from_when_they_were_noted() -> None:
    dates = Dates()
    assert note(dates, NOW_US + AHEAD_US, NOW_US)

    assert dates.reached(NOW_US - 1) == NOW_US - 1, "what was stored before is not touched"
    assert dates.reached(NOW_US) == NOW_US + AHEAD_US + 1

    for days in range(1, 60):
        note(dates, NOW_US + AHEAD_US + days, NOW_US + days * DAY_US)
    for days in range(30, 60):
        reached = dates.reached(NOW_US + days * DAY_US) - NOW_US - AHEAD_US - 1
        assert days - 1 <= reached <= days
    assert len(dates.notes) <= 33, "a note that a later one makes needless goes"


def test_numbers_that_lag_behind_are_not_taken_for_old() -> None:
    """A machine that starts in 1970 gives numbers on from the last; an hour later it knows."""
    dates, last = Dates(), NOW_US - 40 * DAY_US
    note(dates, last, DAY_US)

    dates.move(by_us=NOW_US - DAY_US, day_us=NOW_US + KEPT_EVERY_US)

    assert dates.reached(NOW_US - DAY_US) == last + 1, "what came after the start is from today"
    assert dates.reached(NOW_US - 50 * DAY_US) == NOW_US - 50 * DAY_US
    assert dates.reached(NOW_US + 41 * DAY_US) == NOW_US + 41 * DAY_US


def test_what_was_noted_by_a_clock_that_was_ahead_is_from_today() -> None:
    dates = Dates([Note(NOW_US + DAY_US, Seq(NOW_US + AHEAD_US))])

    dates.move(by_us=-AHEAD_US, day_us=NOW_US)

    assert dates.notes == [Note(NOW_US, Seq(NOW_US + AHEAD_US))]


def test_a_note_that_says_what_the_numbers_do_goes_when_the_day_has_moved() -> None:
    """As after each start that was long after the stop."""
    dates = Dates()
    note(dates, NOW_US + 1, NOW_US - 20 * DAY_US)

    dates.move(by_us=20 * DAY_US, day_us=NOW_US + KEPT_EVERY_US)

    assert dates.notes == []


def test_notes_are_bounded_and_what_they_say_is_never_too_early() -> None:
    chance = random.Random(5)
    dates = Dates()
    given: list[tuple[int, int]] = []  # (day, number)
    day, seq = NOW_US, NOW_US + AHEAD_US
    for _ in range(5000):
        day += chance.randrange(1, 10_000_000)
        seq += chance.randrange(1, 1000)
        given.append((day, seq))
        dates.note(Seq(seq), day_us=day, shortest_us=1_000_000, longest_us=MONTH_US)

    assert len(dates.notes) <= 100
    for age_us in (0, 10_000_000, 1_000_000_000, 10_000_000_000):
        reached = dates.reached(day - age_us)
        assert all(when <= day - age_us for when, number in given if number < reached)


def test_they_are_kept_as_they_are() -> None:
    dates = Dates([Note(NOW_US, Seq(NOW_US + AHEAD_US)), Note(NOW_US + 1, Seq(NOW_US + AHEAD_US))])

    assert decode(encode(dates)).notes == dates.notes
    assert decode(None).notes == []


def test_the_latest_day_is_not_taken_from_a_number_that_is_far_ahead() -> None:
    assert latest_day_us(0, Seq(NOW_US)) == NOW_US, "a store of before"
    assert latest_day_us(NOW_US, Seq(NOW_US - 5)) == NOW_US
    assert latest_day_us(NOW_US, Seq(NOW_US + 5)) == NOW_US + 5
    assert latest_day_us(NOW_US, Seq(NOW_US + AHEAD_US)) <= NOW_US + 3 * KEPT_EVERY_US


def test_of_several_stores_nothing_is_older_than_by_any() -> None:
    lagging = [Dates([Note(NOW_US, Seq(NOW_US - n * DAY_US))]) for n in (3, 9)]
    ahead = Dates([Note(NOW_US, Seq(NOW_US + AHEAD_US))])

    merged = merge([*lagging, ahead])

    assert merged.reached(NOW_US - 1) == NOW_US - 9 * DAY_US + 1
    assert merged.reached(NOW_US) == NOW_US, "it is noted anew"
