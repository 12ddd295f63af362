"""A session's login: what its client sees, in which order, and what its worker is asked."""

from __future__ import annotations

from typing import Any

import pytest

from relay.bus.envelopes import (
    LOGIN,
    Acked,
    SendToUser,
    SessionOpened,
    SessionRefused,
)
from relay.front.output import Hold
from relay.protocol.slots import slot_of
from tests import plain
from tests.front.session.harness import (
    ALICE,
    AUTH_SUCCESS,
    BOB,
    EMPTY_Q,
    NOW_MS,
    NUMBER,
    SENT_AT,
    Client,
    ack_frame,
    action,
    auth,
    error_codes,
    in_q,
    last_page,
    live,
    message,
    page,
    receipt,
    seen,
)


def test_a_login_asks_the_worker_of_the_user_and_waits(client: Client) -> None:
    client.says(auth())

    assert client.requests() == [plain.open_session(NUMBER, ALICE, LOGIN, 0)]
    assert client.port.slots == {client.session.login.slot} == {slot_of(ALICE)}
    assert not client.port.durable
    assert client.port.holds == Hold.LOGIN
    assert client.frames() == []
    assert client.session.login.has_worker
    assert not client.session.login.user


def test_auth_comes_before_q_and_q_before_live_frames(client: Client) -> None:
    client.says(auth())
    client.hears(
        SessionOpened(NUMBER), last_page(message(1), receipt(2)), live(message(3)), live(receipt(4))
    )

    answer, q_frame, *rest = client.frames()
    assert answer == AUTH_SUCCESS
    assert in_q(q_frame) == seen(message(1), receipt(2))
    assert rest == seen(message(3), receipt(4))
    assert client.session.login.user


def test_r3_an_empty_queue_is_one_q_as_well(client: Client) -> None:
    client.says(auth())
    client.hears(SessionOpened(NUMBER))
    assert client.frames() == [AUTH_SUCCESS]
    client.hears(last_page())
    assert client.frames() == [EMPTY_Q]


def test_pages_are_packed_into_one_queue(client: Client) -> None:
    client.says(auth())
    client.hears(SessionOpened(NUMBER), page(message(1), queue=True, more=True))
    client.hears(page(message(2), message(3), queue=True, more=True))
    assert client.frames() == [AUTH_SUCCESS]
    client.hears(last_page(message(4)))

    (q_frame,) = client.frames()
    assert in_q(q_frame) == seen(message(1), message(2), message(3), message(4))


def test_a_long_queue_goes_out_in_several_q_frames() -> None:
    client = Client(flow={"q_frame_bytes": 4096})
    entries = [message(seq) for seq in range(1, 101)]
    client.says(auth())
    client.hears(SessionOpened(NUMBER), page(*entries[:50], queue=True, more=True))
    early = client.frames()
    client.hears(last_page(*entries[50:]))

    assert early[0] == AUTH_SUCCESS
    assert len(early) > 1
    q_frames = early[1:] + client.frames()
    assert [frame for q_frame in q_frames for frame in in_q(q_frame)] == seen(*entries)


def test_the_next_page_is_asked_for_behind_the_last_entry(client: Client) -> None:
    client.says(auth())
    client.requests()
    client.hears(SessionOpened(NUMBER), page(message(1), message(5), queue=True, more=True))
    assert client.requests() == [plain.ready(NUMBER, 5, 1)]
    client.hears(last_page(message(6), more=True))
    assert client.requests() == [plain.ready(NUMBER, 6, 2)]
    client.hears(page(message(7), more=True))
    assert client.requests() == [plain.ready(NUMBER, 7, 3)]
    client.hears(page())
    assert client.requests() == []


def test_frames_behind_a_login_are_taken_after_the_queue_in_their_order(client: Client) -> None:
    client.says(auth(), action("1"), b"?,,", ack_frame("m1"), ["nonsense"])
    client.hears(SessionOpened(NUMBER))
    client.requests()
    client.hears(page(message(1), queue=True, more=True))
    assert client.requests() == [plain.ready(NUMBER, 1, 1)]
    assert client.port.holds == Hold.LOGIN

    client.hears(last_page())

    _, q_frame, keepalive, error = client.frames()
    assert in_q(q_frame) == seen(message(1))
    assert keepalive == b"!%d" % NOW_MS
    assert error_codes([error]) == [(400, "nonsense", "")]
    send, acked = client.requests()
    assert isinstance(send, SendToUser)
    assert isinstance(acked, Acked)
    assert not client.port.holds


def test_frames_behind_a_failed_login_are_unauthenticated(client: Client) -> None:
    client.says(auth(), action("1"))
    client.hears(SessionRefused(NUMBER, 503, "later", 1))

    failure, error = client.frames()
    assert failure[1]["code"] == 503
    assert error_codes([error]) == [(401, "action", "")]
    assert not client.port.holds


