"""What an author may send in a time, by whichever connection."""

from __future__ import annotations

from relay.front.senders import Senders
from tests import plain
from tests.front.session.harness import (
    BOB,
    FIRST_REQUEST,
    SENT_AT,
    Client,
    ack_1,
    action,
    error_codes,
    logged_in,
    settings_with,
)

SLOW = {"messages_per_s": 2.0, "messages_burst": 3}


def stored(client: Client, count: int) -> None:
    """Answer the client's first sends."""
    for number in range(count):
        client.hears(plain.stored(FIRST_REQUEST + number, SENT_AT))


def test_messages_beyond_the_burst_are_refused_with_the_time_to_wait_and_counted() -> None:
    alice = logged_in(quota=SLOW)
    alice.says(action("1", "2"), action("3"))
    stored(alice, 3)
    assert alice.frames() == [ack_1(message_id, BOB) for message_id in "123"]
    alice.requests()

    alice.says(action("4"), action("5", "6", "7"))

    written = alice.frames()
    assert error_codes(written) == [(429, "action", message_id) for message_id in "4567"]
    assert [body["retryAfter"] for _, body in written] == [1, 2, 2, 2]
    assert alice.requests() == []
    assert alice.port.counted == {"sends_over_quota": 4}


def test_after_that_time_they_are_taken() -> None:
    alice = logged_in(quota=SLOW)
    alice.says(action("1", "2", "3"))
    stored(alice, 3)
    alice.frames()

    alice.now_ms += 500
    alice.says(action("4"), action("5"))
    alice.hears(plain.stored(FIRST_REQUEST + 3, SENT_AT))

    assert error_codes(alice.frames()[1:]) == [(429, "action", "5")]


def test_an_action_of_more_than_a_burst_is_taken_when_nothing_was_sent_before() -> None:
    alice = logged_in(quota=SLOW)

    alice.says(action("1", "2", "3", "4", "5"))

    stored(alice, 5)
    assert len(alice.frames()) == 5
    alice.says(action("6"))
    assert error_codes(alice.frames()) == [(429, "action", "6")]


def test_another_connection_of_the_same_author_begins_where_the_last_one_ended() -> None:
    authors = Senders()
    first = logged_in(authors=authors, quota=SLOW)
    first.says(action("1", "2", "3"))
    second = logged_in(authors=authors, quota=SLOW)

    second.says(action("4"))

    assert error_codes(second.frames()) == [(429, "action", "4")]


def test_a_refused_message_is_answered_in_its_turn() -> None:
    alice = logged_in(quota=SLOW)
    alice.says(action("1", "2", "3"), action("4"))
    assert alice.frames() == []

    stored(alice, 3)

    written = alice.frames()
    assert written[:3] == [ack_1(message_id, BOB) for message_id in "123"]
    assert error_codes(written[3:]) == [(429, "action", "4")]


def test_quotas_are_adopted_by_sessions_that_are_open() -> None:
    alice = logged_in(quota={"messages_per_s": 0.0})
    alice.says(action("1", "2", "3", "4"))
    stored(alice, 4)
    assert len(alice.frames()) == 4

    alice.session.adopt(settings_with(quota=SLOW))
    alice.says(action("5", "6", "7"), action("8"))

    stored(alice, 7)
    assert error_codes(alice.frames()[3:]) == [(429, "action", "8")]
