"""What a connection must have done by when."""

from __future__ import annotations

import pytest

from relay.front.deadlines import CLOSE_TIMEOUT_MS, Deadlines, Overdue


@pytest.fixture
def deadlines() -> Deadlines:
    """Those of a connection that must log in until 30 s."""
    deadlines = Deadlines()
    deadlines.expect_login(30_000)
    return deadlines


def test_2_2_5_a_login_is_due_until_it_has_succeeded(deadlines: Deadlines) -> None:
    assert deadlines.due_ms(is_logged_in=False) == 30_000
    assert deadlines.overdue(29_999, is_logged_in=False) is None
    assert deadlines.overdue(30_000, is_logged_in=False) is Overdue.LOGIN

    assert deadlines.due_ms(is_logged_in=True) == 0
    assert deadlines.overdue(1 << 40, is_logged_in=True) is None


def test_2_1_a_client_must_take_some_of_what_waits(deadlines: Deadlines) -> None:
    deadlines.expect_reading(10_000, 500)

    assert deadlines.awaits_reading
    assert deadlines.due_ms(is_logged_in=False) == 10_000
    assert deadlines.overdue(10_000, is_logged_in=True) is Overdue.READING
    assert deadlines.has_read_some(499)
    assert not deadlines.has_read_some(500)

    deadlines.has_read()

    assert not deadlines.awaits_reading
    assert deadlines.due_ms(is_logged_in=True) == 0


def test_once_a_close_is_awaited_nothing_else_is(deadlines: Deadlines) -> None:
    deadlines.expect_reading(10_000, 500)

    deadlines.expect_close(9_000)
    deadlines.expect_close(12_000)

    assert deadlines.awaits_close
    assert deadlines.due_ms(is_logged_in=False) == 9_000 + CLOSE_TIMEOUT_MS
    assert deadlines.overdue(10_000, is_logged_in=False) is None
    assert deadlines.overdue(9_000 + CLOSE_TIMEOUT_MS, is_logged_in=True) is Overdue.CLOSE


def test_e1_what_a_login_showed_is_good_until_it_expires(deadlines: Deadlines) -> None:
    deadlines.expect_token(50_000)
    assert deadlines.due_ms(is_logged_in=True) == 50_000
    assert deadlines.overdue(49_999, is_logged_in=True) is None
    assert deadlines.overdue(50_000, is_logged_in=True) is Overdue.TOKEN

    deadlines.expect_token(90_000)
    deadlines.expect_reading(60_000, 500)
    assert deadlines.due_ms(is_logged_in=True) == 60_000
    assert deadlines.overdue(60_000, is_logged_in=True) is Overdue.READING

    deadlines.has_read()
    deadlines.expect_token(0)
    assert deadlines.due_ms(is_logged_in=True) == 0
