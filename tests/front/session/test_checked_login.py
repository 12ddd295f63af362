"""A login that is checked before the worker hears of it (auth.mode other than "open")."""

from __future__ import annotations

import pytest

from relay.auth.contract import Credentials, Denied, Granted
from relay.bus.envelopes import LOGIN, SessionOpened, SessionRefused
from relay.front.output import Hold
from relay.protocol.stanza import Token
from tests import plain
from tests.front.session.harness import (
    ALICE,
    AUTH_SUCCESS,
    BOB,
    EMPTY_Q,
    FIRST_REQUEST,
    NUMBER,
    SENT_AT,
    Client,
    ack_1,
    action,
    auth,
    last_page,
    live,
    message,
    page,
    seen,
)

TOKEN_MODE = {"mode": "token"}
GRANTED = Granted(SENT_AT + 60, "t1")


def judged(client: Client, verdict: Granted | Denied) -> None:
    client.session.judged(verdict, now_ms=client.now_ms)
    client.take()


def asked(client: Client) -> Credentials | None:
    """Return what is to be checked, once."""
    out = client.session.out
    credentials, out.credentials = out.credentials, None
    return credentials


@pytest.fixture
def client() -> Client:
    return Client(auth=TOKEN_MODE)


@pytest.fixture
def alice(client: Client) -> Client:
    client.says(auth())
    assert asked(client)
    judged(client, GRANTED)
    client.hears(SessionOpened(NUMBER), last_page())
    client.requests()
    client.frames()
    return client


def test_what_the_client_shows_is_checked_and_no_worker_is_asked_before(client: Client) -> None:
    client.says(["auth", {"type": "new"}, {"remoteJid": ALICE, "token": "eyJ"}])

    assert asked(client) == Credentials(ALICE, Token("eyJ"))
    assert client.requests() == []
    assert client.port.holds & Hold.LOGIN

    judged(client, GRANTED)
    assert client.requests() == [plain.open_session(NUMBER, ALICE, LOGIN, 0)]
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]
    assert client.session.login.granted == GRANTED


def test_2_2_4_who_is_denied_hears_why_and_may_try_again(client: Client) -> None:
    client.says(auth(), action("1"))  # what is behind it waits for the answer
    judged(client, Denied(401, "no"))

    failure, error = client.frames()
    assert failure == [
        "auth",
        {"from": "backend", "status": "failure", "code": 401, "reason": "no"},
    ]
    assert error[1]["code"] == 401
    client.says(auth())
    assert asked(client) == Credentials(ALICE, None)
    judged(client, GRANTED)
    assert client.requests() == [plain.open_session(NUMBER, ALICE, LOGIN, 0)]


def test_2_2_4_the_third_denial_ends_the_session(client: Client) -> None:
    for _ in range(3):
        client.says(auth())
        judged(client, Denied(401, "no"))

    assert len(client.frames()) == 3
    assert client.port.close_code == 4401
    assert client.requests() == []


def test_traffic_goes_on_while_a_repeated_login_is_checked(alice: Client) -> None:
    alice.says(action("1"), auth(), action("2"))
    assert len(alice.requests()) == 1

    alice.hears(live(message(1)), plain.stored(FIRST_REQUEST, SENT_AT), page(message(2)))
    assert alice.frames() == [*seen(message(1)), ack_1("1"), *seen(message(2))]

    judged(alice, Denied(401, "no"))
    assert [frame[0] for frame in alice.frames()] == ["auth"]
    assert len(alice.requests()) == 1  # the second send
    assert alice.session.login.granted == GRANTED


def test_a_newer_grant_counts_once_the_worker_has_let_in(alice: Client) -> None:
    newer = Granted(SENT_AT + 600, "t2")
    alice.says(auth())
    judged(alice, newer)
    alice.hears(SessionRefused(NUMBER, 429, "too often", 5))
    assert alice.session.login.granted == GRANTED

    alice.says(auth())
    judged(alice, newer)
    alice.hears(SessionOpened(NUMBER), last_page())
    assert alice.session.login.granted == newer


def test_2_2_7_another_user_is_not_even_checked(alice: Client) -> None:
    alice.says(auth(BOB))

    assert asked(alice) is None
    assert alice.frames()[0][1]["code"] == 405


def test_a_verdict_on_a_client_that_has_gone_means_nothing(client: Client) -> None:
    client.says(auth())
    client.session.lost()

    judged(client, GRANTED)

    assert client.requests() == []
    assert client.frames() == []


def test_2_2_5_a_login_that_is_checked_for_too_long_is_over(client: Client) -> None:
    client.says(auth())
    assert asked(client)

    client.is_overdue()

    assert client.port.close_code == 4401
    judged(client, GRANTED)  # in vain
    assert client.requests() == []
    assert client.frames() == []


def test_2_2_5_one_that_the_worker_was_asked_for_is_answered(client: Client) -> None:
    client.says(auth())
    judged(client, GRANTED)

    client.is_overdue()
    client.hears(SessionOpened(NUMBER), last_page())

    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]


def test_a_check_of_another_login_ends_no_session(alice: Client) -> None:
    alice.says(auth())
    assert asked(alice)

    alice.is_overdue()

    assert alice.port.close_code is None
