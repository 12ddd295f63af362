"""The readings of PROTOCOL section 1, one test each, seen from a client's socket."""

import json
import time
from typing import Any

from tests.outside.client import exchange_marker
from tests.outside.frames import (
    ABSENT,
    ALICE,
    AUTH_SUCCESS,
    BOB,
    CAROL,
    EMPTY_Q,
    EVE,
    GROUP,
    SENT_AT,
    TEXT,
    Frame,
    ack_1,
    action,
    auth_frame,
    delivery,
    element,
    group_delivery,
    group_receipt,
    message_id_of,
    near,
    queued_in,
    receipt,
    strict_json,
)
from tests.outside.people import Cast
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelaySharer, RelayStarter

# For tests that send more bad frames than a session may.
PATIENT = "[limits]\nmalformed_frames = 1000"


def test_r01_sheet_notation_is_parsed_and_never_evaluated(shared_relay: Relay, cast: Cast) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)

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
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)
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


def test_r07_acks_end_an_action_and_pongs_end_a_receipt_and_writing_ends_neither(
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

    # The pong to the next ping confirms the receipt, and not the message.
    bob.wait_for_pings(1)
    bob.expect_nothing()
    bob.close()
    bob = shared_relay.login(cast.bob)
    assert bob.queued == [message]

    # The ack ends the message.
    bob.ack(message)
    alice.expect(receipt("FROM-ALICE", 2, author=cast.alice, by=cast.bob, t=SENT_AT))
    bob.close()
    assert shared_relay.login(cast.bob).queued == []


def test_r08_times_come_in_as_anything_usual_and_go_out_as_ints_of_seconds(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)
    spellings = (SENT_AT, str(SENT_AT), SENT_AT + 0.25, SENT_AT * 1000 + 7, f"{SENT_AT}007")

    for number, t in enumerate(spellings):
        alice.send_message(cast.bob, f"M{number}", t=t)

        alice.expect(ack_1(f"M{number}", author=cast.alice, to=cast.bob, t=SENT_AT))
        message = bob.recv()
        assert message == delivery(f"M{number}", author=cast.alice, t=SENT_AT)

        bob.ack(message, t=t)

        came = alice.recv()
        assert came == receipt(f"M{number}", 2, author=cast.alice, by=cast.bob, t=SENT_AT)
        assert type(came[1]["t"]) is int


def test_r09_the_clients_time_is_kept_if_it_is_one_and_never_orders(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)
    now = int(time.time())
    kept = (now + 200, now - 10**6, 1, SENT_AT)
    replaced: tuple[object, ...] = (now + 1000, "yesterday", "", None, True, [], {}, "12a", 10**30)

    for number, t in enumerate(kept):
        alice.send_message(cast.bob, f"KEPT{number}", t=str(t))
        alice.expect(ack_1(f"KEPT{number}", author=cast.alice, to=cast.bob, t=t))
        bob.expect(delivery(f"KEPT{number}", author=cast.alice, t=t))

    for number, value in enumerate(replaced):
        alice.send_message(cast.bob, f"SERVER{number}", t=value)
        server_time = alice.recv()[1]["t"]
        assert near(server_time, now), (value, server_time)
        bob.expect(delivery(f"SERVER{number}", author=cast.alice, t=server_time))

    without = element(cast.bob, "WITHOUT")
    del without["messageTimestamp"]
    alice.send(action(without))
    server_time = alice.recv()[1]["t"]
    assert near(server_time, now)
    bob.expect(delivery("WITHOUT", author=cast.alice, t=server_time))


def test_r10_the_time_of_ack_1_is_that_of_the_message_and_a_resend_repeats_it(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)

    alice.send_message(cast.bob, "A", t=str(SENT_AT))
    alice.expect(ack_1("A", author=cast.alice, to=cast.bob, t=SENT_AT))
    alice.send_message(cast.bob, "B", t="no time")
    [first] = alice.recv_many(1)

    alice.send_message(cast.bob, "A", t=str(SENT_AT + 5))
    alice.send_message(cast.bob, "B", t=str(SENT_AT + 5))

    alice.expect(ack_1("A", author=cast.alice, to=cast.bob, t=SENT_AT), first)
    bob.expect(
        delivery("A", author=cast.alice, t=SENT_AT),
        delivery("B", author=cast.alice, t=first[1]["t"]),
    )
    exchange_marker(alice, bob)


def test_r11_every_spelling_of_a_jid_is_one_user_and_other_texts_are_refused(
    share_relay: RelaySharer,
    cast: Cast,
) -> None:
    relay = share_relay(PATIENT)
    alice, bob = relay.login(cast.alice), relay.login(cast.bob)
    spellings = (
        f"{cast.bob}@s.whatsapp.com",
        f"{cast.bob}@s.whatsapp.net",
        f"{cast.bob}@c.us",
        f"{cast.bob}@sc.us",
        f"{cast.bob}@S.WhatsApp.COM",
        f"{cast.bob}@C.US",
        f"+{cast.bob}@c.us",
        f"{cast.bob}:17@c.us",
        f"{cast.bob}_1@c.us",
        f"{cast.bob}_1:17@s.whatsapp.net",
    )
    for number, jid in enumerate(spellings):
        alice.send_message(jid, f"M{number}")
        alice.expect(ack_1(f"M{number}", author=cast.alice, to=cast.bob))
        bob.expect(delivery(f"M{number}", author=cast.alice))
    bare = element(cast.bob, "BARE")
    bare["key"]["remoteJid"] = cast.bob
    alice.send(action(bare))
    alice.expect(ack_1("BARE", author=cast.alice, to=cast.bob))
    bob.expect(delivery("BARE", author=cast.alice))

    # Users of their own: the local part is case-sensitive, and only digits_digits has an agent.
    for user in ("Bob", "bob", "b.o-b_1", "a_1", f"{cast.bob}_a", "x" * 64, "0"):
        alice.send_message(user, "M")
        alice.expect(ack_1("M", author=cast.alice, to=user))
        assert relay.login(user).queued == [delivery("M", author=cast.alice)]

    refused = (
        f"{cast.bob}@example.com",
        f"{cast.bob}@broadcast",
        f"{cast.bob}@",
        f"{cast.bob}@c.us@c.us",
        f"{cast.bob}@c.us/x",
        f"{cast.bob}@c.us ",
        f" {cast.bob}@c.us",
        f"{cast.bob}@c.us\n",
        "@c.us",
        ".bob@c.us",
        "-bob@c.us",
        "_bob@c.us",
        "++1@c.us",
        "b b@c.us",
        "b#@c.us",
        "b*@c.us",
        "b/../b@c.us",
        "bób@c.us",
        "٣@c.us",
        "x" * 65 + "@c.us",
        "\u0000@c.us",
    )
    for jid in refused:
        alice.send_message(jid, "REFUSED")
        alice.expect_error(400, tag="action", message_id="REFUSED")
    others: tuple[object, ...] = ("", None, 5, {}, [cast.bob])
    for other in others:
        no_jid = element(cast.bob, "REFUSED")
        no_jid["key"]["remoteJid"] = other
        alice.send(action(no_jid))
        alice.expect_error(400, tag="action")
    exchange_marker(alice, bob)


def test_r12_the_domain_of_a_jid_in_output_is_fixed_by_its_position(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob, carol = (
        shared_relay.login(cast.alice),
        shared_relay.login(cast.bob),
        shared_relay.login(cast.carol),
    )

    alice.send_message(f"{cast.bob}@sc.us", "ONE")
    alice.expect(ack_1("ONE", author=cast.alice, to=cast.bob))
    one = bob.recv()
    assert one == delivery("ONE", author=cast.alice)
    bob.send(
        [
            "Msg",
            {"id": "ONE", "ack": 2, "cmd": "ack", "to": cast.bob, "t": SENT_AT, "from": cast.alice},
        ]
    )
    alice.expect(receipt("ONE", 2, author=cast.alice, by=cast.bob, t=SENT_AT))

    alice.send_message(cast.group.replace("g.us", "G.US"), "MANY")
    alice.expect(ack_1("MANY", author=cast.alice, to=cast.group))
    for member in (bob, carol):
        member.expect(group_delivery("MANY", author=cast.alice, group=cast.group))
    bob.send(
        [
            "MsgInfo",
            {"from": f"{cast.alice}@sc.us", "ack": 2, "to": cast.group, "id": "MANY", "t": SENT_AT},
        ]
    )
    alice.expect(
        group_receipt("MANY", 2, author=cast.alice, by=cast.bob, t=SENT_AT, group=cast.group)
    )


def test_r13_from_is_the_author_and_to_the_receiver_but_an_ack_may_swap_them(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)
    alice.send_message(cast.bob, "M")
    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    bob.expect(delivery("M", author=cast.alice))

    bob.send(receipt("M", 2, author=cast.bob, by=cast.alice, t=SENT_AT))

    alice.expect(receipt("M", 2, author=cast.alice, by=cast.bob, t=SENT_AT))

    # As the sheet has it where both have a message of that id.
    bob.send_message(cast.alice, "M")
    bob.expect(ack_1("M", author=cast.bob, to=cast.alice))
    alice.expect(delivery("M", author=cast.bob))
    alice.send(receipt("M", 3, author=cast.bob, by=cast.alice, t=SENT_AT))
    bob.expect(receipt("M", 3, author=cast.bob, by=cast.alice, t=SENT_AT))
    bob.send(receipt("M", 3, author=cast.alice, by=cast.bob, t=SENT_AT))
    alice.expect(receipt("M", 3, author=cast.alice, by=cast.bob, t=SENT_AT))


def test_r14_only_a_recipient_acks_and_only_as_itself(shared_relay: Relay, cast: Cast) -> None:
    alice, bob, eve = (
        shared_relay.login(cast.alice),
        shared_relay.login(cast.bob),
        shared_relay.login(cast.eve),
    )
    alice.send_message(cast.bob, "M")
    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    bob.expect(delivery("M", author=cast.alice))

    # No recipient acks, under either name; nor does the author itself.
    eve.send(receipt("M", 3, author=cast.alice, by=cast.bob, t=SENT_AT))
    eve.send(receipt("M", 3, author=cast.alice, by=cast.eve, t=SENT_AT))
    alice.send(receipt("M", 3, author=cast.alice, by=cast.bob, t=SENT_AT))
    exchange_marker(alice, eve)
    exchange_marker(bob, alice)

    # The recipient acks in the name of another, and is named itself.
    bob.send(receipt("M", 2, author=cast.alice, by=cast.eve, t=SENT_AT))
    alice.expect(receipt("M", 2, author=cast.alice, by=cast.bob, t=SENT_AT))
    exchange_marker(alice, eve)


def test_r15_the_author_sees_the_ack_in_canonical_form_without_further_keys(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)
    for to, message_id in ((cast.bob, "ONE"), (cast.group, "MANY")):
        alice.send_message(to, message_id)
        alice.expect(ack_1(message_id, author=cast.alice, to=to))
        bob.recv()
    author = f"+{cast.alice}:3@S.WHATSAPP.NET"
    extra = {"participant": cast.eve, "battery": 3, "code": 200, "fromMe": True}
    ack = {"ack": "2", "to": f"{cast.bob}@sc.us", "t": f"{SENT_AT}000", "from": author, **extra}

    bob.send(["Msg", {**ack, "id": "ONE"}])
    bob.send(["MsgInfo", {**ack, "id": "MANY", "to": cast.group}])

    # The two may cross on their way: they are of two chats.
    alice.expect_in_any_order(
        receipt("ONE", 2, author=cast.alice, by=cast.bob, t=SENT_AT),
        group_receipt("MANY", 2, author=cast.alice, by=cast.bob, t=SENT_AT, group=cast.group),
    )


def test_r16_a_group_send_gets_one_ack_1_and_a_receipt_of_each_member_and_level(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob, carol = (
        shared_relay.login(cast.alice),
        shared_relay.login(cast.bob),
        shared_relay.login(cast.carol),
    )

    alice.send_message(cast.group, "M")

    alice.expect(ack_1("M", author=cast.alice, to=cast.group))
    for member in (bob, carol):
        message = member.recv()
        for level in (2, 3, 4):
            member.ack(message, level)
            alice.expect(
                group_receipt(
                    "M", level, author=cast.alice, by=member.user, t=SENT_AT, group=cast.group
                )
            )
    alice.expect_nothing()


def test_r17_an_ack_is_routed_by_to_whatever_its_tag(shared_relay: Relay, cast: Cast) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)
    for to, message_id in ((cast.bob, "ONE"), (cast.group, "MANY")):
        alice.send_message(to, message_id)
        alice.expect(ack_1(message_id, author=cast.alice, to=to))
        bob.recv()
    _, one = receipt("ONE", 2, author=cast.alice, by=cast.bob, t=SENT_AT)
    _, many = group_receipt("MANY", 2, author=cast.alice, by=cast.bob, t=SENT_AT, group=cast.group)

    bob.send(["MsgInfo", one])
    alice.expect(["Msg", one])

    bob.send(["Msg", many])
    alice.expect(["MsgInfo", many])


def test_r18_levels_are_2_3_and_4_and_anything_else_is_refused(
    share_relay: RelaySharer,
    cast: Cast,
) -> None:
    relay = share_relay(PATIENT)
    alice, bob = relay.login(cast.alice), relay.login(cast.bob)

    levels: tuple[int | str, ...] = (2, 3, 4, "2", "3", "4")
    for number, level in enumerate(levels):
        alice.send_message(cast.bob, f"M{number}")
        alice.expect(ack_1(f"M{number}", author=cast.alice, to=cast.bob))
        bob.ack(bob.recv(), level)
        alice.expect(receipt(f"M{number}", int(level), author=cast.alice, by=cast.bob, t=SENT_AT))

    alice.send_message(cast.bob, "KEPT")
    alice.expect(ack_1("KEPT", author=cast.alice, to=cast.bob))
    message = bob.recv()
    others: tuple[object, ...] = (
        0,
        1,
        5,
        -1,
        2.5,
        "1",
        "5",
        "two",
        "",
        None,
        True,
        [2],
        {},
        10**30,
    )
    for other in others:
        bob.ack(message, other)
        bob.expect_error(400, tag="Msg")
    exchange_marker(alice, bob)

    # 3 and 4 imply 2: only what was never acked is still in the queue.
    bob.close()
    assert relay.login(cast.bob).queued == [message]


def test_r19a_an_ack_of_a_known_message_by_one_who_is_no_recipient_is_dropped(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob, eve = (
        shared_relay.login(cast.alice),
        shared_relay.login(cast.bob),
        shared_relay.login(cast.eve),
    )
    alice.send_message(cast.bob, "ONE")
    alice.send_message(cast.group, "MANY")
    alice.expect(
        ack_1("ONE", author=cast.alice, to=cast.bob),
        ack_1("MANY", author=cast.alice, to=cast.group),
    )

    for message_id in ("ONE", "MANY"):
        eve.send(receipt(message_id, 2, author=cast.alice, by=cast.bob, t=SENT_AT))
        eve.send(receipt(message_id, 2, author=cast.alice, by=cast.eve, t=SENT_AT))
        eve.send(
            group_receipt(
                message_id, 2, author=cast.alice, by=cast.bob, t=SENT_AT, group=cast.group
            )
        )
        eve.send(
            group_receipt(
                message_id, 2, author=cast.alice, by=cast.eve, t=SENT_AT, group=cast.group
            )
        )
    eve.expect_nothing()

    exchange_marker(alice, eve)
    bob.recv_many(2)
    exchange_marker(alice, bob)


def test_r19b_an_ack_of_a_wholly_unknown_message_is_relayed_live_and_not_stored(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob, eve = (
        shared_relay.login(cast.alice),
        shared_relay.login(cast.bob),
        shared_relay.login(cast.eve),
    )

    # With the acker's identity forced.
    bob.send(receipt("GHOST", 3, author=cast.alice, by=cast.eve, t=str(SENT_AT)))
    alice.expect(receipt("GHOST", 3, author=cast.alice, by=cast.bob, t=SENT_AT))
    ghost = group_receipt(
        "GHOST2", 2, author=cast.alice, by=cast.eve, t=str(SENT_AT), group=cast.group
    )
    bob.send(ghost)
    alice.expect(
        group_receipt("GHOST2", 2, author=cast.alice, by=cast.bob, t=SENT_AT, group=cast.group)
    )

    # In a group only between members.
    eve.send(
        group_receipt("GHOST3", 2, author=cast.alice, by=cast.eve, t=SENT_AT, group=cast.group)
    )
    bob.send(group_receipt("GHOST4", 2, author=cast.eve, by=cast.bob, t=SENT_AT, group=cast.group))
    bob.send(
        group_receipt("GHOST5", 2, author=cast.alice, by=cast.bob, t=SENT_AT, group="unknown@g.us")
    )
    exchange_marker(alice, eve)
    exchange_marker(eve, bob)
    exchange_marker(alice, bob)

    # Neither what came live nor what found nobody is stored.
    alice.close()
    bob.send(receipt("GHOST6", 2, author=cast.alice, by=cast.bob, t=SENT_AT))
    bob.expect_nothing()
    stored = [message_id_of(frame) for frame in shared_relay.login(cast.alice).queued]
    assert not [message_id for message_id in stored if message_id.startswith("GHOST")]


def test_r19_acks_of_unknown_messages_are_dropped_where_the_operator_wants_it(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[acks]\nrelay_unknown_acks = false")
    alice, bob = relay.login(ALICE), relay.login(BOB)

    bob.send(receipt("GHOST", 2, author=ALICE, by=BOB, t=SENT_AT))
    bob.send(group_receipt("GHOST", 2, author=ALICE, by=BOB, t=SENT_AT))

    exchange_marker(alice, bob)


def test_r20_a_resend_is_acked_again_and_delivered_once_and_another_text_is_a_conflict(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob, carol = (
        shared_relay.login(cast.alice),
        shared_relay.login(cast.bob),
        shared_relay.login(cast.carol),
    )
    message = {"conversation": "hi", "context": {"a": 1, "b": [1, 2]}}
    equal = {"context": {"b": [1, 2], "a": 1}, "conversation": "hi"}
    for to in (cast.bob, cast.group):
        alice.send_message(to, "M", message)
        alice.expect(ack_1("M", author=cast.alice, to=to))

        alice.send_message(to, "M", message)
        alice.send_message(to, "M", equal, t=str(SENT_AT + 1))
        alice.expect(ack_1("M", author=cast.alice, to=to), ack_1("M", author=cast.alice, to=to))

        alice.send_message(to, "M", {"conversation": "ho"})
        alice.expect_error(409, tag="action", message_id="M")
    bob.expect(
        delivery("M", author=cast.alice, message=message),
        group_delivery("M", author=cast.alice, message=message, group=cast.group),
    )
    carol.expect(group_delivery("M", author=cast.alice, message=message, group=cast.group))
    exchange_marker(alice, bob)
    exchange_marker(alice, carol)

    # Equal is the value, not its spelling; and large numbers differ by their last digit.
    text = json.dumps(action(element(cast.bob, "N", {"text": "A\u00e9", "n": 9007199254740993})))
    alice.send(text)
    alice.expect(ack_1("N", author=cast.alice, to=cast.bob))
    bob.recv()
    alice.send(text.replace('"A', r'"\u0041').replace('"N"', r'"\u004e"').replace(" ", "  "))
    alice.expect(ack_1("N", author=cast.alice, to=cast.bob))
    alice.send(text.replace("740993", "740992"))
    alice.expect_error(409, tag="action", message_id="N")
    exchange_marker(alice, bob)

    # The key is (author, chat, id): another chat or author makes another message.
    alice.send_message(cast.carol, "M", {"conversation": "other"})
    alice.expect(ack_1("M", author=cast.alice, to=cast.carol))
    carol.expect(delivery("M", author=cast.alice, message={"conversation": "other"}))
    carol.send_message(cast.bob, "M", {"conversation": "another"})
    carol.expect(ack_1("M", author=cast.carol, to=cast.bob))
    bob.expect(delivery("M", author=cast.carol, message={"conversation": "another"}))


def test_r21_an_id_is_any_string_of_1_to_128_characters_without_control_characters(
    share_relay: RelaySharer,
    cast: Cast,
) -> None:
    relay = share_relay(PATIENT)
    alice, bob = relay.login(cast.alice), relay.login(cast.bob)

    for message_id in ("x", "x" * 128, "é" * 128, "\U0001f600" * 128, " ", 'it\'s "me" \\ / %s'):
        alice.send_message(cast.bob, message_id)
        alice.expect(ack_1(message_id, author=cast.alice, to=cast.bob))
        message = bob.recv()
        assert message == delivery(message_id, author=cast.alice)
        bob.ack(message)
        alice.expect(receipt(message_id, 2, author=cast.alice, by=cast.bob, t=SENT_AT))

    bad: tuple[Any, ...] = ("", "x" * 129, "a\nb", "\x00", "\x7f", "\x85", 5, None, ["x"])
    for message_id in bad:
        alice.send_message(cast.bob, message_id)
        alice.expect_error(400, tag="action")
    # No UTF-8 has it: the frame may be refused before its tag is known.
    alice.send_message(cast.bob, "\ud800")
    alice.expect_error(400)
    exchange_marker(alice, bob)


def test_r22_from_me_is_ignored_on_a_send_and_false_on_delivery(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)

    for number, value in enumerate((True, False, None, "no", 0)):
        sent = element(cast.bob, f"M{number}")
        sent["key"]["fromMe"] = value
        alice.send(action(sent))
        alice.expect(ack_1(f"M{number}", author=cast.alice, to=cast.bob))
        bob.expect(delivery(f"M{number}", author=cast.alice))

    sent = element(cast.bob, "WITHOUT")
    del sent["key"]["fromMe"]
    alice.send(action(sent))
    alice.expect(ack_1("WITHOUT", author=cast.alice, to=cast.bob))
    bob.expect(delivery("WITHOUT", author=cast.alice))


def test_r23_each_message_of_one_action_has_its_own_ack_or_error(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)

    alice.send(
        action(
            element(cast.bob, "A"),
            element("bob@example.com", "B"),
            element("unknown@g.us", "C"),
            element(cast.bob, "D"),
            element(cast.bob, "A", {"conversation": "other"}),
            element(cast.bob, "E"),
        )
    )

    answers = alice.recv_many(6)
    acks = [frame for frame in answers if frame[0] == "Msg"]
    assert acks == [ack_1(message_id, author=cast.alice, to=cast.bob) for message_id in "ADE"]
    errors = {(frame[1]["id"], frame[1]["code"]) for frame in answers if frame[0] == "error"}
    assert errors == {("B", 400), ("C", 404), ("A", 409)}
    bob.expect(*(delivery(message_id, author=cast.alice) for message_id in "ADE"))
    exchange_marker(alice, bob)


def test_r24_further_keys_pass_through_but_those_that_the_server_owns(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)
    extra: dict[str, Any] = {"pushName": "Asha", "ephemeral": {"seconds": [1, None]}}
    owned = {
        "participant": f"{cast.eve}@s.whatsapp.net",
        "status": "READ",
        "messageStubType": "REVOKE",
        "messageStubParameters": ["x"],
        "broadcast": True,
    }
    for to, message_id in ((cast.bob, "ONE"), (cast.group, "MANY")):
        sent = {**element(to, message_id), **extra, **owned}
        sent["key"]["participant"] = f"{cast.eve}@s.whatsapp.net"
        alice.send(action(sent))
        alice.expect(ack_1(message_id, author=cast.alice, to=to))

    bob.expect(delivery("ONE", author=cast.alice, **extra))
    many = group_delivery("MANY", author=cast.alice, group=cast.group)
    many[2][0].update(extra)
    bob.expect(many)

    # However the key is spelled, and however often.
    for to, message_id in ((cast.bob, "ONE-MORE"), (cast.group, "MANY-MORE")):
        text = json.dumps(action({**element(to, message_id), "x": "OWNED"}))
        spellings = (r'"\u0070articipant"', '"participant"', r'"statu\u0073"', '"participant"')
        alice.send(text.replace('"x": "OWNED"', ",".join(f'{key}: "1@c.us"' for key in spellings)))
        alice.expect(ack_1(message_id, author=cast.alice, to=to))
    bob.expect(
        delivery("ONE-MORE", author=cast.alice),
        group_delivery("MANY-MORE", author=cast.alice, group=cast.group),
    )
    assert bob.last_text.count("articipant") == 1


def test_r25_message_is_any_object_that_is_not_empty_and_arrives_unchanged(
    share_relay: RelaySharer,
    cast: Cast,
) -> None:
    relay = share_relay(PATIENT)
    alice, bob = relay.login(cast.alice), relay.login(cast.bob)
    body = (
        r'{"z":1.50,"a":[ ],"big":123456789012345678901234567890,"e":1E5,"neg":-0,"":"",'
        r'"esc":"\u00e9 é \/ \ud83d\ude00 \t","deep":{"b":{"y":null,"x":[true,{}]},"a":0}}'
    )
    text = json.dumps(action(element(cast.bob, "M", "BODY"))).replace('"BODY"', body)

    alice.send(text)

    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    assert body in bob.recv_text()
    bob.close()
    bob = relay.connect()
    bob.user = cast.bob
    bob.send(auth_frame(cast.bob))
    bob.expect(AUTH_SUCCESS)
    data = bob.recv()[1]["data"]
    as_spelled: dict[str, Any] = {"parse_float": str, "parse_int": str, "object_pairs_hook": list}
    queued_element = dict(json.loads(data, **as_spelled)[1][2][0])
    assert queued_element["message"] == json.loads(body, **as_spelled)

    others: tuple[object, ...] = ({}, [], "text", 5, None, True, [TEXT])
    for other in others:
        alice.send_message(cast.bob, "BAD", other)
        alice.expect_error(400, tag="action", message_id="BAD")
    without = element(cast.bob, "BAD")
    del without["message"]
    alice.send(action(without))
    alice.expect_error(400, tag="action", message_id="BAD")
    exchange_marker(alice, bob)


def test_r26_a_recipient_never_seen_gets_its_messages_at_its_first_login(
    shared_relay: Relay, cast: Cast
) -> None:
    alice = shared_relay.login(cast.alice)

    alice.send_message(cast.bob, "M")

    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    assert shared_relay.login(cast.bob).queued == [delivery("M", author=cast.alice)]


def test_r27_the_newest_login_wins_and_the_old_session_is_told_and_closed(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, old = shared_relay.login(cast.alice), shared_relay.login(cast.bob)
    alice.send_message(cast.bob, "M")
    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    old.expect(delivery("M", author=cast.alice))

    new = shared_relay.login(f"+{cast.bob}:2@C.US")

    assert new.queued == [delivery("M", author=cast.alice)]
    old.expect(["Cmd", {"type": "disconnect", "kind": "replaced"}])
    old.expect_close(4409)
    alice.send_message(cast.bob, "LIVE")
    new.expect(delivery("LIVE", author=cast.alice))


def test_r28_a_bad_frame_gets_an_error_and_the_20th_in_a_minute_the_close(
    shared_relay: Relay, cast: Cast
) -> None:
    bad = ("x", "[]", "{}", '["nonsense", {}]', '["action"]', "[Msg]", "[5]", '["query","x"]')
    alice = shared_relay.login(cast.alice)
    for number in range(19):
        alice.send(bad[number % len(bad)])
        alice.expect_error(400)
    # Sends that fail are no malformed frames, and what is good still works.
    for _ in range(25):
        alice.send_message("unknown@g.us", "M")
        alice.expect_error(404, tag="action", message_id="M")
    exchange_marker(alice, shared_relay.login(cast.bob))

    alice.send("x")

    assert alice.wait_for_close() == 1008

    # Also before auth.
    client = shared_relay.connect()
    for _ in range(19):
        client.send(action(element(cast.bob, "M")))
        client.expect_error(401)
    client.send("x")
    assert client.wait_for_close() == 1008


def test_r29_a_failed_send_is_an_error_with_the_id_and_never_an_ack(
    shared_relay: Relay, cast: Cast
) -> None:
    eve, bob = shared_relay.login(cast.eve), shared_relay.login(cast.bob)
    eve.send_message(cast.bob, "USED", {"conversation": "first"})
    eve.expect(ack_1("USED", author=cast.eve, to=cast.bob))
    bob.recv()
    failures: tuple[tuple[int, str, str, dict[str, str]], ...] = (
        (400, "bob@example.com", "JID", TEXT),
        (400, cast.bob, "EMPTY", {}),
        (403, cast.group, "STRANGER", TEXT),
        (404, "unknown@g.us", "NOWHERE", TEXT),
        (409, cast.bob, "USED", {"conversation": "second"}),
        (413, cast.bob, "LARGE", {"conversation": "x" * 66_000}),
    )

    for code, to, message_id, message in failures:
        eve.send_message(to, message_id, message)

        eve.expect_error(code, tag="action", message_id=message_id)
    exchange_marker(eve, bob)


def test_r30_a_message_to_oneself_is_delivered_like_any_other(
    shared_relay: Relay, cast: Cast
) -> None:
    alice = shared_relay.login(cast.alice)

    alice.send_message(cast.alice, "SELF")

    message = delivery("SELF", author=cast.alice)
    alice.expect_in_any_order(ack_1("SELF", author=cast.alice, to=cast.alice), message)
    alice.ack(message)
    alice.expect(receipt("SELF", 2, author=cast.alice, by=cast.alice, t=SENT_AT))
    alice.expect_nothing()
    alice.close()
    assert [frame for frame in shared_relay.login(cast.alice).queued if frame[0] == "action"] == []


def test_r31_groups_are_provisioned_and_the_fan_out_is_fixed_at_acceptance(relay: Relay) -> None:
    alice = relay.login(ALICE)
    alice.send_message(GROUP, "BEFORE")
    alice.expect(ack_1("BEFORE", author=ALICE, to=GROUP))

    relay.write_groups({GROUP: [ALICE, CAROL, EVE]})
    relay.reload()

    eve = relay.login(EVE)
    attempts = iter(range(10_000))

    def eve_may_send() -> bool:
        eve.send_message(GROUP, f"TRY{next(attempts)}")
        return bool(eve.recv()[0] == "Msg")

    poll_for("the new member may send to the group", eve_may_send)
    eve.close()
    bob, carol, eve = relay.login(BOB), relay.login(CAROL), relay.login(EVE)
    assert bob.queued == [group_delivery("BEFORE", author=ALICE)]
    before, after = carol.queued
    assert before == group_delivery("BEFORE", author=ALICE)
    assert message_id_of(after).startswith("TRY")
    assert eve.queued == []


def test_r32_keys_come_in_the_order_of_the_sheet(shared_relay: Relay, cast: Cast) -> None:
    alice, bob = shared_relay.connect(), shared_relay.login(cast.bob)

    def keys(frame: Frame, *path: int | str) -> list[str]:
        value: Any = frame
        for step in path:
            value = value[step]
        return list(value)

    alice.user = cast.alice
    alice.send(auth_frame(cast.alice))
    assert keys(alice.recv(), 1) == ["from", "status"]
    assert keys(alice.recv(), 1) == ["data", "from"]
    alice.send_message(cast.bob, "ONE")
    assert keys(alice.recv(), 1) == ["id", "ack", "cmd", "to", "t", "from"]
    one = bob.recv()
    assert keys(one, 2, 0) == ["key", "message", "messageTimestamp"]
    assert keys(one, 2, 0, "key") == ["fromMe", "id", "remoteJid"]
    bob.ack(one)
    assert keys(alice.recv(), 1) == ["id", "ack", "cmd", "to", "t", "from"]
    alice.send_message(cast.group, "MANY")
    assert keys(alice.recv(), 1) == ["id", "ack", "cmd", "to", "t", "from"]
    many = bob.recv()
    assert keys(many, 2, 0) == ["key", "participant", "message", "messageTimestamp"]
    assert keys(many, 2, 0, "key") == ["fromMe", "id", "remoteJid"]
    bob.ack(many)
    assert keys(alice.recv(), 1) == ["from", "ack", "cmd", "to", "participant", "id", "t"]


def test_r33_a_session_without_capabilities_gets_no_keys_but_the_sheets(
    shared_relay: Relay, cast: Cast
) -> None:
    """`expect` compares key sets; here on sessions that name no or no known capability."""
    alice, bob = shared_relay.login(cast.alice), shared_relay.connect()
    bob.user = cast.bob

    bob.send(["auth", {"type": "new", "caps": ["teleport"]}, {"remoteJid": cast.bob}])

    reply = bob.recv()
    assert reply[0] == "auth"
    assert reply[1]["status"] == "success"
    assert reply[1].get("caps", []) == []
    bob.expect(EMPTY_Q)
    for to, message_id in ((cast.bob, "ONE"), (cast.group, "MANY")):
        alice.send_message(to, message_id)
        alice.expect(ack_1(message_id, author=cast.alice, to=to))
    one, many = bob.recv_many(2)
    assert one == delivery("ONE", author=cast.alice)
    assert many == group_delivery("MANY", author=cast.alice, group=cast.group)
    bob.ack(one)
    alice.expect(receipt("ONE", 2, author=cast.alice, by=cast.bob, t=SENT_AT))
    bob.ack(many)
    alice.expect(
        group_receipt("MANY", 2, author=cast.alice, by=cast.bob, t=SENT_AT, group=cast.group)
    )
    bob.send_message("unknown@g.us", "LOST")
    error = bob.expect_error(404, tag="action", message_id="LOST")
    assert error[1].keys() == {"from", "type", "code", "reason", "tag", "id"}
    bob.send("no frame")
    bob.expect_error(400, tag=ABSENT, message_id=ABSENT)