def test_logins_in_a_row_are_answered_one_after_the_other(client: Client) -> None:
    client.says(auth(), action("1"), auth(), action("2"))
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]
    first_login, send, second_login = client.requests()
    assert first_login == second_login == plain.open_session(NUMBER, ALICE, LOGIN, 0)
    assert isinstance(send, SendToUser)
    assert client.port.holds == Hold.LOGIN

    client.hears(SessionOpened(NUMBER), last_page())

    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]
    assert [type(request) for request in client.requests()] == [SendToUser]
    assert not client.port.holds


def test_a_client_is_not_read_while_its_second_login_is_answered(client: Client) -> None:
    client.says(auth(), auth())
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.port.holds == Hold.LOGIN
    client.hears(SessionOpened(NUMBER), last_page())
    assert not client.port.holds


def test_a_login_that_asks_for_extensions_is_told_what_it_got(client: Client) -> None:
    client.says(auth(type="resume", caps=["sm"]))
    client.hears(SessionOpened(NUMBER))

    ((tag, body),) = client.frames()
    session_id = body.pop("sessionId")
    assert (tag, body) == (
        "auth",
        {
            "from": "backend",
            "status": "success",
            "caps": [],
            "device": "0",
            "t": SENT_AT,
            "resumed": False,
        },
    )
    assert len(session_id) >= 8


def test_a_refused_login_may_be_tried_again(client: Client) -> None:
    client.says(auth())
    client.hears(SessionRefused(NUMBER, 429, "too many takeovers", 3))

    assert client.frames() == [
        [
            "auth",
            {
                "from": "backend",
                "status": "failure",
                "code": 429,
                "reason": "too many takeovers",
                "retryAfter": 3,
            },
        ]
    ]
    assert not client.session.login.has_worker
    assert not client.port.holds

    client.says(auth(BOB))
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]
    assert client.session.login.user == BOB


def test_the_third_failed_login_closes_the_connection(client: Client) -> None:
    bad = ["auth", {"type": "old"}, {"remoteJid": ALICE}]
    client.says(bad, bad)
    assert client.port.closed is None
    client.says(bad, auth())

    assert [body["code"] for _, body in client.frames()] == [400, 400, 400]
    assert client.port.close_code == 4401
    assert client.requests() == []


def test_a_successful_login_forgives_the_failed_ones(alice: Client) -> None:
    bad = ["auth", {"type": "old"}, {"remoteJid": ALICE}]
    alice.says(bad, bad, auth())
    alice.hears(SessionOpened(NUMBER), last_page())
    alice.says(bad, bad)

    assert alice.port.closed is None


def test_another_user_on_the_same_connection_is_refused_and_nothing_changes(alice: Client) -> None:
    alice.says(auth(BOB), action("1"))

    assert [(tag, body["code"]) for tag, body in alice.frames()] == [("auth", 405)]
    assert [type(request) for request in alice.requests()] == [SendToUser]
    assert alice.session.login.user == ALICE


def test_no_login_in_time_closes_the_connection(client: Client) -> None:
    client.is_overdue()

    assert client.port.close_code == 4401
    client.is_overdue()


def test_a_login_waits_for_a_worker_that_is_away_past_the_deadline(client: Client) -> None:
    """I9: the client has done its part."""
    client.says(auth())
    client.is_overdue()

    assert client.port.close_code is None


def test_a_login_in_time_does_not(alice: Client) -> None:
    alice.is_overdue()
    assert alice.port.closed is None


@pytest.mark.parametrize(
    ("frame", "tag"),
    [
        (action("1"), "action"),
        (["action", {}], "action"),
        (ack_frame(), "Msg"),
        (["MsgInfo", ack_frame()[1]], "MsgInfo"),
        (["Msg", {}], "Msg"),
        (["query", "exist"], "query"),
    ],
)
def test_anything_before_the_login_gets_401(client: Client, frame: Any, tag: str) -> None:
    client.says(frame)

    assert error_codes(client.frames()) == [(401, tag, "")]
    assert client.requests() == []


def test_what_is_no_frame_gets_400_before_the_login_too(client: Client) -> None:
    client.says(b"?", b"{}")

    assert error_codes(client.frames()) == [(400, "", ""), (400, "", "")]


def test_keepalives_are_answered_before_the_login(client: Client) -> None:
    client.says(b"?,,")

    assert client.frames() == [b"!%d" % NOW_MS]


def test_a_late_answer_to_a_login_is_ignored(alice: Client) -> None:
    alice.hears(SessionOpened(NUMBER), SessionRefused(NUMBER, 503, "late", 1))

    assert alice.frames() == []
