"""Who sends most by a front, without a price for each message."""

from __future__ import annotations

from relay.front.senders import MAX_COUNTED, PERIOD_MS, Senders
from relay.process.rates import Rate

NOW_MS = 1_566_970_629_000
QUOTA = Rate(50.0, 10_000)


def test_who_sends_most_comes_first_with_what_that_is_a_second() -> None:
    senders = Senders()
    for second in range(5):
        for author, messages in (("much", 40), ("little", 2)):
            assert not senders.wait_ms(author, messages, QUOTA, NOW_MS + 1000 * second)

    found = senders.top(2, NOW_MS + 5000)

    assert found == [("much", 40.0), ("little", 2.0)]
    assert senders.top(1, NOW_MS + 5000) == [("much", 40.0)]


def test_what_was_sent_before_two_periods_is_told_no_more() -> None:
    senders = Senders()
    senders.wait_ms("once", 100, QUOTA, NOW_MS)

    assert senders.top(5, NOW_MS + PERIOD_MS) == [("once", 20.0)]
    assert senders.top(5, NOW_MS + 2 * PERIOD_MS) == []


def test_what_is_not_allowed_is_not_counted() -> None:
    senders = Senders()

    assert senders.wait_ms("bot", 10, Rate(1.0, 10), NOW_MS) == 0
    assert senders.wait_ms("bot", 10, Rate(1.0, 10), NOW_MS) > 0
    assert senders.top(5, NOW_MS + 1000) == [("bot", 10.0)]


def test_a_crowd_is_bounded_and_hides_nobody_who_sends_much() -> None:
    senders = Senders()
    for n in range(10 * MAX_COUNTED):
        senders.wait_ms(f"user{n}", 1, QUOTA, NOW_MS)
        if n % 10 == 0:
            senders.wait_ms("much", 3, QUOTA, NOW_MS)

    assert senders.top(1, NOW_MS + 1000) == [("much", 3.0 * MAX_COUNTED)]
    assert len(senders.top(10 * MAX_COUNTED, NOW_MS)) <= MAX_COUNTED


def test_a_clock_that_goes_back_begins_anew() -> None:
    senders = Senders()
    senders.wait_ms("early", 5, QUOTA, NOW_MS)
    senders.wait_ms("late", 5, QUOTA, NOW_MS - 60_000)

    assert senders.top(5, NOW_MS - 59_000) == [("late", 5.0)]
