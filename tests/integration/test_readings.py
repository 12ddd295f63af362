"""The readings of PROTOCOL section 1, one test each, seen from a client's socket."""

import json
import time
from typing import Any

from .conftest import RelayStarter
from .harness import (
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
    Relay,
    ack_1,
    action,
    auth_frame,
    delivery,
    element,
    exchange_marker,
    group_delivery,
    group_receipt,
    message_id_of,
    near,
    poll_for,
    queued_in,
    receipt,
    strict_json,
)


def test_r01_sheet_notation_is_parsed_and_never_evaluated(relay: Relay) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)

    alice.send(
        """[action , {'add': "relay",}, [{'message': {'conversation': "it's \\u00e9", "a": None,
        'b': [True, False, true, false, null,], 'c': 'say "hi"', 'd': 1.5,},
        'key': {'remoteJid': '919428284313@s.whatsapp.com', 'fromMe': True, 'id': 'SHEET',},
        'messageTimestamp': '1566970629',},],]"""
    )

    alice.expect(ack_1("SHEET", author=ALICE, to=BOB))
    message = {
        "conversation": "it's é",
        "a": None,
        "b": [True, False, True, False, None],
        "c": 'say "hi"',
        "d": 1.5,
    }
    bob.expect(delivery("SHEET", author=ALICE, message=message))

    # Strict JSON comes first: what looks like sheet notation inside a string stays as it is.
    alice.send_message(BOB, "STRICT", {"conversation": "[Msg,{'a': True, None,}]"})
    alice.expect(ack_1("STRICT", author=ALICE, to=BOB))
    bob.expect(
        delivery("STRICT", author=ALICE, message={"conversation": "[Msg,{'a': True, None,}]"})
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


def test_r02_nothing_is_sent_before_the_answer_to_auth(relay: Relay) -> None:
    client = relay.connect()
    client.ping()

    client.send(auth_frame(f"{ALICE}@s.whatsapp.com"))

    client.expect(AUTH_SUCCESS)


def test_r03_q_comes_once_after_each_auth_also_when_nothing_waits(relay: Relay) -> None:
    client = relay.connect()

    for _ in range(2):
        client.send(auth_frame(f"{ALICE}@s.whatsapp.com"))

        client.expect(AUTH_SUCCESS, EMPTY_Q)
        client.expect_nothing()


def test_r04_the_data_of_q_begins_with_one_empty_array(relay: Relay) -> None:
    alice = relay.login(ALICE)
    for message_id in ("A", "B"):
        alice.send_message(BOB, message_id)
        alice.expect(ack_1(message_id, author=ALICE, to=BOB))
    bob = relay.connect()

    bob.send(auth_frame(BOB))

    bob.expect(AUTH_SUCCESS)
    data = strict_json(bob.recv()[1]["data"])
    assert data == [[], delivery("A", author=ALICE), delivery("B", author=ALICE)]


def test_r05_the_data_of_q_is_an_ascii_string_of_the_frames_as_they_would_be_sent_live(
    relay: Relay,
) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)
    message = {"conversation": 'it\'s "é" \\ \U0001f600 \u2028 \x7f\n', "n": 12345678901234567890}
    alice.send_message(BOB, "it's", message)
    alice.expect(ack_1("it's", author=ALICE, to=BOB))
    live = bob.recv()
    assert live == delivery("it's", author=ALICE, message=message)
    bob.close()

    bob = relay.connect()
    bob.send(auth_frame(BOB))
    bob.expect(AUTH_SUCCESS)
    q = bob.recv()

    assert queued_in(q) == [live]
    data = q[1]["data"]
    assert "\\u0027" in data
    # A client that takes the sheet's single quotes literally replaces quotes before it parses.
    assert strict_json(data.replace("'", '"')) == [[], live]


def test_r06_the_queue_holds_unacked_actions_and_unconfirmed_receipts_in_server_order(
    relay: Relay,
) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB, answer_pings=False)
    bob.send_message(ALICE, "FROM-BOB")
    bob.expect(ack_1("FROM-BOB", author=BOB, to=ALICE))
    from_bob = alice.recv()
    alice.send_message(BOB, "FIRST")
    alice.expect(ack_1("FIRST", author=ALICE, to=BOB))
    bob.expect(delivery("FIRST", author=ALICE))
    alice.ack(from_bob)
    bob.expect(receipt("FROM-BOB", 2, author=BOB, by=ALICE, t=SENT_AT))
    alice.send_message(BOB, "SECOND")
    alice.expect(ack_1("SECOND", author=ALICE, to=BOB))
    bob.expect(delivery("SECOND", author=ALICE))
    bob.close()

    bob = relay.login(BOB)

    assert bob.queued == [
        delivery("FIRST", author=ALICE),
        receipt("FROM-BOB", 2, author=BOB, by=ALICE, t=SENT_AT),
        delivery("SECOND", author=ALICE),
    ]


