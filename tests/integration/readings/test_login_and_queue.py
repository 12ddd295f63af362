"""The readings of what follows a login: the answer, `q` and what waits in it (R1 to R7)."""

from tests.outside.client import exchange_marker
from tests.outside.frames import (
    AUTH_SUCCESS,
    EMPTY_Q,
    SENT_AT,
    ack_1,
    auth_frame,
    delivery,
    queued_in,
    receipt,
    strict_json,
)
from tests.outside.people import Cast
from tests.outside.relay import Relay


def test_r01_sheet_notation_is_parsed_and_never_evaluated(shared_relay: Relay, cast: Cast) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)

    text = """[action , {'add': "relay",}, [{'message': {'conversation': "it's \\u00e9", "a": None,
        'b': [True, False, true, false, null,], 'c': 'say "hi"', 'd': 1.5,},
        'key': {'remoteJid': 'BOB@s.whatsapp.com', 'fromMe': True, 'id': 'SHEET',},
        'messageTimestamp': '1566970629',},],]"""
    alice.send(text.replace("BOB", cast.bob))

    alice.expect(ack_1("SHEET", author=cast.alice, to=cast.bob))
    message = {
        "conversation": "it's é",
        "a": None,
        "b": [True, False, True, False, None],
        "c": 'say "hi"',
        "d": 1.5,
    }
    bob.expect(delivery("SHEET", author=cast.alice, message=message))

    # Strict JSON comes first: what looks like sheet notation inside a string stays as it is.
    alice.send_message(cast.bob, "STRICT", {"conversation": "[Msg,{'a': True, None,}]"})
    alice.expect(ack_1("STRICT", author=cast.alice, to=cast.bob))
    bob.expect(
        delivery("STRICT", author=cast.alice, message={"conversation": "[Msg,{'a': True, None,}]"})
    )

    expressions = (
        "[action, {'add': 'relay'}, [__import__('os').abort()]]",
        "[action, {'add': 're' + 'lay'}, []]",
        "[action, {'add': 'relay' 'x'}, []]",
        "[action, dict(add='relay'), []]",
        "[action, {'add': f'relay'}, []]",
        "(action, {'add': 'relay'}, [])",
        "[action, {'add': 'relay'}, [x for x in ()]]",
    )
    for text in expressions:
        alice.send(text)
        alice.expect_error(400)
    exchange_marker(alice, bob)


def test_r02_nothing_is_sent_before_the_answer_to_auth(shared_relay: Relay, cast: Cast) -> None:
    client = shared_relay.connect()
    client.ping()

    client.send(auth_frame(f"{cast.alice}@s.whatsapp.com"))

    client.expect(AUTH_SUCCESS)


def test_r03_q_comes_once_after_each_auth_also_when_nothing_waits(
    shared_relay: Relay, cast: Cast
) -> None:
    client = shared_relay.connect()

    for _ in range(2):
        client.send(auth_frame(f"{cast.alice}@s.whatsapp.com"))

        client.expect(AUTH_SUCCESS, EMPTY_Q)
        client.expect_nothing()


def test_r04_the_data_of_q_begins_with_one_empty_array(shared_relay: Relay, cast: Cast) -> None:
    alice = shared_relay.login(cast.alice)
    for message_id in ("A", "B"):
        alice.send_message(cast.bob, message_id)
        alice.expect(ack_1(message_id, author=cast.alice, to=cast.bob))
    bob = shared_relay.connect()

    bob.send(auth_frame(cast.bob))

    bob.expect(AUTH_SUCCESS)
    data = strict_json(bob.recv()[1]["data"])
    assert data == [[], delivery("A", author=cast.alice), delivery("B", author=cast.alice)]


def test_r05_the_data_of_q_is_an_ascii_string_of_the_frames_as_they_would_be_sent_live(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    message = {"conversation": 'it\'s "é" \\ \U0001f600 \u2028 \x7f\n', "n": 12345678901234567890}
    alice.send_message(cast.bob, "it's", message)
    alice.expect(ack_1("it's", author=cast.alice, to=cast.bob))
    live = bob.recv()
    assert live == delivery("it's", author=cast.alice, message=message)
    bob.close()

    bob = shared_relay.connect()
    bob.send(auth_frame(cast.bob))
    bob.expect(AUTH_SUCCESS)
    q = bob.recv()

    assert queued_in(q) == [live]
    data = q[1]["data"]
    assert "\\u0027" in data
    # A client that takes the sheet's single quotes literally replaces quotes before it parses.
    assert strict_json(data.replace("'", '"')) == [[], live]


def test_r06_the_queue_holds_unacked_actions_and_unconfirmed_receipts_in_server_order(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob, answer_pings=False)
    bob.send_message(cast.alice, "FROM-BOB")
    bob.expect(ack_1("FROM-BOB", author=cast.bob, to=cast.alice))
    from_bob = alice.recv()
    alice.send_message(cast.bob, "FIRST")
    alice.expect(ack_1("FIRST", author=cast.alice, to=cast.bob))
    bob.expect(delivery("FIRST", author=cast.alice))
    alice.ack(from_bob)
    bob.expect(receipt("FROM-BOB", 2, author=cast.bob, by=cast.alice, t=SENT_AT))
    alice.send_message(cast.bob, "SECOND")
    alice.expect(ack_1("SECOND", author=cast.alice, to=cast.bob))
    bob.expect(delivery("SECOND", author=cast.alice))
    bob.close()

    bob = shared_relay.login(cast.bob)

    assert bob.queued == [
        delivery("FIRST", author=cast.alice),
        receipt("FROM-BOB", 2, author=cast.bob, by=cast.alice, t=SENT_AT),
        delivery("SECOND", author=cast.alice),
    ]


def test_r07_acks_end_an_action_pongs_and_frames_a_receipt_and_writing_ends_neither(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob, answer_pings=False)
    bob.send_message(cast.alice, "FROM-BOB")
    bob.expect(ack_1("FROM-BOB", author=cast.bob, to=cast.alice))
    alice.ack(alice.recv())
    confirmed = receipt("FROM-BOB", 2, author=cast.bob, by=cast.alice, t=SENT_AT)
    bob.expect(confirmed)
    alice.send_message(cast.bob, "FROM-ALICE")
    alice.expect(ack_1("FROM-ALICE", author=cast.alice, to=cast.bob))
    message = delivery("FROM-ALICE", author=cast.alice)
    bob.expect(message)
    bob.close()

    # Both were written to a socket, and that confirms nothing.
    bob = shared_relay.login(cast.bob)
    assert bob.queued == [confirmed, message]

    # The pong to the next ping, and a later frame, confirm the receipt and not the message.
    bob.wait_for_pings(1)
    bob.confirm()
    bob.close()
    bob = shared_relay.login(cast.bob)
    assert bob.queued == [message]

    # The ack ends the message.
    bob.ack(message)
    alice.expect(receipt("FROM-ALICE", 2, author=cast.alice, by=cast.bob, t=SENT_AT))
    bob.close()
    assert shared_relay.login(cast.bob).queued == []
