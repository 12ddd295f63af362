"""A second `auth` of a session that is logged in."""

from __future__ import annotations

from relay.bus.envelopes import (
    LOGIN,
    QUEUE,
    SendToUser,
    SessionOpened,
    SessionRefused,
)
from tests import plain
from tests.front.session.harness import (
    ALICE,
    AUTH_SUCCESS,
    EMPTY_Q,
    FIRST_REQUEST,
    NUMBER,
    SENT_AT,
    Client,
    ack_1,
    action,
    announced,
    auth,
    in_q,
    last_page,
    live,
    message,
    page,
    receipt,
    seen,
)


def test_a_repeated_login_gets_the_queue_again(alice: Client) -> None:
    alice.hears(live(message(1)))
    alice.says(auth())
    assert alice.requests() == [plain.open_session(NUMBER, ALICE, LOGIN, 0)]
    alice.hears(live(message(2)), SessionOpened(NUMBER), last_page(message(1), message(2)))

    first, second, answer, q_frame = alice.frames()
    assert [first, second] == seen(message(1), message(2))
    assert answer == AUTH_SUCCESS
    assert in_q(q_frame) == seen(message(1), message(2))


def test_acks_1_come_behind_the_queue_of_a_repeated_login(alice: Client) -> None:
    alice.says(action("1", "2"), auth())
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT), SessionOpened(NUMBER))
    assert alice.frames() == [ack_1("1"), AUTH_SUCCESS]

    alice.hears(plain.stored(FIRST_REQUEST + 1, SENT_AT))
    assert alice.frames() == []
    alice.hears(last_page())
    assert alice.frames() == [EMPTY_Q, ack_1("2")]


def test_a_receipt_in_the_queue_of_a_repeated_login_waits_for_its_ack_1(alice: Client) -> None:
    alice.says(action("1"), auth())
    alice.hears(live(receipt(5, "1")))
    alice.hears(
        SessionOpened(NUMBER), last_page(message(3), receipt(4, "0"), receipt(5, "1"), message(6))
    )
    answer, q_frame = alice.frames()
    assert answer == AUTH_SUCCESS
    assert in_q(q_frame) == seen(message(3), receipt(4, "0"), message(6))
    assert alice.session.deliveries.written == 4

    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1"), *seen(receipt(5, "1"))]
    assert alice.session.deliveries.written == 6


def test_nothing_counts_as_written_while_the_queue_is_being_packed(alice: Client) -> None:
    alice.says(action("1"), auth())
    alice.hears(
        SessionOpened(NUMBER), page(receipt(4, "0"), receipt(5, "1"), queue=True, more=True)
    )

    assert alice.frames() == [AUTH_SUCCESS]
    assert alice.session.deliveries.written == 0


def test_a_receipt_that_waited_before_a_repeated_login_may_be_gone_after_it(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(live(receipt(5, "1")))
    alice.says(auth())
    alice.hears(SessionOpened(NUMBER), last_page(receipt(6, "other")))
    assert alice.session.deliveries.written == 6
    alice.frames()
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1")]


def test_a_repeated_login_starts_from_the_first_entry_and_page(alice: Client) -> None:
    alice.hears(live(message(1)), page(message(2)), page(message(3)))
    alice.says(auth())
    alice.hears(SessionOpened(NUMBER))
    alice.requests()
    alice.is_announced()
    assert alice.requests() == [announced(QUEUE, 0)]
    alice.says(auth())
    alice.hears(page(message(1), queue=True, more=True))
    assert alice.requests() == [plain.ready(NUMBER, 1, 1)]


def test_a_repeated_login_forgets_what_was_asked_before_it(alice: Client) -> None:
    alice.slows()
    alice.drains()
    alice.says(auth())
    alice.requests()
    alice.hears(SessionOpened(NUMBER), last_page(), live(message(1)))

    assert alice.frames() == [AUTH_SUCCESS, EMPTY_Q, *seen(message(1))]
    alice.slows()
    assert alice.requests() == [plain.pause(NUMBER, 1)]
    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 1, 1)]


def test_what_was_written_before_a_repeated_login_must_be_written_again_to_be_confirmed(
    alice: Client,
) -> None:
    alice.hears(live(receipt(5)))
    assert alice.session.deliveries.written == 5
    alice.says(auth())
    alice.hears(SessionOpened(NUMBER))
    assert alice.session.deliveries.written == 0
    alice.hears(last_page(receipt(5)))
    assert alice.session.deliveries.written == 5


def test_a_refused_repeated_login_leaves_the_session_as_it_was(alice: Client) -> None:
    alice.says(auth(), action("1"))
    alice.requests()
    alice.hears(SessionRefused(NUMBER, 503, "later", 1))

    assert [(tag, body["code"]) for tag, body in alice.frames()] == [("auth", 503)]
    assert [type(request) for request in alice.requests()] == [SendToUser]
    alice.hears(live(message(1)))
    assert alice.frames() == seen(message(1))


def test_a_page_that_a_repeated_login_crossed_is_asked_for_again_if_that_is_refused(
    alice: Client,
) -> None:
    alice.slows()
    alice.drains()
    alice.requests()
    alice.says(auth())
    alice.hears(page(message(1)), live(message(2)))
    assert alice.frames() == []
    alice.requests()

    alice.hears(SessionRefused(NUMBER, 503, "later", 1))
    assert alice.requests() == [plain.ready(NUMBER, 0, 2)]
    alice.frames()
    alice.hears(page(message(1), message(2)))
    assert alice.frames() == seen(message(1), message(2))


def test_a_client_that_reads_again_during_its_login_does_not_disturb_it(alice: Client) -> None:
    alice.slows()
    alice.says(auth())
    alice.requests()

    alice.drains()

    assert alice.requests() == []
