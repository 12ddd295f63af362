"""Receiving and acknowledging: the rules of PROTOCOL 2.4, by their numbers."""

import time

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import (
    SENT_AT,
    ack_1,
    delivery,
    group_delivery,
    group_receipt,
    near,
    receipt,
)
from tests.outside.people import Cast, shard_of
from tests.outside.relay import Relay


def send_and_receive(author: SheetClient, to: SheetClient, message_id: str) -> list[object]:
    author.send_message(to.user, message_id)
    author.expect(ack_1(message_id, author=author.user, to=to.user))
    frame = to.recv()
    assert frame == delivery(message_id, author=author.user)
    return frame


def test_2_4_1_to_from_and_id_tell_which_delivery_an_ack_means(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob, carol = shared_relay.logged_in(cast.alice, cast.bob, cast.carol)

    # One id in a 1-1 chat and in a group: `to` decides.
    send_and_receive(alice, bob, "M")
    alice.send_message(cast.group, "M")
    alice.expect(ack_1("M", author=cast.alice, to=cast.group))
    for member in (bob, carol):
        member.expect(group_delivery("M", author=cast.alice, group=cast.group))
    bob.send(group_receipt("M", 2, author=cast.alice, by=cast.bob, t=SENT_AT, group=cast.group))
    alice.expect(group_receipt("M", 2, author=cast.alice, by=cast.bob, t=SENT_AT, group=cast.group))
    bob.close()
    bob = shared_relay.login(cast.bob)
    assert bob.queued == [delivery("M", author=cast.alice)]

    # One id from two authors: `from` decides, and where it is neither, `to` (the swapped form).
    send_and_receive(carol, bob, "M")
    bob.send(receipt("M", 2, author=cast.carol, by=cast.bob, t=SENT_AT))
    carol.expect(receipt("M", 2, author=cast.carol, by=cast.bob, t=SENT_AT))
    bob.send(receipt("M", 2, author=cast.bob, by=cast.alice, t=SENT_AT))
    alice.expect(receipt("M", 2, author=cast.alice, by=cast.bob, t=SENT_AT))
    exchange_marker(alice, bob)
    exchange_marker(carol, bob)
    bob.close()
    assert shared_relay.login(cast.bob).queued == []


def test_2_4_2_the_first_ack_ends_the_wait_and_lower_ones_are_ignored(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    frame = send_and_receive(alice, bob, "M")

    bob.ack(frame, 3)
    for level in (3, 2, "3", "2"):
        bob.ack(frame, level)
    bob.ack(frame, 4)
    for level in (4, 3, 2):
        bob.ack(frame, level)

    alice.expect(receipt("M", 3, author=cast.alice, by=cast.bob, t=SENT_AT))
    alice.expect(receipt("M", 4, author=cast.alice, by=cast.bob, t=SENT_AT))
    exchange_marker(alice, bob)
    bob.close()
    assert shared_relay.login(cast.bob).queued == []


def test_2_4_3_the_ackers_time_is_forwarded_if_it_can_be_true(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    now = int(time.time())

    kept = (SENT_AT - 200, SENT_AT, SENT_AT + 500, now, now + 200)
    for number, t in enumerate(kept):
        bob.ack(send_and_receive(alice, bob, f"KEPT{number}"), t=str(t))
        alice.expect(receipt(f"KEPT{number}", 2, author=cast.alice, by=cast.bob, t=t))

    replaced: tuple[object, ...] = (SENT_AT - 400, now + 1000, "soon", "", None, {}, True, -1)
    for number, value in enumerate(replaced):
        bob.ack(send_and_receive(alice, bob, f"SERVER{number}"), t=value)
        came = alice.recv()
        t = came[1]["t"]
        assert came == receipt(f"SERVER{number}", 2, author=cast.alice, by=cast.bob, t=t)
        assert near(t, now), (value, t)

    frame = receipt("WITHOUT", 2, author=cast.alice, by=cast.bob, t=0)
    del frame[1]["t"]
    send_and_receive(alice, bob, "WITHOUT")
    bob.send(frame)
    assert near(alice.recv()[1]["t"], now)

    # Where no message is known, neither is its time.
    bob.send(receipt("GHOST1", 2, author=cast.alice, by=cast.bob, t=1_000_000_000))
    alice.expect(receipt("GHOST1", 2, author=cast.alice, by=cast.bob, t=1_000_000_000))
    bob.send(receipt("GHOST2", 2, author=cast.alice, by=cast.bob, t=now + 1000))
    assert near(alice.recv()[1]["t"], now)


def test_2_4_4_a_read_ack_without_a_delivered_one_is_forwarded_alone(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    frame = send_and_receive(alice, bob, "M")

    bob.ack(frame, 3)

    alice.expect(receipt("M", 3, author=cast.alice, by=cast.bob, t=SENT_AT))
    exchange_marker(alice, bob)


def test_2_4_5_an_ack_has_no_reply_and_an_absent_author_gets_the_highest_level_only(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    # An author on alice's worker: its receipt comes behind hers on the same way.
    beside_alice = next(cast.others(shard_of(cast.alice)))
    alice, bob, other = shared_relay.logged_in(cast.alice, cast.bob, beside_alice)
    frame = send_and_receive(alice, bob, "M")
    alice.send_message(cast.group, "MANY")
    alice.expect(ack_1("MANY", author=cast.alice, to=cast.group))
    many = bob.recv()
    alice.close()

    for level in (2, 3):
        bob.ack(frame, level)
        bob.ack(many, level)
    bob.expect_nothing()

    exchange_marker(other, bob)
    alice = shared_relay.login(cast.alice)
    assert sorted(alice.queued) == [
        receipt("M", 3, author=cast.alice, by=cast.bob, t=SENT_AT),
        group_receipt("MANY", 3, author=cast.alice, by=cast.bob, t=SENT_AT, group=cast.group),
    ]


def test_2_4_6_a_missing_cmd_is_ack_and_others_are_refused(shared_relay: Relay, cast: Cast) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    frame = send_and_receive(alice, bob, "M")
    [tag, body] = receipt("M", 2, author=cast.alice, by=cast.bob, t=SENT_AT)

    others: tuple[object, ...] = ("nack", "ACK", "", None, 1, ["ack"])
    for other in others:
        bob.send([tag, {**body, "cmd": other}])
        bob.expect_error(400, tag="Msg")
        bob.send(["MsgInfo", {**body, "cmd": other}])
        bob.expect_error(400, tag="MsgInfo")
    bob.close()
    bob = shared_relay.login(cast.bob)
    assert bob.queued == [frame]

    del body["cmd"]
    bob.send([tag, body])

    alice.expect(receipt("M", 2, author=cast.alice, by=cast.bob, t=SENT_AT))
    exchange_marker(alice, bob)
    exchange_marker(alice, shared_relay.login(cast.eve))
