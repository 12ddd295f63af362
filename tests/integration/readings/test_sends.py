"""The readings of sends, and of what a session is told besides (R20 to R33)."""

import json
from typing import Any

from tests.integration.conftest import RelaySharer
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
    receipt,
)
from tests.outside.people import Cast
from tests.outside.relay import PATIENT, Relay
from tests.outside.waiting import poll_for


def test_r20_a_resend_is_acked_again_and_delivered_once_and_another_text_is_a_conflict(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob, carol = shared_relay.logged_in(cast.alice, cast.bob, cast.carol)
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
    alice, bob = relay.logged_in(cast.alice, cast.bob)

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
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)

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
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)

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
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
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
    alice, bob = relay.logged_in(cast.alice, cast.bob)
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
    alice, old = shared_relay.logged_in(cast.alice, cast.bob)
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
    eve, bob = shared_relay.logged_in(cast.eve, cast.bob)
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
    bob, carol, eve = relay.logged_in(BOB, CAROL, EVE)
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
