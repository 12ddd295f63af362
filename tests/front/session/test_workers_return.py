"""What a session announces to a worker's next incarnation."""

from __future__ import annotations

from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    QUEUE,
    SessionOpened,
)
from tests import plain
from tests.front.session.harness import (
    ALICE,
    AUTH_SUCCESS,
    EMPTY_Q,
    NOW_MS,
    NUMBER,
    Client,
    auth,
    in_q,
    last_page,
    live,
    message,
    page,
    seen,
)


def test_a_new_worker_is_told_of_a_login_that_is_not_answered(client: Client) -> None:
    client.says(auth())
    client.requests()
    client.is_announced()

    assert client.requests() == [plain.open_session(NUMBER, ALICE, LOGIN, 0)]
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]


def test_a_new_worker_goes_on_with_the_queue(client: Client) -> None:
    client.says(auth())
    client.hears(SessionOpened(NUMBER), page(message(1), queue=True, more=True))
    client.requests()
    client.is_announced()

    assert client.requests() == [plain.open_session(NUMBER, ALICE, QUEUE, 1, NOW_MS)]
    client.hears(last_page(message(2), more=True))
    assert client.requests() == [plain.ready(NUMBER, 2, 1)]
    answer, q_frame = client.frames()
    assert answer == AUTH_SUCCESS
    assert in_q(q_frame) == seen(message(1), message(2))


def test_a_new_worker_goes_on_behind_the_last_live_frame(alice: Client) -> None:
    alice.hears(live(message(1)), live(message(2)))
    alice.is_announced()

    assert alice.requests() == [plain.open_session(NUMBER, ALICE, LIVE, 2, NOW_MS)]
    alice.hears(page(message(3), more=True))
    assert alice.requests() == [plain.ready(NUMBER, 3, 1)]
    assert alice.frames() == seen(message(1), message(2), message(3))


def test_a_new_worker_is_told_that_the_client_does_not_read(alice: Client) -> None:
    alice.slows()
    alice.hears(live(message(1)))
    alice.requests()
    alice.is_announced()
    assert alice.requests() == [
        plain.open_session(NUMBER, ALICE, LIVE, 0, NOW_MS),
        plain.pause(NUMBER, 0),
    ]

    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 0, 0)]


def test_what_was_asked_of_the_old_worker_is_not_waited_for(alice: Client) -> None:
    alice.slows()
    alice.drains()
    alice.requests()
    alice.is_announced()
    alice.hears(live(message(1)))

    assert alice.requests() == [plain.open_session(NUMBER, ALICE, LIVE, 0, NOW_MS)]
    assert alice.frames() == seen(message(1))


def test_before_a_login_there_is_nothing_to_announce(client: Client) -> None:
    client.is_announced()

    assert client.requests() == []
