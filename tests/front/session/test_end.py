"""How a session ends, and what its worker hears of it."""

from __future__ import annotations

from relay.bus.envelopes import (
    CloseSession,
    SessionOpened,
    SessionRefused,
)
from relay.errors import Refusal
from relay.protocol import frames
from tests import plain
from tests.front.session.harness import (
    FIRST_REQUEST,
    NUMBER,
    SENT_AT,
    Client,
    action,
    auth,
    last_page,
    live,
    message,
    page,
)


def test_a_session_that_no_worker_serves_any_more_is_closed(alice: Client) -> None:
    """Its worker died, and the next incarnation refuses it: it would hear of nothing any more."""
    alice.is_announced()
    alice.hears(SessionRefused(NUMBER, 500, "set aside", 0))

    assert alice.port.close_code == 1011


def test_r27_a_session_that_is_replaced_is_told_and_closed(alice: Client) -> None:
    alice.is_taken_over()

    assert alice.frames() == [["Cmd", {"type": "disconnect", "kind": "replaced"}]]
    assert alice.port.close_code == 4409
    alice.is_taken_over()


def test_nothing_is_taken_or_written_after_the_end(alice: Client) -> None:
    alice.says(action("1", "2"))
    alice.ends(1012, "shutdown", frames.DISCONNECT_SHUTDOWN)
    assert alice.frames() == [["Cmd", {"type": "disconnect", "kind": "shutdown"}]]
    assert alice.requests()[-1] == CloseSession(NUMBER)
    assert not alice.session.is_read

    after_the_end(alice)


def test_nothing_is_taken_or_written_after_the_connection_is_gone(alice: Client) -> None:
    alice.says(action("1", "2"))
    alice.is_lost()
    assert alice.requests()[-1] == CloseSession(NUMBER)

    after_the_end(alice)
    assert alice.port.closed is None


def after_the_end(client: Client) -> None:
    client.says(action("3"), auth(), b"?,,", b"?")
    client.hears(
        plain.stored(FIRST_REQUEST, SENT_AT),
        plain.refused(FIRST_REQUEST + 1, 404, "x"),
        live(message(1)),
        page(message(2), more=True),
        last_page(message(3)),
        SessionOpened(NUMBER),
        SessionRefused(NUMBER, 503, "late", 1),
    )
    client.refuses(Refusal(400, "late"))
    client.slows()
    client.drains()
    client.confirms(9)
    client.is_announced()
    client.is_overdue()
    client.ends(1000, "again")
    client.is_lost()

    assert client.frames() == []
    assert client.requests() == []
    assert not client.session.login.has_worker


def test_an_end_before_the_login_asks_no_worker(client: Client) -> None:
    client.is_lost()

    assert client.requests() == []


def test_an_end_during_the_login_takes_the_session_back(client: Client) -> None:
    client.says(auth(), action("1"))
    client.is_lost()

    assert client.requests()[-1] == CloseSession(NUMBER)
    after_the_end(client)
