"""The lines about clients, one by one and in sums, and when there are none."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.front.admission import Bound
from relay.front.entrance import door, entrance
from relay.front.entrance.answer import Answer
from relay.front.visitors import Visitors
from relay.settings.tables import LogSettings

INFO = LogSettings(level="info", visitors_s=60)
DEBUG = LogSettings(level="debug")


@pytest.fixture
def counters() -> Counter[str]:
    return Counter()


@pytest.fixture
def visitors(counters: Counter[str]) -> Visitors:
    return Visitors(INFO, counters)


def said(visitors: Visitors) -> list[dict[str, Any]]:
    """The line of sums now, if there is one."""
    with capture_logs() as lines:
        visitors.say_sums()
    for line in lines:
        assert (line.pop("event"), line.pop("log_level")) == ("front.visitors", "info")
    return [dict(line) for line in lines]


# --- one by one ---


def test_they_are_asked_for_at_level_debug_alone(visitors: Visitors) -> None:
    assert not visitors.are_logged

    visitors.adopt(DEBUG)
    assert visitors.are_logged


def test_below_level_debug_nobody_has_a_line(visitors: Visitors) -> None:
    with capture_logs() as lines:
        visitors.logged_in(1, "123", again=False)
        visitors.refused(1, 405)
        visitors.logged_out(1, "123")
        visitors.went(1, "123", sent=1012, received=None)

    assert lines == []


def test_who_comes_logs_in_and_goes_is_a_line_each(counters: Counter[str]) -> None:
    visitors = Visitors(DEBUG, counters)
    with capture_logs() as lines:
        visitors.came(1, ("192.0.2.1", 5))
        visitors.refused(1, 400)
        visitors.logged_in(1, "123", again=False)
        visitors.logged_out(1, "123")
        visitors.went(1, "123", sent=1012, received=None)

    where = {"session": 1, "address": "192.0.2.1:5", "log_level": "debug"}
    assert lines == [
        {"event": "client.connected", **where},
        {"event": "client.login_refused", "code": 400, **where},
        {"event": "client.logged_in", "user": "123", **where},
        {"event": "client.logged_out", "user": "123", **where},
        {
            "event": "client.gone",
            "user": "123",
            "close_sent": 1012,
            "close_received": None,
            **where,
        },
    ]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (("192.0.2.1", 5), "192.0.2.1:5"),
        (("::1", 5, 0, 0), "[::1]:5"),
        (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1:5"),
        (None, "unknown"),
    ],
)
def test_an_address_is_shown_with_its_port(
    counters: Counter[str], address: object, shown: str
) -> None:
    with capture_logs() as lines:
        Visitors(DEBUG, counters).came(1, address)

    assert lines[0]["address"] == shown


def test_who_came_before_the_debug_level_is_known_by_address_once_told(
    visitors: Visitors,
) -> None:
    visitors.adopt(DEBUG)
    visitors.knows(1, ("192.0.2.1", 5))
    with capture_logs() as lines:
        visitors.went(1, "", sent=None, received=1000)
        visitors.went(2, "", sent=None, received=1000)

    assert [line["address"] for line in lines] == ["192.0.2.1:5", "unknown"]


def test_no_address_is_kept_of_who_is_gone_nor_at_another_level(counters: Counter[str]) -> None:
    visitors = Visitors(DEBUG, counters)
    visitors.came(1, ("192.0.2.1", 5))
    visitors.came(2, ("192.0.2.1", 6))

    visitors.went(1, "", sent=None, received=None)
    visitors.adopt(INFO)

    visitors.adopt(DEBUG)
    with capture_logs() as lines:
        visitors.logged_in(1, "123", again=False)
        visitors.logged_in(2, "123", again=False)
    assert [line["address"] for line in lines] == ["unknown", "unknown"]


# --- in sums ---


def test_where_nothing_has_happened_there_is_no_line(visitors: Visitors) -> None:
    assert said(visitors) == []

    visitors.logged_in(1, "123", again=False)
    said(visitors)

    assert said(visitors) == []  # one is there, as before


def test_a_line_has_who_is_there_and_what_has_been_since_the_last_one(
    visitors: Visitors, counters: Counter[str]
) -> None:
    visitors.logged_in(1, "123", again=False)
    visitors.logged_in(2, "456", again=False)
    visitors.logged_in(2, "456", again=True)
    visitors.refused(3, 405)
    assert said(visitors) == [
        {"sessions": 2, "logins": 3, "logouts": 0, "logins_refused_405": 1},
    ]

    visitors.logged_out(1, "123")
    visitors.refused(3, 405)
    visitors.refused(3, 400)
    for what in ("addresses_forgotten", "frames_refused_400", "messages_refused"):
        counters[what] += 7  # of nobody who was turned away
    counters["handshakes_malformed"] += 2

    assert said(visitors) == [
        {
            **{"sessions": 1, "logins": 0, "logouts": 1},
            **{"logins_refused_405": 1, "logins_refused_400": 1, "handshakes_malformed": 2},
        }
    ]


def test_a_line_is_written_at_the_interval_and_another_one_holds_at_once(
    visitors: Visitors,
) -> None:
    visitors.tick(1_000)
    visitors.logged_in(1, "123", again=False)
    with capture_logs() as early:
        visitors.tick(60_999)
    with capture_logs() as due:
        visitors.tick(61_000)
    assert (early, len(due)) == ([], 1)
    assert visitors.due_ms == 121_000

    visitors.adopt(LogSettings(visitors_s=1))
    visitors.tick(61_001)

    assert visitors.due_ms == 62_001


def test_every_answer_to_who_is_turned_away_is_in_the_sums(
    visitors: Visitors, counters: Counter[str]
) -> None:
    answers = [
        each
        for module in (door, entrance)
        for each in vars(module).values()
        if isinstance(each, Answer)
    ]
    names = {answer.counter for answer in (*answers, *entrance.ANSWERS.values())}
    names |= {"handshakes_overdue", *(bound.value for bound in Bound)}
    assert {"handshakes_malformed", "handshakes_too_large", "connections_refused"} <= names
    for name in names:
        counters[name] += 1

    [line] = said(visitors)

    assert names <= line.keys()
