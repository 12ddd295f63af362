"""What a session sends on, and the acks 1 in the order of the sends."""

from __future__ import annotations

import json
from typing import NoReturn

import pytest

from relay.bus.envelopes import (
    Acked,
    CloseSession,
    OpenSession,
    SendToGroup,
    SendToUser,
    SessionOpened,
    ToWorker,
)
from relay.front import backlog, budget
from relay.front.output import Hold
from relay.front.session import Session
from relay.protocol import frames
from relay.protocol.codec import Codec
from relay.protocol.slots import slot_of
from relay.settings.tables import Settings
from tests import plain
from tests.front.session.harness import (
    ALICE,
    BOB,
    CAROL,
    FIRST_REQUEST,
    GROUP,
    NUMBER,
    SENT_AT,
    Client,
    ack_1,
    action,
    auth,
    error_codes,
    last_page,
    live,
    message,
    page,
    receipt,
    seen,
)


def test_a_send_to_a_user_goes_to_its_worker_and_is_kept_until_answered(alice: Client) -> None:
    alice.says(action("1"))

    (send,) = alice.requests()
    assert isinstance(send, SendToUser)
    assert (send.request, send.author, send.chat) == (FIRST_REQUEST, ALICE, BOB)
    assert (send.message_id, send.time_s) == ("1", SENT_AT)
    assert json.loads(send.frame)[2][0]["key"] == {
        "fromMe": False,
        "id": "1",
        "remoteJid": f"{ALICE}@s.whatsapp.com",
    }
    assert alice.port.durable == [send]
    assert slot_of(BOB) in alice.port.slots
    assert alice.frames() == []


def test_a_send_to_a_group_goes_to_the_worker_of_the_group(alice: Client) -> None:
    alice.says(action("1", to=f"{GROUP}@g.us"))

    (send,) = alice.requests()
    assert isinstance(send, SendToGroup)
    assert (send.author, send.chat) == (ALICE, GROUP)
    assert alice.port.durable == [send]
    assert slot_of(GROUP) in alice.port.slots


def test_ack_1_says_what_was_stored(alice: Client) -> None:
    alice.says(action("1"), action("2", to=f"{GROUP}@g.us"))
    alice.hears(plain.stored(FIRST_REQUEST, 42), plain.stored(FIRST_REQUEST + 1, 43))

    in_group = frames.stored_for_group(message_id="2", author=ALICE, group=GROUP, time_s=43)
    assert alice.frames() == [ack_1("1", time_s=42), json.loads(in_group)]


def test_acks_1_are_in_the_order_of_the_sends_whatever_answers_first(alice: Client) -> None:
    alice.says(action("1", "2"), action("3", to=CAROL))
    alice.hears(plain.stored(FIRST_REQUEST + 2, SENT_AT), plain.stored(FIRST_REQUEST + 1, SENT_AT))
    assert alice.frames() == []
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1"), ack_1("2"), ack_1("3", CAROL)]


def test_errors_come_in_their_turn(alice: Client) -> None:
    faulty = action("2", to="?")[2][0]
    alice.says(["action", {"add": "relay"}, [*action("1")[2], faulty, *action("3", "4")[2]]])
    alice.hears(
        plain.refused(FIRST_REQUEST + 2, 507, "full"), plain.stored(FIRST_REQUEST + 3, SENT_AT)
    )
    assert alice.frames() == []
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    first, *errors, fourth = alice.frames()
    assert (first, fourth) == (ack_1("1"), ack_1("4"))
    assert error_codes(errors) == [(400, "action", "2"), (507, "action", "3")]


def test_an_error_with_nothing_before_it_comes_at_once(alice: Client) -> None:
    alice.says(action("1", to="?"))

    assert error_codes(alice.frames()) == [(400, "action", "1")]
    assert alice.requests() == []


def test_only_a_refusal_for_now_says_when_to_try_again(alice: Client) -> None:
    alice.says(action("1", "2"))
    alice.hears(
        plain.refused(FIRST_REQUEST, 503, "moved"), plain.refused(FIRST_REQUEST + 1, 404, "unknown")
    )

    (_, moved), (_, unknown) = alice.frames()
    assert moved["retryAfter"] >= 1
    assert "retryAfter" not in unknown


