"""The readings of acks: who may, at which level, and what the author is told (R14 to R19)."""

import time

from tests.integration.conftest import RelaySharer, RelayStarter
from tests.outside.client import exchange_marker
from tests.outside.frames import (
    ALICE,
    BOB,
    SENT_AT,
    ack_1,
    delivery,
    group_receipt,
    message_id_of,
    receipt,
)
from tests.outside.people import Cast
from tests.outside.relay import PATIENT, Relay


def test_r14_only_a_recipient_acks_and_only_as_itself(shared_relay: Relay, cast: Cast) -> None:
    alice, bob, eve = shared_relay.logged_in(cast.alice, cast.bob, cast.eve)
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
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
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
    alice, bob, carol = shared_relay.logged_in(cast.alice, cast.bob, cast.carol)

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
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
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
    alice, bob = relay.logged_in(cast.alice, cast.bob)

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
    alice, bob, eve = shared_relay.logged_in(cast.alice, cast.bob, cast.eve)
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
    alice, bob, eve = shared_relay.logged_in(cast.alice, cast.bob, cast.eve)

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


def test_r19_a_flood_of_acks_of_unknown_messages_hardly_reaches_its_author(
    shared_relay: Relay, cast: Cast
) -> None:
    """A frame of 5 KB that names a thousand ids would be a thousand frames of 100 bytes."""
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    alice.send_message(cast.bob, "M")
    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    message = bob.recv()
    began_s = time.monotonic()

    ghost = receipt("", 2, author=cast.alice, by=cast.bob, t=SENT_AT)
    for number in range(20):
        ids = [f"GHOST{number}.{each}" for each in range(1000)]
        bob.send([ghost[0], {**ghost[1], "cmd": "acks", "id": ids}])
    bob.ack(message)

    relayed = 0
    while message_id_of(alice.recv()) != "M":  # its receipt goes the way of the others
        relayed += 1
    assert 100 <= relayed <= 100 + 5 * (time.monotonic() - began_s)


def test_r19_acks_of_unknown_messages_are_dropped_where_the_operator_wants_it(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[acks]\nrelay_unknown_acks = false")
    alice, bob = relay.logged_in(ALICE, BOB)

    bob.send(receipt("GHOST", 2, author=ALICE, by=BOB, t=SENT_AT))
    bob.send(group_receipt("GHOST", 2, author=ALICE, by=BOB, t=SENT_AT))

    exchange_marker(alice, bob)