def test_r07_acks_end_an_action_and_pongs_end_a_receipt_and_writing_ends_neither(
    relay: Relay,
) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB, answer_pings=False)
    bob.send_message(ALICE, "FROM-BOB")
    bob.expect(ack_1("FROM-BOB", author=BOB, to=ALICE))
    alice.ack(alice.recv())
    confirmed = receipt("FROM-BOB", 2, author=BOB, by=ALICE, t=SENT_AT)
    bob.expect(confirmed)
    alice.send_message(BOB, "FROM-ALICE")
    alice.expect(ack_1("FROM-ALICE", author=ALICE, to=BOB))
    message = delivery("FROM-ALICE", author=ALICE)
    bob.expect(message)
    bob.close()

    # Both were written to a socket, and that confirms nothing.
    bob = relay.login(BOB)
    assert bob.queued == [confirmed, message]

    # The pong to the next ping confirms the receipt, and not the message.
    bob.wait_for_pings(1)
    bob.expect_nothing()
    bob.close()
    bob = relay.login(BOB)
    assert bob.queued == [message]

    # The ack ends the message.
    bob.ack(message)
    alice.expect(receipt("FROM-ALICE", 2, author=ALICE, by=BOB, t=SENT_AT))
    bob.close()
    assert relay.login(BOB).queued == []


def test_r08_times_come_in_as_anything_usual_and_go_out_as_ints_of_seconds(relay: Relay) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)
    spellings = (SENT_AT, str(SENT_AT), SENT_AT + 0.25, SENT_AT * 1000 + 7, f"{SENT_AT}007")

    for number, t in enumerate(spellings):
        alice.send_message(BOB, f"M{number}", t=t)

        alice.expect(ack_1(f"M{number}", author=ALICE, to=BOB, t=SENT_AT))
        message = bob.recv()
        assert message == delivery(f"M{number}", author=ALICE, t=SENT_AT)

        bob.ack(message, t=t)

        came = alice.recv()
        assert came == receipt(f"M{number}", 2, author=ALICE, by=BOB, t=SENT_AT)
        assert type(came[1]["t"]) is int


def test_r09_the_clients_time_is_kept_if_it_is_one_and_never_orders(relay: Relay) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)
    now = int(time.time())
    kept = (now + 200, now - 10**6, 1, SENT_AT)
    replaced: tuple[object, ...] = (now + 1000, "yesterday", "", None, True, [], {}, "12a", 10**30)

    for number, t in enumerate(kept):
        alice.send_message(BOB, f"KEPT{number}", t=str(t))
        alice.expect(ack_1(f"KEPT{number}", author=ALICE, to=BOB, t=t))
        bob.expect(delivery(f"KEPT{number}", author=ALICE, t=t))

    for number, value in enumerate(replaced):
        alice.send_message(BOB, f"SERVER{number}", t=value)
        server_time = alice.recv()[1]["t"]
        assert near(server_time, now), (value, server_time)
        bob.expect(delivery(f"SERVER{number}", author=ALICE, t=server_time))

    without = element(BOB, "WITHOUT")
    del without["messageTimestamp"]
    alice.send(action(without))
    server_time = alice.recv()[1]["t"]
    assert near(server_time, now)
    bob.expect(delivery("WITHOUT", author=ALICE, t=server_time))


def test_r10_the_time_of_ack_1_is_that_of_the_message_and_a_resend_repeats_it(
    relay: Relay,
) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)

    alice.send_message(BOB, "A", t=str(SENT_AT))
    alice.expect(ack_1("A", author=ALICE, to=BOB, t=SENT_AT))
    alice.send_message(BOB, "B", t="no time")
    [first] = alice.recv_many(1)

    alice.send_message(BOB, "A", t=str(SENT_AT + 5))
    alice.send_message(BOB, "B", t=str(SENT_AT + 5))

    alice.expect(ack_1("A", author=ALICE, to=BOB, t=SENT_AT), first)
    bob.expect(delivery("A", author=ALICE, t=SENT_AT), delivery("B", author=ALICE, t=first[1]["t"]))
    exchange_marker(alice, bob)