def test_answers_that_nobody_waits_for_are_ignored(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))
    alice.frames()
    alice.hears(
        plain.stored(FIRST_REQUEST, SENT_AT),
        plain.refused(FIRST_REQUEST, 404, "x"),
        plain.stored(1, 1),
    )

    assert alice.frames() == []


def test_a_receipt_never_comes_before_the_ack_1_of_its_message(alice: Client) -> None:
    alice.says(action("1", "2"))
    alice.hears(live(receipt(11, "2")), live(receipt(12, "other")), live(message(13)))
    assert alice.frames() == seen(receipt(12, "other"), message(13))
    alice.hears(plain.stored(FIRST_REQUEST + 1, SENT_AT), live(receipt(14, "2", level=3)))
    assert alice.frames() == []

    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [
        ack_1("1"),
        ack_1("2"),
        *seen(receipt(11, "2"), receipt(14, "2", level=3)),
    ]


def test_a_receipt_that_came_in_a_page_waits_for_the_ack_1_too(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(page(receipt(11, "1"), message(12)))
    assert alice.frames() == seen(message(12))
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1"), *seen(receipt(11, "1"))]


def test_with_one_id_in_two_chats_a_receipt_waits_for_both(alice: Client) -> None:
    alice.says(action("1", to=BOB), action("1", to=CAROL))
    alice.hears(live(receipt(11, "1")), plain.stored(FIRST_REQUEST, SENT_AT))
    assert alice.frames() == [ack_1("1")]
    alice.hears(live(receipt(12, "1", level=3)), plain.stored(FIRST_REQUEST + 1, SENT_AT))

    receipts = seen(receipt(11, "1"), receipt(12, "1", level=3))
    assert alice.frames() == [ack_1("1", CAROL), *receipts]


def test_a_receipt_of_a_refused_send_follows_the_error(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(live(receipt(11, "1")), plain.refused(FIRST_REQUEST, 409, "used"))

    error, *rest = alice.frames()
    assert error_codes([error]) == [(409, "action", "1")]
    assert rest == seen(receipt(11, "1"))


@pytest.fixture
def full_at_4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "UNITS", 4)
    monkeypatch.setattr(backlog, "MAX_HELD_BYTES", 1)


def ids_of(requests: list[ToWorker]) -> list[str]:
    """The ids of the messages that were asked to be stored."""
    return [request.message_id for request in requests if isinstance(request, SendToUser)]


@pytest.mark.usefixtures("full_at_4")
def test_too_many_sends_without_an_answer_hold_the_client_until_half_are_answered(
    alice: Client,
) -> None:
    alice.says(action("1", "2", "3"))
    assert not alice.port.holds
    alice.says(action("4", to="?"))
    assert not alice.port.holds
    alice.says(action("5"))
    assert alice.port.holds & Hold.PENDING

    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))
    assert alice.port.holds & Hold.PENDING
    alice.hears(plain.stored(FIRST_REQUEST + 1, SENT_AT))
    assert not alice.port.holds


@pytest.mark.usefixtures("full_at_4")
def test_what_came_behind_too_many_sends_is_taken_in_order_as_they_are_answered(
    alice: Client,
) -> None:
    for number in range(1, 9):
        alice.says(action(str(number)))
    assert ids_of(alice.requests()) == ["1", "2", "3", "4"]

    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(2)))
    assert ids_of(alice.requests()) == ["5", "6"]
    assert alice.port.holds & Hold.PENDING
    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(2, 4)))
    assert ids_of(alice.requests()) == ["7", "8"]
    assert not alice.port.holds
    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(4, 8)))
    assert not alice.port.holds
    assert alice.frames() == [ack_1(str(number), BOB) for number in range(1, 9)]


