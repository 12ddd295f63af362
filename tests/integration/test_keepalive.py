"""Pings, pongs and what they confirm: PROTOCOL 2.1 and R7, with shortened intervals."""

import time

import pytest

from tests.outside.client import FRAME_AFTER_S, SheetClient, exchange_marker
from tests.outside.frames import ALICE, BOB, CAROL, SENT_AT, Frame, ack_1, delivery, receipt
from tests.outside.people import Cast
from tests.outside.relay import DEBUG, Relay
from tests.outside.waiting import DEADLINE_S, poll_for, slowest_s

from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal

# Pings so far apart that none comes but those that follow a receipt.
ONLY_RECEIPT_PINGS = "[keepalive]\nping_interval_s = 3600\nreceipt_ping_s = 0.2"


def get_a_receipt(author: SheetClient, reader: SheetClient, message_id: str) -> Frame:
    author.send_message(reader.user, message_id)
    author.expect(ack_1(message_id, author=author.user, to=reader.user))
    message = reader.recv()
    assert message == delivery(message_id, author=author.user)
    reader.ack(message)
    came = author.recv()
    assert came == receipt(message_id, 2, author=author.user, by=reader.user, t=SENT_AT)
    return came


def shorten_intervals(relay: Relay, alice: SheetClient, bob: SheetClient) -> float:
    """Have the relay ping often; return how long it waits for a pong: these two are in time."""
    timeout_s = 0.5 + 10 * slowest_s(lambda: exchange_marker(alice, bob))
    intervals = f"ping_interval_s = {timeout_s / 3}\npong_timeout_s = {timeout_s}\n"
    relay.take(f"{DEBUG}[keepalive]\n{intervals}")
    return timeout_s


def test_a_keepalive_text_is_answered_with_the_servers_milliseconds(
    shared_relay: Relay, cast: Cast
) -> None:
    alice = shared_relay.login(cast.alice)

    alice.send("?,,")

    answer = alice.recv_text()
    assert answer.startswith("!")
    assert abs(int(answer[1:]) / 1000 - time.time()) < 60
    # A WebSocket ping is answered as well.
    alice.ping(b"x" * 125)
    alice.ping(b"")


def test_an_idle_session_that_answers_pings_lives_on(start_relay: RelayStarter) -> None:
    relay = start_relay(config=DEBUG)
    alice, bob = relay.logged_in(ALICE, BOB)
    shorten_intervals(relay, alice, bob)

    # Longer than it would take to be thought dead.
    for count in range(1, 7):
        alice.wait_for_pings(count)
        bob.wait_for_pings(count)

    exchange_marker(alice, bob)


def test_a_client_that_never_pongs_is_closed_and_its_receipts_wait_again(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config=DEBUG)
    bob, carol = relay.logged_in(BOB, CAROL)
    # First, for a ping that is out keeps the time that it had for its pong.
    timeout_s = shorten_intervals(relay, carol, bob)
    carol.close()
    dead = relay.login(ALICE, answer_pings=False)
    came = get_a_receipt(dead, bob, "M")
    bob.send_message(ALICE, "UNACKED")
    bob.expect(ack_1("UNACKED", author=BOB, to=ALICE))
    dead.expect(delivery("UNACKED", author=BOB))

    # Bob reads now and then, so that his pings are answered.
    def is_dead() -> bool:
        bob.expect_nothing()
        return relay.front_of(dead) is None

    deadline_s = timeout_s + DEADLINE_S
    poll_for("the front lets go of the dead connection", is_dead, deadline_s=deadline_s)

    alice = relay.login(ALICE)
    assert alice.queued == [came, delivery("UNACKED", author=BOB)]
    exchange_marker(bob, alice)


def test_r7_a_pong_and_a_later_frame_confirm_the_receipts_before_the_ping_and_no_later_ones(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config=ONLY_RECEIPT_PINGS)
    alice, bob = relay.login(ALICE, answer_pings=False), relay.login(BOB)
    first = get_a_receipt(alice, bob, "FIRST")
    alice.wait_for_pings(1)
    second = get_a_receipt(alice, bob, "SECOND")

    # No pong yet: both wait, whatever frames come.
    alice.confirm()
    alice.close()
    alice = relay.login(ALICE, answer_pings=False)
    assert alice.queued == [first, second]

    # Receipts in a `q` were written as well as live ones, so a ping follows. Its pong does not
    # reach the third, which was written after it.
    alice.wait_for_pings(1)
    third = get_a_receipt(alice, bob, "THIRD")
    alice.pong(alice.pings[0])
    alice.confirm()
    alice.close()
    alice = relay.login(ALICE, answer_pings=False)
    assert alice.queued == [third]

    # A pong that answers no ping confirms nothing.
    alice.pong(b"unasked")
    alice.pong(b"")
    alice.confirm()
    alice.close()
    alice = relay.login(ALICE)
    assert alice.queued == [third]

    # Nor does a pong alone, or with a frame that may have been on its way before it.
    alice.wait_for_pings(1)
    alice.expect_nothing()
    time.sleep(FRAME_AFTER_S)
    alice.close()
    alice = relay.login(ALICE)
    assert alice.queued == [third]

    # On a connection of its own a frame confirms nothing of an earlier one.
    alice.expect_nothing()
    alice.close()
    alice = relay.login(ALICE)
    assert alice.queued == [third]

    alice.wait_for_pings(1)
    alice.confirm()
    alice.close()
    assert relay.login(ALICE).queued == []