def test_r11_every_spelling_of_a_jid_is_one_user_and_other_texts_are_refused(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[limits]\nmalformed_frames = 1000")
    alice, bob = relay.login(ALICE), relay.login(BOB)
    spellings = (
        f"{BOB}@s.whatsapp.com",
        f"{BOB}@s.whatsapp.net",
        f"{BOB}@c.us",
        f"{BOB}@sc.us",
        f"{BOB}@S.WhatsApp.COM",
        f"{BOB}@C.US",
        f"+{BOB}@c.us",
        f"{BOB}:17@c.us",
        f"{BOB}_1@c.us",
        f"{BOB}_1:17@s.whatsapp.net",
    )
    for number, jid in enumerate(spellings):
        alice.send_message(jid, f"M{number}")
        alice.expect(ack_1(f"M{number}", author=ALICE, to=BOB))
        bob.expect(delivery(f"M{number}", author=ALICE))
    bare = element(BOB, "BARE")
    bare["key"]["remoteJid"] = BOB
    alice.send(action(bare))
    alice.expect(ack_1("BARE", author=ALICE, to=BOB))
    bob.expect(delivery("BARE", author=ALICE))

    # Users of their own: the local part is case-sensitive, and only digits_digits has an agent.
    for user in ("Bob", "bob", "b.o-b_1", "a_1", f"{BOB}_a", "x" * 64, "0"):
        alice.send_message(user, "M")
        alice.expect(ack_1("M", author=ALICE, to=user))
        assert relay.login(user).queued == [delivery("M", author=ALICE)]

    refused = (
        f"{BOB}@example.com",
        f"{BOB}@broadcast",
        f"{BOB}@",
        f"{BOB}@c.us@c.us",
        f"{BOB}@c.us/x",
        f"{BOB}@c.us ",
        f" {BOB}@c.us",
        f"{BOB}@c.us\n",
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
    others: tuple[object, ...] = ("", None, 5, {}, [BOB])
    for other in others:
        no_jid = element(BOB, "REFUSED")
        no_jid["key"]["remoteJid"] = other
        alice.send(action(no_jid))
        alice.expect_error(400, tag="action")
    exchange_marker(alice, bob)


def test_r12_the_domain_of_a_jid_in_output_is_fixed_by_its_position(relay: Relay) -> None:
    alice, bob, carol = relay.login(ALICE), relay.login(BOB), relay.login(CAROL)

    alice.send_message(f"{BOB}@sc.us", "ONE")
    alice.expect(ack_1("ONE", author=ALICE, to=BOB))
    one = bob.recv()
    assert one == delivery("ONE", author=ALICE)
    bob.send(["Msg", {"id": "ONE", "ack": 2, "cmd": "ack", "to": BOB, "t": SENT_AT, "from": ALICE}])
    alice.expect(receipt("ONE", 2, author=ALICE, by=BOB, t=SENT_AT))

    alice.send_message(GROUP.replace("g.us", "G.US"), "MANY")
    alice.expect(ack_1("MANY", author=ALICE, to=GROUP))
    for member in (bob, carol):
        member.expect(group_delivery("MANY", author=ALICE))
    bob.send(
        ["MsgInfo", {"from": f"{ALICE}@sc.us", "ack": 2, "to": GROUP, "id": "MANY", "t": SENT_AT}]
    )
    alice.expect(group_receipt("MANY", 2, author=ALICE, by=BOB, t=SENT_AT))


def test_r13_from_is_the_author_and_to_the_receiver_but_an_ack_may_swap_them(
    relay: Relay,
) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)
    alice.send_message(BOB, "M")
    alice.expect(ack_1("M", author=ALICE, to=BOB))
    bob.expect(delivery("M", author=ALICE))

    bob.send(receipt("M", 2, author=BOB, by=ALICE, t=SENT_AT))

    alice.expect(receipt("M", 2, author=ALICE, by=BOB, t=SENT_AT))

    # As the sheet has it where both have a message of that id.
    bob.send_message(ALICE, "M")
    bob.expect(ack_1("M", author=BOB, to=ALICE))
    alice.expect(delivery("M", author=BOB))
    alice.send(receipt("M", 3, author=BOB, by=ALICE, t=SENT_AT))
    bob.expect(receipt("M", 3, author=BOB, by=ALICE, t=SENT_AT))
    bob.send(receipt("M", 3, author=ALICE, by=BOB, t=SENT_AT))
    alice.expect(receipt("M", 3, author=ALICE, by=BOB, t=SENT_AT))


def test_r14_only_a_recipient_acks_and_only_as_itself(relay: Relay) -> None:
    alice, bob, eve = relay.login(ALICE), relay.login(BOB), relay.login(EVE)
    alice.send_message(BOB, "M")
    alice.expect(ack_1("M", author=ALICE, to=BOB))
    bob.expect(delivery("M", author=ALICE))

    # No recipient acks, under either name; nor does the author itself.
    eve.send(receipt("M", 3, author=ALICE, by=BOB, t=SENT_AT))
    eve.send(receipt("M", 3, author=ALICE, by=EVE, t=SENT_AT))
    alice.send(receipt("M", 3, author=ALICE, by=BOB, t=SENT_AT))
    exchange_marker(alice, eve)
    exchange_marker(bob, alice)

    # The recipient acks in the name of another, and is named itself.
    bob.send(receipt("M", 2, author=ALICE, by=EVE, t=SENT_AT))
    alice.expect(receipt("M", 2, author=ALICE, by=BOB, t=SENT_AT))
    exchange_marker(alice, eve)


def test_r15_the_author_sees_the_ack_in_canonical_form_without_further_keys(relay: Relay) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)
    for to, message_id in ((BOB, "ONE"), (GROUP, "MANY")):
        alice.send_message(to, message_id)
        alice.expect(ack_1(message_id, author=ALICE, to=to))
        bob.recv()
    author = f"+{ALICE}:3@S.WHATSAPP.NET"
    extra = {"participant": EVE, "battery": 3, "code": 200, "fromMe": True}
    ack = {"ack": "2", "to": f"{BOB}@sc.us", "t": f"{SENT_AT}000", "from": author, **extra}

    bob.send(["Msg", {**ack, "id": "ONE"}])
    bob.send(["MsgInfo", {**ack, "id": "MANY", "to": GROUP}])

    # The two may cross on their way: they are of two chats.
    alice.expect_in_any_order(
        receipt("ONE", 2, author=ALICE, by=BOB, t=SENT_AT),
        group_receipt("MANY", 2, author=ALICE, by=BOB, t=SENT_AT),
    )