def test_a_client_with_too_many_sends_is_read_until_too_much_is_held(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its pings are answered and its pongs taken while a worker is away."""
    monkeypatch.setattr(budget, "UNITS", 4)
    alice.session.budget.room = 4
    monkeypatch.setattr(backlog, "MAX_HELD_BYTES", 2000)
    for number in range(1, 9):
        alice.says(action(str(number)))
    assert not alice.port.holds

    for number in range(9, 19):
        alice.says(action(str(number)))
    assert alice.port.holds & Hold.PENDING

    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(18)))
    assert not alice.port.holds
    assert alice.frames() == [ack_1(str(number), BOB) for number in range(1, 19)]


@pytest.mark.usefixtures("full_at_4")
def test_what_came_behind_too_many_sends_is_not_dropped_when_the_client_goes(
    alice: Client,
) -> None:
    for number in range(1, 9):
        alice.says(action(str(number)))

    alice.is_lost()

    *sends, last = alice.requests()
    assert ids_of(sends) == ["1", "2", "3", "4", "5", "6", "7", "8"]
    assert isinstance(last, CloseSession)


@pytest.mark.usefixtures("full_at_4")
def test_i7_a_fault_at_a_frame_that_waited_does_not_keep_the_session_from_ending(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 9):
        alice.says(action(str(number)))
    alice.requests()

    def fail(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Codec, "decode", fail)
    with pytest.raises(RuntimeError):
        alice.is_lost()
    alice.take()

    assert [type(request) for request in alice.requests()] == [CloseSession]
    assert not alice.session.is_read


@pytest.mark.usefixtures("full_at_4")
def test_nothing_is_taken_any_more_from_a_client_that_is_sent_away_behind_too_many_sends(
    alice: Client,
) -> None:
    for number in range(1, 9):
        alice.says(action(str(number)))

    alice.ends(1012, "shutdown")

    assert ids_of(alice.requests()) == ["1", "2", "3", "4"]


@pytest.mark.usefixtures("full_at_4")
def test_a_login_behind_too_many_sends_holds_what_follows_it(alice: Client) -> None:
    alice.says(action("1", "2", "3", "4"))
    alice.says(auth())
    alice.says(action("5"))

    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(4)))
    assert alice.port.holds & Hold.LOGIN
    assert isinstance(alice.requests()[-1], OpenSession)
    alice.hears(SessionOpened(NUMBER), last_page())

    assert ids_of(alice.requests()) == ["5"]
    assert not alice.port.holds


@pytest.mark.usefixtures("full_at_4")
def test_too_many_sends_behind_a_login_hold_the_client_too(alice: Client) -> None:
    alice.says(auth())
    for number in range(1, 7):
        alice.says(action(str(number)))
    alice.requests()

    alice.hears(SessionOpened(NUMBER), last_page())
    assert ids_of(alice.requests()) == ["1", "2", "3", "4"]
    assert alice.port.holds & Hold.PENDING
    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(4)))

    assert ids_of(alice.requests()) == ["5", "6"]
    assert not alice.port.holds


def test_sessions_never_share_a_request_number() -> None:
    first, second = Client(), Client()
    second.session = Session(NUMBER + 1, Codec(Settings().limits), Settings())
    for client in (first, second):
        client.says(auth())
        client.hears(SessionOpened(NUMBER), last_page())
        client.requests()
        client.says(action("1"))

    (one,), (other,) = first.requests(), second.requests()
    assert isinstance(one, SendToUser)
    assert isinstance(other, SendToUser)
    assert (one.request >> 32, other.request >> 32) == (NUMBER, NUMBER + 1)


def test_an_ack_goes_to_the_ackers_own_worker_and_gets_no_answer(alice: Client) -> None:
    alice.says(["Msg", {"id": "1", "ack": "3", "to": ALICE, "t": SENT_AT, "from": BOB}])
    alice.says(["MsgInfo", {"id": ["1", "2"], "ack": 2, "to": f"{GROUP}@g.us", "from": BOB}])

    asked = alice.requests()
    assert asked == [
        Acked(ALICE, ["1"], 3, BOB, False, ALICE, False, SENT_AT),
        Acked(ALICE, ["1", "2"], 2, BOB, False, GROUP, True, -1),
    ]
    assert alice.port.durable == asked
    assert alice.port.slots == {slot_of(ALICE)}
    assert alice.frames() == []
