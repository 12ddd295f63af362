"""Times as clients write them: read where they are times, else replaced (R8, R9, 2.4.3)."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.protocol.times import MAX_AHEAD_S, message_time, read_time, receipt_time

SENT_AT = 1_566_970_629
NOW_S = SENT_AT + 1000


@pytest.mark.parametrize(
    ("value", "time_s"),
    [
        (SENT_AT, SENT_AT),
        (str(SENT_AT), SENT_AT),
        (float(SENT_AT), SENT_AT),
        (SENT_AT + 0.999, SENT_AT),
        (0, 0),
        ("0", 0),
        (0.5, 0),
        ("0001566970629", SENT_AT),
        (10**11, 10**11),
        (10**11 + 1, 10**8),
        (SENT_AT * 1000, SENT_AT),
        (SENT_AT * 1000 + 999, SENT_AT),
        (str(SENT_AT * 1000 + 1), SENT_AT),
        (SENT_AT * 1000 + 0.7, SENT_AT),
        (10**14, 10**11),
    ],
)
def test_r8_a_time_is_read_as_whole_seconds(value: object, time_s: int) -> None:
    found = read_time(value)

    assert found == time_s
    assert type(found) is int


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        -1,
        -0.5,
        10**14 + 1000,
        SENT_AT * 10**6,
        10**400,
        1e300,
        math.inf,
        -math.inf,
        math.nan,
        "",
        " ",
        "-1",
        "+1",
        "1.5",
        "1e9",
        "1_000",
        f" {SENT_AT}",
        f"{SENT_AT}\n",
        "٣",
        "²",
        "0x10",
        "9" * 21,
        "9" * 10_000,
        [],
        [SENT_AT],
        {},
        {"low": SENT_AT},
        b"1",
    ],
)
def test_r8_anything_else_is_no_time(value: object) -> None:
    assert read_time(value) is None


def test_r9_a_messages_time_is_kept_up_to_300_s_ahead() -> None:
    assert MAX_AHEAD_S == 300
    assert message_time(SENT_AT, now_s=NOW_S) == SENT_AT
    assert message_time(0, now_s=NOW_S) == 0
    assert message_time(str((NOW_S + 300) * 1000), now_s=NOW_S) == NOW_S + 300
    assert message_time(NOW_S + 301, now_s=NOW_S) == NOW_S


def test_r9_a_messages_time_that_is_none_is_the_servers() -> None:
    assert message_time(None, now_s=NOW_S) == NOW_S
    assert message_time("soon", now_s=NOW_S) == NOW_S


@pytest.mark.parametrize(
    ("claimed_s", "told_s"),
    [
        (SENT_AT, SENT_AT),
        (SENT_AT - 300, SENT_AT - 300),
        (SENT_AT - 301, NOW_S),
        (0, NOW_S),
        (NOW_S + 300, NOW_S + 300),
        (NOW_S + 301, NOW_S),
        (None, NOW_S),
    ],
)
def test_a_receipts_time_is_the_clients_near_the_life_of_the_message(
    claimed_s: int | None, told_s: int
) -> None:
    assert receipt_time(claimed_s, message_s=SENT_AT, now_s=NOW_S) == told_s


def test_a_receipt_of_an_unknown_message_may_claim_any_time_up_to_300_s_ahead() -> None:
    assert receipt_time(0, message_s=0, now_s=NOW_S) == 0
    assert receipt_time(NOW_S + 301, message_s=0, now_s=NOW_S) == NOW_S


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none()))
def test_every_value_is_a_time_within_bounds_or_none(value: object) -> None:
    time_s = read_time(value)

    assert time_s is None or 0 <= time_s <= 10**11
    assert 0 <= message_time(value, now_s=NOW_S) <= NOW_S + MAX_AHEAD_S