def test_r16_a_group_send_gets_one_ack_1_and_a_receipt_of_each_member_and_level(
    relay: Relay,
) -> None:
    alice, bob, carol = relay.login(ALICE), relay.login(BOB), relay.login(CAROL)

    alice.send_message(GROUP, "M")

    alice.expect(ack_1("M", author=ALICE, to=GROUP))
    for member in (bob, carol):
        message = member.recv()
        for level in (2, 3, 4):
            member.ack(message, level)
            alice.expect(group_receipt("M", level, author=ALICE, by=member.user, t=SENT_AT))
    alice.expect_nothing()


def test_r17_an_ack_is_routed_by_to_whatever_its_tag(relay: Relay) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)
    for to, message_id in ((BOB, "ONE"), (GROUP, "MANY")):
        alice.send_message(to, message_id)
        alice.expect(ack_1(message_id, author=ALICE, to=to))
        bob.recv()
    _, one = receipt("ONE", 2, author=ALICE, by=BOB, t=SENT_AT)
    _, many = group_receipt("MANY", 2, author=ALICE, by=BOB, t=SENT_AT)

    bob.send(["MsgInfo", one])
    alice.expect(["Msg", one])

    bob.send(["Msg", many])
    alice.expect(["MsgInfo", many])


def test_r18_levels_are_2_3_and_4_and_anything_else_is_refused(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[limits]\nmalformed_frames = 1000")
    alice, bob = relay.login(ALICE), relay.login(BOB)

    levels: tuple[int | str, ...] = (2, 3, 4, "2", "3", "4")
    for number, level in enumerate(levels):
        alice.send_message(BOB, f"M{number}")
        alice.expect(ack_1(f"M{number}", author=ALICE, to=BOB))
        bob.ack(bob.recv(), level)
        alice.expect(receipt(f"M{number}", int(level), author=ALICE, by=BOB, t=SENT_AT))

    alice.send_message(BOB, "KEPT")
    alice.expect(ack_1("KEPT", author=ALICE, to=BOB))
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
    assert relay.login(BOB).queued == [message]


def test_r19a_an_ack_of_a_known_message_by_one_who_is_no_recipient_is_dropped(
    relay: Relay,
) -> None:
    alice, bob, eve = relay.login(ALICE), relay.login(BOB), relay.login(EVE)
    alice.send_message(BOB, "ONE")
    alice.send_message(GROUP, "MANY")
    alice.expect(ack_1("ONE", author=ALICE, to=BOB), ack_1("MANY", author=ALICE, to=GROUP))

    for message_id in ("ONE", "MANY"):
        eve.send(receipt(message_id, 2, author=ALICE, by=BOB, t=SENT_AT))
        eve.send(receipt(message_id, 2, author=ALICE, by=EVE, t=SENT_AT))
        eve.send(group_receipt(message_id, 2, author=ALICE, by=BOB, t=SENT_AT))
        eve.send(group_receipt(message_id, 2, author=ALICE, by=EVE, t=SENT_AT))
    eve.expect_nothing()

    exchange_marker(alice, eve)
    bob.recv_many(2)
    exchange_marker(alice, bob)


def test_r19b_an_ack_of_a_wholly_unknown_message_is_relayed_live_and_not_stored(
    relay: Relay,
) -> None:
    alice, bob, eve = relay.login(ALICE), relay.login(BOB), relay.login(EVE)

    # With the acker's identity forced.
    bob.send(receipt("GHOST", 3, author=ALICE, by=EVE, t=str(SENT_AT)))
    alice.expect(receipt("GHOST", 3, author=ALICE, by=BOB, t=SENT_AT))
    ghost = group_receipt("GHOST2", 2, author=ALICE, by=EVE, t=str(SENT_AT))
    bob.send(ghost)
    alice.expect(group_receipt("GHOST2", 2, author=ALICE, by=BOB, t=SENT_AT))

    # In a group only between members.
    eve.send(group_receipt("GHOST3", 2, author=ALICE, by=EVE, t=SENT_AT))
    bob.send(group_receipt("GHOST4", 2, author=EVE, by=BOB, t=SENT_AT))
    bob.send(group_receipt("GHOST5", 2, author=ALICE, by=BOB, t=SENT_AT, group="unknown@g.us"))
    exchange_marker(alice, eve)
    exchange_marker(eve, bob)
    exchange_marker(alice, bob)

    # Neither what came live nor what found nobody is stored.
    alice.close()
    bob.send(receipt("GHOST6", 2, author=ALICE, by=BOB, t=SENT_AT))
    bob.expect_nothing()
    stored = [message_id_of(frame) for frame in relay.login(ALICE).queued]
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
    relay: Relay,
) -> None:
    alice, bob, carol = relay.login(ALICE), relay.login(BOB), relay.login(CAROL)
    message = {"conversation": "hi", "context": {"a": 1, "b": [1, 2]}}
    equal = {"context": {"b": [1, 2], "a": 1}, "conversation": "hi"}
    for to in (BOB, GROUP):
        alice.send_message(to, "M", message)
        alice.expect(ack_1("M", author=ALICE, to=to))

        alice.send_message(to, "M", message)
        alice.send_message(to, "M", equal, t=str(SENT_AT + 1))
        alice.expect(ack_1("M", author=ALICE, to=to), ack_1("M", author=ALICE, to=to))

        alice.send_message(to, "M", {"conversation": "ho"})
        alice.expect_error(409, tag="action", message_id="M")
    bob.expect(
        delivery("M", author=ALICE, message=message),
        group_delivery("M", author=ALICE, message=message),
    )
    carol.expect(group_delivery("M", author=ALICE, message=message))
    exchange_marker(alice, bob)
    exchange_marker(alice, carol)

    # Equal is the value, not its spelling; and large numbers differ by their last digit.
    text = json.dumps(action(element(BOB, "N", {"text": "A\u00e9", "n": 9007199254740993})))
    alice.send(text)
    alice.expect(ack_1("N", author=ALICE, to=BOB))
    bob.recv()
    alice.send(text.replace('"A', r'"\u0041').replace('"N"', r'"\u004e"').replace(" ", "  "))
    alice.expect(ack_1("N", author=ALICE, to=BOB))
    alice.send(text.replace("740993", "740992"))
    alice.expect_error(409, tag="action", message_id="N")
    exchange_marker(alice, bob)

    # The key is (author, chat, id): another chat or author makes another message.
    alice.send_message(CAROL, "M", {"conversation": "other"})
    alice.expect(ack_1("M", author=ALICE, to=CAROL))
    carol.expect(delivery("M", author=ALICE, message={"conversation": "other"}))
    carol.send_message(BOB, "M", {"conversation": "another"})
    carol.expect(ack_1("M", author=CAROL, to=BOB))
    bob.expect(delivery("M", author=CAROL, message={"conversation": "another"}))


