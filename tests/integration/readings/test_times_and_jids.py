"""The readings of times and of jids, wherever they stand in a frame (R8 to R13)."""

import time

from tests.integration.conftest import RelaySharer
from tests.outside.client import exchange_marker
from tests.outside.frames import (
    SENT_AT,
    ack_1,
    action,
    delivery,
    element,
    group_delivery,
    group_receipt,
    near,
    receipt,
)
from tests.outside.people import Cast
from tests.outside.relay import PATIENT, Relay


def test_r08_times_come_in_as_anything_usual_and_go_out_as_ints_of_seconds(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
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
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
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
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)

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
    alice, bob = relay.logged_in(cast.alice, cast.bob)
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
    alice, bob, carol = shared_relay.logged_in(cast.alice, cast.bob, cast.carol)

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
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
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
