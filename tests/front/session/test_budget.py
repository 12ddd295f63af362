"""Frames that ask for more than a session may have under way (I7)."""

from __future__ import annotations

from typing import Any

from relay.bus.envelopes import (
    Acked,
    CloseSession,
    OpenSession,
    SendToUser,
    SessionOpened,
    ToWorker,
)
from relay.front.budget import LAST_UNITS, UNITS
from relay.front.turns import LONG_BYTES
from tests import plain
from tests.front.session.harness import (
    ALICE,
    BOB,
    CAROL,
    FIRST_REQUEST,
    NUMBER,
    SENT_AT,
    Client,
    ack_1,
    ack_frame,
    action,
    auth,
    error_codes,
    last_page,
)


def acks_of(requests: list[ToWorker]) -> list[list[str]]:
    return [request.message_ids for request in requests if isinstance(request, Acked)]


def ids(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def many(count: int) -> list[object]:
    return ["Msg", {"id": ids(count), "ack": 2, "to": ALICE, "from": BOB}]


def test_an_ack_of_many_ids_goes_on_in_pieces_in_order(alice: Client) -> None:
    alice.says(many(1000))
    seen: list[str] = []
    most = 0
    for _ in range(1000):
        pieces = acks_of(alice.requests())
        if not pieces:
            break
        seen += [message_id for piece in pieces for message_id in piece]
        most = max(most, sum(map(len, pieces)))
        alice.work_is_done()

    assert seen == ids(1000)
    assert most <= UNITS


def test_acks_of_one_id_each_are_held_once_too_many_are_not_confirmed(alice: Client) -> None:
    for message_id in ids(200):
        alice.says(ack_frame(message_id))
    first = acks_of(alice.requests())
    assert first == [[message_id] for message_id in ids(UNITS)]

    alice.work_is_done()
    second = acks_of(alice.requests())
    assert second == [[message_id] for message_id in ids(200)[UNITS : 2 * UNITS]]


def test_a_send_behind_an_ack_of_many_ids_waits_for_its_last_piece(alice: Client) -> None:
    alice.says(many(3 * UNITS), action("1"))
    for _ in range(3):
        assert sum(map(len, acks_of(alice.requests()))) == UNITS
        alice.work_is_done()

    (send,) = alice.requests()
    assert isinstance(send, SendToUser)


def test_an_action_of_many_messages_goes_on_in_pieces_in_order(alice: Client) -> None:
    alice.says(action(*ids(100)), action("last"))
    assert len(alice.requests()) == UNITS

    for number in range(101):
        alice.hears(plain.stored(FIRST_REQUEST + number, SENT_AT))

    assert alice.frames() == [ack_1(message_id) for message_id in [*ids(100), "last"]]
    assert len(alice.requests()) == 101 - UNITS


def test_sends_and_acked_ids_share_one_budget(alice: Client) -> None:
    alice.says(*[action(message_id) for message_id in ids(UNITS - 1)])
    assert len(alice.requests()) == UNITS - 1

    alice.says(many(100))

    assert sum(map(len, acks_of(alice.requests()))) <= UNITS // 2


def test_an_honest_client_is_never_held_where_its_worker_keeps_up(alice: Client) -> None:
    for message_id in ids(10 * UNITS):
        alice.says(ack_frame(message_id), action(message_id))
        alice.hears(plain.stored(FIRST_REQUEST + int(message_id), SENT_AT))
        alice.work_is_done()
        assert len(alice.requests()) == 2


def test_what_waits_when_the_client_goes_is_taken_as_far_as_a_batch_holds(alice: Client) -> None:
    alice.says(many(1000), *[many(1000)] * 5)
    assert sum(map(len, acks_of(alice.requests()))) == UNITS

    alice.is_lost()

    *last, closed = alice.requests()
    assert isinstance(closed, CloseSession)
    assert LAST_UNITS <= sum(map(len, acks_of(last))) <= LAST_UNITS + UNITS
    assert alice.port.counted["frames_of_lost_clients_dropped"] > 0


def test_a_login_behind_what_waits_is_asked_for_when_that_is_done(alice: Client) -> None:
    alice.says(many(2 * UNITS), auth())
    assert all(isinstance(request, Acked) for request in alice.requests())

    alice.work_is_done()
    assert all(isinstance(request, Acked) for request in alice.requests())
    alice.work_is_done()
    (login,) = alice.requests()
    assert isinstance(login, OpenSession)


def test_r28_refused_messages_are_strikes_by_the_dozen(alice: Client) -> None:
    for number in range(499):
        alice.says(action(str(number), to="?"))
    assert alice.port.closed is None
    assert len(alice.frames()) == 499

    alice.says(action("499", to="?"))
    assert alice.port.close_code == 1008


def test_r28_refused_messages_are_forgotten_as_strikes_are(alice: Client) -> None:
    for _ in range(10):
        alice.says(action(*ids(256), to="?"))
        alice.now_ms += 60_000

    assert alice.port.closed is None


def test_r29_each_refused_message_with_an_id_has_an_error_with_it(alice: Client) -> None:
    alice.says(action(*ids(256), to="?"))

    assert error_codes(alice.frames()) == [(400, "action", message_id) for message_id in ids(256)]


def test_refused_messages_without_an_id_have_few_errors_and_the_rest_goes_on(
    alice: Client,
) -> None:
    frame = action("good", to=CAROL)
    frame[2] = [1] * 100 + frame[2] + [{"key": {"id": ""}}] * 100

    alice.says(frame)

    assert error_codes(alice.frames()) == [(400, "action", "")] * 8
    assert [request.message_id for request in alice.requests()] == ["good"]  # type: ignore[union-attr]


def large(message_id: str) -> list[Any]:
    frame = action(message_id)
    frame[2][0]["message"]["conversation"] = "x" * LONG_BYTES
    return frame


def test_i7_a_large_frame_that_waited_has_a_turn_for_long_work_and_nothing_overtakes_it(
    alice: Client,
) -> None:
    alice.says(many(UNITS), large("1"), large("2"), action("3"))
    assert all(isinstance(request, Acked) for request in alice.requests())

    alice.work_is_done()
    assert alice.requests() == []
    alice.says(action("4"))
    assert alice.requests() == []

    sent: list[str] = []
    while alice.port.awaits_turn:
        alice.has_long_turn()
        sent.append("a turn")
        sent += [each.message_id for each in alice.requests()]  # type: ignore[union-attr]
    assert sent == ["a turn", "1", "a turn", "2", "3", "4"]


def test_a_large_frame_that_waited_for_its_turn_is_taken_when_the_client_goes(
    alice: Client,
) -> None:
    alice.says(many(UNITS), large("1"))
    alice.work_is_done()
    alice.requests()

    alice.is_lost()

    send, closed = alice.requests()
    assert isinstance(send, SendToUser)
    assert isinstance(closed, CloseSession)


def test_a_large_frame_behind_a_login_waits_for_a_turn_too(client: Client) -> None:
    client.says(auth(), large("1"), action("2"))
    client.requests()
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.requests() == []

    client.has_long_turn()
    assert [type(each) for each in client.requests()] == [SendToUser, SendToUser]
    assert not client.port.holds