def test_r21_an_id_is_any_string_of_1_to_128_characters_without_control_characters(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[limits]\nmalformed_frames = 1000")
    alice, bob = relay.login(ALICE), relay.login(BOB)

    for message_id in ("x", "x" * 128, "é" * 128, "\U0001f600" * 128, " ", 'it\'s "me" \\ / %s'):
        alice.send_message(BOB, message_id)
        alice.expect(ack_1(message_id, author=ALICE, to=BOB))
        message = bob.recv()
        assert message == delivery(message_id, author=ALICE)
        bob.ack(message)
        alice.expect(receipt(message_id, 2, author=ALICE, by=BOB, t=SENT_AT))

    bad: tuple[Any, ...] = ("", "x" * 129, "a\nb", "\x00", "\x7f", "\x85", 5, None, ["x"])
    for message_id in bad:
        alice.send_message(BOB, message_id)
        alice.expect_error(400, tag="action")
    # No UTF-8 has it: the frame may be refused before its tag is known.
    alice.send_message(BOB, "\ud800")
    alice.expect_error(400)
    exchange_marker(alice, bob)


def test_r22_from_me_is_ignored_on_a_send_and_false_on_delivery(relay: Relay) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)

    for number, value in enumerate((True, False, None, "no", 0)):
        sent = element(BOB, f"M{number}")
        sent["key"]["fromMe"] = value
        alice.send(action(sent))
        alice.expect(ack_1(f"M{number}", author=ALICE, to=BOB))
        bob.expect(delivery(f"M{number}", author=ALICE))

    sent = element(BOB, "WITHOUT")
    del sent["key"]["fromMe"]
    alice.send(action(sent))
    alice.expect(ack_1("WITHOUT", author=ALICE, to=BOB))
    bob.expect(delivery("WITHOUT", author=ALICE))


