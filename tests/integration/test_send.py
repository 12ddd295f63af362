"""Sending to a user: the rules of PROTOCOL 2.3, by their numbers.

Rule 3, that ack 1 means stored, is in test_durability.py. Rule 6 needs a block list, which only an
extension can make.
"""

from tests.outside.client import exchange_marker
from tests.outside.frames import (
    ALICE,
    BOB,
    EVE,
    GROUP,
    SENT_AT,
    ack_1,
    delivery,
    element,
    message_id_of,
    receipt,
)
from tests.outside.people import Cast
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

LARGE = {"conversation": "x" * 66_000}


def test_2_3_1_add_relay_is_required_and_type_relay_is_its_alias(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)

    alice.send(["action", {"type": "relay"}, [element(cast.bob, "ALIAS")]])

    alice.expect(ack_1("ALIAS", author=cast.alice, to=cast.bob))
    bob.expect(delivery("ALIAS", author=cast.alice))
    others: tuple[object, ...] = (
        {"add": "update"},
        {"add": "Relay"},
        {"add": None},
        {"type": "set", "epoch": "1"},
        {"add": "update", "type": "set"},
        {},
        None,
        "relay",
        ["relay"],
    )
    for other in others:
        alice.send(["action", other, [element(cast.bob, "REFUSED")]])
        alice.expect_error(400, tag="action")
    alice.send(["action", [element(cast.bob, "REFUSED")]])
    alice.expect_error(400, tag="action")
    exchange_marker(alice, bob)


def test_2_3_2_of_several_faults_the_first_in_the_pipeline_is_told(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[mailbox]\nmax_entries = 1")
    alice, eve = relay.logged_in(ALICE, EVE)

    # jid before size, size before duplicate, size before group.
    alice.send_message("bob@example.com", "LARGE", LARGE)
    alice.expect_error(400, message_id="LARGE")
    alice.send_message("unknown@g.us", "LARGE", LARGE)
    alice.expect_error(413, message_id="LARGE")
    alice.send_message(BOB, "USED")
    alice.expect(ack_1("USED", author=ALICE, to=BOB))
    alice.send_message(BOB, "USED", LARGE)
    alice.expect_error(413, message_id="USED")

    # Bob's queue is full now; duplicate before quota.
    alice.send_message(BOB, "NO-ROOM")
    alice.expect_error(507, message_id="NO-ROOM")
    alice.send_message(BOB, "USED")
    alice.expect(ack_1("USED", author=ALICE, to=BOB))
    alice.send_message(BOB, "USED", {"conversation": "other"})
    alice.expect_error(409, message_id="USED")

    # Duplicate before group: alice's message was accepted while she was a member.
    alice.send_message(GROUP, "GROUP")
    alice.expect(ack_1("GROUP", author=ALICE, to=GROUP))
    relay.write_groups({GROUP: [EVE]})
    relay.reload()
    attempts = iter(range(10_000))

    def alice_is_out() -> bool:
        alice.send_message(GROUP, f"TRY{next(attempts)}")
        return bool(alice.recv()[0] == "error")

    poll_for("alice is no member any more", alice_is_out)
    alice.send_message(GROUP, "GROUP")
    alice.expect(ack_1("GROUP", author=ALICE, to=GROUP))
    alice.send_message(GROUP, "GROUP", {"conversation": "other"})
    alice.expect_error(409, message_id="GROUP")
    alice.send_message(GROUP, "NEW")
    alice.expect_error(403, message_id="NEW")
    exchange_marker(alice, eve)


def test_2_3_4_acks_1_come_in_the_order_of_sending_also_across_shards(
    shared_relay: Relay, cast: Cast
) -> None:
    alice = shared_relay.login(cast.alice)
    here, there = next(cast.others(0)), next(cast.others(1))
    sent = [(f"M{number}", (here, there)[number % 2]) for number in range(200)]

    for message_id, to in sent:
        alice.send_message(to, message_id)

    alice.expect(*(ack_1(message_id, author=cast.alice, to=to) for message_id, to in sent))


def test_2_3_4_ack_1_precedes_the_receipts_of_the_same_message(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    ids = [f"M{number}" for number in range(100)]
    for message_id in ids:
        alice.send_message(cast.bob, message_id)

    for message_id in ids:
        message = bob.recv()
        assert message == delivery(message_id, author=cast.alice)
        bob.ack(message)

    levels: dict[str, list[int]] = {message_id: [] for message_id in ids}
    for frame in alice.recv_many(2 * len(ids)):
        levels[message_id_of(frame)].append(frame[1]["ack"])
    assert all(came == [1, 2] for came in levels.values()), levels


def test_2_3_5_ack_1_is_not_queued_but_repeated_for_a_resend(
    shared_relay: Relay, cast: Cast
) -> None:
    alice = shared_relay.login(cast.alice)
    alice.send_message(cast.bob, "M")
    bob = shared_relay.login(cast.bob)
    if not bob.queued:
        bob.expect(delivery("M", author=cast.alice))
    # The connection dies before alice has read her ack.
    alice.drop()

    alice = shared_relay.login(cast.alice)

    assert alice.queued == []
    alice.send_message(cast.bob, "M")
    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    exchange_marker(alice, bob)


def test_2_3_6_the_block_list_is_an_extension_that_is_refused_and_changes_nothing(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)

    bob.send(
        [
            "action",
            {"type": "set"},
            [["block", {"type": "add"}, [["user", {"jid": cast.alice}, None]]]],
        ]
    )

    bob.expect_error(400, tag="action")
    alice.send_message(cast.bob, "M")
    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    message = bob.recv()
    assert message == delivery("M", author=cast.alice)
    bob.ack(message)
    alice.expect(receipt("M", 2, author=cast.alice, by=cast.bob, t=SENT_AT))
