"""Which hosts' workers an agent calls, and what their answers are worth."""

from __future__ import annotations

import math

import pytest

from relay.cluster.vouching import (
    CALL_EVERY_S,
    CALL_SELDOM_S,
    Calls,
    Vouch,
    Vouched,
    VouchUnreadable,
    decode_vouch,
    encode_vouch,
)

DETECT_S = 1.5


def test_nobody_is_called_that_beats() -> None:
    assert Calls(1, detect_s=DETECT_S).due({"b": 0.0, "c": 0.5}, 10.0) == []


def test_a_host_that_does_not_beat_is_called_some_times_before_it_counts_as_lost() -> None:
    calls, asked = Calls(1, detect_s=DETECT_S), []
    for tick in range(15):
        asked += calls.due({"b": tick / 10, "c": 0.1}, 10 + tick / 10)

    assert {host for _, host in asked} == {"b"}
    assert len(asked) >= 3
    assert len({number for number, _ in asked}) == len(asked)


def test_one_that_counts_as_lost_is_called_seldom() -> None:
    calls, count = Calls(1, detect_s=DETECT_S), 0
    for tick in range(100):
        now_s = 10 + tick / 10
        for _ in calls.due({"b": 60.0}, now_s):
            calls.rest("b", now_s)
            count += 1

    assert 100 / 10 / (CALL_SELDOM_S + CALL_EVERY_S) <= count <= 100 / 10 / CALL_SELDOM_S + 1


def test_a_call_is_known_for_a_while_and_by_no_later_agent() -> None:
    calls = Calls(1, detect_s=DETECT_S)
    [(number, _)] = calls.due({"b": 1.0}, 10.0)

    call = calls.call(number)
    assert call is not None
    assert (call.host, call.at_s) == ("b", 10.0)
    calls.due({}, 60.0)
    assert calls.call(number) is None
    assert Calls(2, detect_s=DETECT_S).call(number) is None
    [(later, _)] = Calls(2, detect_s=DETECT_S).due({"b": 1.0}, 10.0)
    assert later > number + 1000


def test_an_answer_counts_from_when_it_was_asked_for_and_the_newest_counts() -> None:
    vouched = Vouched()
    assert vouched.at_s("b") == -math.inf
    assert not vouched.hosts

    vouched.note("b", Vouch(3, 17), 10.0)
    vouched.note("b", Vouch(4, 0), 9.0)

    assert vouched.at_s("b") == 10.0
    assert vouched.owner("b", 3) == (17, 10.0)
    assert vouched.owner("b", 4) == (0, 9.0)
    assert vouched.owner("b", 5) is None
    vouched.note("b", Vouch(4, 12), 8.0)
    assert vouched.owner("b", 4) == (0, 9.0), "it was asked before"


def test_what_is_no_answer_is_refused() -> None:
    assert decode_vouch(encode_vouch(Vouch(3, 17))) == Vouch(3, 17)
    deep = b"\x93\x01\x01" + b"\x91" * 100_000 + b"\xc0"
    for data in (b"", b"x", b"\x91\x01", b"\x92\xa1a\x01", deep):
        with pytest.raises(VouchUnreadable):
            decode_vouch(data)
