"""Signs of life, by a made-up clock."""

import pytest

from relay.client.limits import Limits
from relay.client.pulse import Pulse

LIMITS = Limits(keepalive_s=20.0, confirm_s=2.5, answer_s=10.0)


@pytest.fixture
def pulse() -> Pulse:
    """Of a connection that is logged in at 100."""
    return Pulse(LIMITS, up=100.0)


def test_a_text_is_due_when_nothing_was_said_for_long(pulse: Pulse) -> None:
    assert pulse.due_at == 120.0
    pulse.heard(up=110.0)
    assert pulse.due_at == 120.0
    pulse.said(up=115.0)
    assert pulse.due_at == 130.0, "the relay was last heard at 110"
    assert not pulse.is_dead(up=130.0)


def test_who_says_much_asks_too_where_nothing_comes_back(pulse: Pulse) -> None:
    for up in range(101, 120):
        pulse.said(up=up)

    assert pulse.due_at == 120.0


def test_anything_that_is_heard_is_an_answer(pulse: Pulse) -> None:
    pulse.asked(up=120.0)
    assert pulse.due_at == 130.0

    pulse.heard(up=121.0)

    assert pulse.due_at == 140.0
    assert not pulse.is_dead(up=140.0)


def test_without_an_answer_the_connection_is_dead(pulse: Pulse) -> None:
    pulse.asked(up=120.0)
    pulse.said(up=125.0)

    assert pulse.due_at == 130.0
    assert not pulse.is_dead(up=129.9)
    assert pulse.is_dead(up=130.0)


def test_who_stood_still_asks_once_more(pulse: Pulse) -> None:
    """A machine that slept finds the answer unread, and would throw a good connection away."""
    pulse.asked(up=120.0)
    assert not pulse.is_dead(up=500.0)

    pulse.asked(up=500.0)

    assert pulse.is_dead(up=510.0)


def test_a_receipt_wants_a_text_soon_and_one_is_enough(pulse: Pulse) -> None:
    pulse.told(2, up=101.0)
    pulse.told(1, up=102.0)
    assert pulse.due_at == 103.5
    pulse.said(up=102.5)
    assert pulse.due_at == 103.5, "an ack came too early to confirm it"
    assert pulse.unconfirmed == 3

    pulse.asked(up=103.5)
    pulse.heard(up=103.6)

    assert pulse.due_at == 123.5
    assert pulse.unconfirmed == 0


def test_a_text_may_be_wanted_at_once(pulse: Pulse) -> None:
    pulse.want(up=101.0)

    assert pulse.due_at == 101.0