def test_r23_each_message_of_one_action_has_its_own_ack_or_error(relay: Relay) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)

    alice.send(
        action(
            element(BOB, "A"),
            element("bob@example.com", "B"),
            element("unknown@g.us", "C"),
            element(BOB, "D"),
            element(BOB, "A", {"conversation": "other"}),
            element(BOB, "E"),
        )
    )

    answers = alice.recv_many(6)
    acks = [frame for frame in answers if frame[0] == "Msg"]
    assert acks == [ack_1(message_id, author=ALICE, to=BOB) for message_id in "ADE"]
    errors = {(frame[1]["id"], frame[1]["code"]) for frame in answers if frame[0] == "error"}
    assert errors == {("B", 400), ("C", 404), ("A", 409)}
    bob.expect(*(delivery(message_id, author=ALICE) for message_id in "ADE"))
    exchange_marker(alice, bob)


def test_r24_further_keys_pass_through_but_those_that_the_server_owns(relay: Relay) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)
    extra: dict[str, Any] = {"pushName": "Asha", "ephemeral": {"seconds": [1, None]}}
    owned = {
        "participant": f"{EVE}@s.whatsapp.net",
        "status": "READ",
        "messageStubType": "REVOKE",
        "messageStubParameters": ["x"],
        "broadcast": True,
    }
    for to, message_id in ((BOB, "ONE"), (GROUP, "MANY")):
        sent = {**element(to, message_id), **extra, **owned}
        sent["key"]["participant"] = f"{EVE}@s.whatsapp.net"
        alice.send(action(sent))
        alice.expect(ack_1(message_id, author=ALICE, to=to))

    bob.expect(delivery("ONE", author=ALICE, **extra))
    many = group_delivery("MANY", author=ALICE)
    many[2][0].update(extra)
    bob.expect(many)

    # However the key is spelled, and however often.
    for to, message_id in ((BOB, "ONE-MORE"), (GROUP, "MANY-MORE")):
        text = json.dumps(action({**element(to, message_id), "x": "OWNED"}))
        spellings = (r'"\u0070articipant"', '"participant"', r'"statu\u0073"', '"participant"')
        alice.send(text.replace('"x": "OWNED"', ",".join(f'{key}: "1@c.us"' for key in spellings)))
        alice.expect(ack_1(message_id, author=ALICE, to=to))
    bob.expect(
        delivery("ONE-MORE", author=ALICE),
        group_delivery("MANY-MORE", author=ALICE),
    )
    assert bob.last_text.count("articipant") == 1


def test_r25_message_is_any_object_that_is_not_empty_and_arrives_unchanged(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[limits]\nmalformed_frames = 1000")
    alice, bob = relay.login(ALICE), relay.login(BOB)
    body = (
        r'{"z":1.50,"a":[ ],"big":123456789012345678901234567890,"e":1E5,"neg":-0,"":"",'
        r'"esc":"\u00e9 é \/ \ud83d\ude00 \t","deep":{"b":{"y":null,"x":[true,{}]},"a":0}}'
    )
    text = json.dumps(action(element(BOB, "M", "BODY"))).replace('"BODY"', body)

    alice.send(text)

    alice.expect(ack_1("M", author=ALICE, to=BOB))
    assert body in bob.recv_text()
    bob.close()
    bob = relay.connect()
    bob.user = BOB
    bob.send(auth_frame(BOB))
    bob.expect(AUTH_SUCCESS)
    data = bob.recv()[1]["data"]
    as_spelled: dict[str, Any] = {"parse_float": str, "parse_int": str, "object_pairs_hook": list}
    queued_element = dict(json.loads(data, **as_spelled)[1][2][0])
    assert queued_element["message"] == json.loads(body, **as_spelled)

    others: tuple[object, ...] = ({}, [], "text", 5, None, True, [TEXT])
    for other in others:
        alice.send_message(BOB, "BAD", other)
        alice.expect_error(400, tag="action", message_id="BAD")
    without = element(BOB, "BAD")
    del without["message"]
    alice.send(action(without))
    alice.expect_error(400, tag="action", message_id="BAD")
    exchange_marker(alice, bob)


def test_r26_a_recipient_never_seen_gets_its_messages_at_its_first_login(relay: Relay) -> None:
    alice = relay.login(ALICE)

    alice.send_message("never.seen", "M")

    alice.expect(ack_1("M", author=ALICE, to="never.seen"))
    assert relay.login("never.seen").queued == [delivery("M", author=ALICE)]


def test_r27_the_newest_login_wins_and_the_old_session_is_told_and_closed(relay: Relay) -> None:
    alice, old = relay.login(ALICE), relay.login(BOB)
    alice.send_message(BOB, "M")
    alice.expect(ack_1("M", author=ALICE, to=BOB))
    old.expect(delivery("M", author=ALICE))

    new = relay.login(f"+{BOB}:2@C.US")

    assert new.queued == [delivery("M", author=ALICE)]
    old.expect(["Cmd", {"type": "disconnect", "kind": "replaced"}])
    old.expect_close(4409)
    alice.send_message(BOB, "LIVE")
    new.expect(delivery("LIVE", author=ALICE))


def test_r28_a_bad_frame_gets_an_error_and_the_20th_in_a_minute_the_close(relay: Relay) -> None:
    bad = ("x", "[]", "{}", '["nonsense", {}]', '["action"]', "[Msg]", "[5]", '["query","x"]')
    alice = relay.login(ALICE)
    for number in range(19):
        alice.send(bad[number % len(bad)])
        alice.expect_error(400)
    # Sends that fail are no malformed frames, and what is good still works.
    for _ in range(25):
        alice.send_message("unknown@g.us", "M")
        alice.expect_error(404, tag="action", message_id="M")
    exchange_marker(alice, relay.login(BOB))

    alice.send("x")

    assert alice.wait_for_close() == 1008

    # Also before auth.
    client = relay.connect()
    for _ in range(19):
        client.send(action(element(BOB, "M")))
        client.expect_error(401)
    client.send("x")
    assert client.wait_for_close() == 1008


def test_r29_a_failed_send_is_an_error_with_the_id_and_never_an_ack(relay: Relay) -> None:
    eve, bob = relay.login(EVE), relay.login(BOB)
    eve.send_message(BOB, "USED", {"conversation": "first"})
    eve.expect(ack_1("USED", author=EVE, to=BOB))
    bob.recv()
    failures: tuple[tuple[int, str, str, dict[str, str]], ...] = (
        (400, "bob@example.com", "JID", TEXT),
        (400, BOB, "EMPTY", {}),
        (403, GROUP, "STRANGER", TEXT),
        (404, "unknown@g.us", "NOWHERE", TEXT),
        (409, BOB, "USED", {"conversation": "second"}),
        (413, BOB, "LARGE", {"conversation": "x" * 66_000}),
    )

    for code, to, message_id, message in failures:
        eve.send_message(to, message_id, message)

        eve.expect_error(code, tag="action", message_id=message_id)
    exchange_marker(eve, bob)


def test_r30_a_message_to_oneself_is_delivered_like_any_other(relay: Relay) -> None:
    alice = relay.login(ALICE)

    alice.send_message(ALICE, "SELF")

    message = delivery("SELF", author=ALICE)
    alice.expect_in_any_order(ack_1("SELF", author=ALICE, to=ALICE), message)
    alice.ack(message)
    alice.expect(receipt("SELF", 2, author=ALICE, by=ALICE, t=SENT_AT))
    alice.expect_nothing()
    alice.close()
    assert [frame for frame in relay.login(ALICE).queued if frame[0] == "action"] == []


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


def test_r32_keys_come_in_the_order_of_the_sheet(relay: Relay) -> None:
    alice, bob = relay.connect(), relay.login(BOB)

    def keys(frame: Frame, *path: int | str) -> list[str]:
        value: Any = frame
        for step in path:
            value = value[step]
        return list(value)

    alice.user = ALICE
    alice.send(auth_frame(ALICE))
    assert keys(alice.recv(), 1) == ["from", "status"]
    assert keys(alice.recv(), 1) == ["data", "from"]
    alice.send_message(BOB, "ONE")
    assert keys(alice.recv(), 1) == ["id", "ack", "cmd", "to", "t", "from"]
    one = bob.recv()
    assert keys(one, 2, 0) == ["key", "message", "messageTimestamp"]
    assert keys(one, 2, 0, "key") == ["fromMe", "id", "remoteJid"]
    bob.ack(one)
    assert keys(alice.recv(), 1) == ["id", "ack", "cmd", "to", "t", "from"]
    alice.send_message(GROUP, "MANY")
    assert keys(alice.recv(), 1) == ["id", "ack", "cmd", "to", "t", "from"]
    many = bob.recv()
    assert keys(many, 2, 0) == ["key", "participant", "message", "messageTimestamp"]
    assert keys(many, 2, 0, "key") == ["fromMe", "id", "remoteJid"]
    bob.ack(many)
    assert keys(alice.recv(), 1) == ["from", "ack", "cmd", "to", "participant", "id", "t"]


def test_r33_a_session_without_capabilities_gets_no_keys_but_the_sheets(relay: Relay) -> None:
    """`expect` compares key sets; here on sessions that name no or no known capability."""
    alice, bob = relay.login(ALICE), relay.connect()
    bob.user = BOB

    bob.send(["auth", {"type": "new", "caps": ["teleport"]}, {"remoteJid": BOB}])

    reply = bob.recv()
    assert reply[0] == "auth"
    assert reply[1]["status"] == "success"
    assert reply[1].get("caps", []) == []
    bob.expect(EMPTY_Q)
    for to, message_id in ((BOB, "ONE"), (GROUP, "MANY")):
        alice.send_message(to, message_id)
        alice.expect(ack_1(message_id, author=ALICE, to=to))
    one, many = bob.recv_many(2)
    assert one == delivery("ONE", author=ALICE)
    assert many == group_delivery("MANY", author=ALICE)
    bob.ack(one)
    alice.expect(receipt("ONE", 2, author=ALICE, by=BOB, t=SENT_AT))
    bob.ack(many)
    alice.expect(group_receipt("MANY", 2, author=ALICE, by=BOB, t=SENT_AT))
    bob.send_message("unknown@g.us", "LOST")
    error = bob.expect_error(404, tag="action", message_id="LOST")
    assert error[1].keys() == {"from", "type", "code", "reason", "tag", "id"}
    bob.send("no frame")
    bob.expect_error(400, tag=ABSENT, message_id=ABSENT)
