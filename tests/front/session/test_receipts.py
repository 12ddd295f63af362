"""Receipts that wait for the ack 1 of their message, and those that must be confirmed."""

from __future__ import annotations

from relay.bus.envelopes import (
    DeliverReceipts,
    Seq,
    SessionOpened,
)
from tests import plain
from tests.front.session.harness import (
    FIRST_REQUEST,
    NUMBER,
    SENT_AT,
    Client,
    ack_1,
    action,
    auth,
    last_page,
    live,
    message,
    page,
    receipt,
    seen,
)


def test_r7_a_ping_is_asked_for_after_a_receipt_but_not_after_a_message(alice: Client) -> None:
    alice.hears(live(message(3)))
    assert (alice.port.receipts, alice.session.deliveries.written) == (0, 3)
    alice.hears(live(receipt(4)))
    assert (alice.port.receipts, alice.session.deliveries.written) == (1, 4)


def test_r7_what_is_in_the_queue_counts_once_the_queue_is_written(client: Client) -> None:
    client.says(auth())
    client.hears(SessionOpened(NUMBER), page(receipt(1), receipt(2), queue=True, more=True))
    assert (client.port.receipts, client.session.deliveries.written) == (0, 0)
    client.hears(last_page(message(3)))
    assert client.port.receipts
    assert client.session.deliveries.written == 3


def test_r7_a_receipt_that_waits_for_its_ack_1_is_not_confirmed_by_later_ones(
    alice: Client,
) -> None:
    alice.says(action("1"))
    alice.hears(live(receipt(11, "1")), live(receipt(12, "other")))
    assert alice.session.deliveries.written == 10
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))
    assert alice.session.deliveries.written == 12


def of_two(seq: int, message_id: str) -> DeliverReceipts:
    """Receipts of two members, that are one entry."""
    frames = [receipt(seq, message_id, level).frame for level in (2, 3)]
    return DeliverReceipts(NUMBER, Seq(seq), [message_id], frames)


def test_r7_receipts_that_are_one_entry_are_written_and_counted_each(alice: Client) -> None:
    alice.hears(of_two(12, "1"))

    assert alice.frames() == seen(receipt(12, "1"), receipt(12, "1", 3))
    assert (alice.port.receipts, alice.session.deliveries.written) == (2, 12)


def test_r7_receipts_that_are_one_entry_wait_for_their_ack_1_together(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(of_two(12, "1"), live(receipt(13, "other")))
    assert alice.frames() == seen(receipt(13, "other"))
    assert alice.session.deliveries.written == 11

    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1"), *seen(receipt(12, "1"), receipt(12, "1", 3))]
    assert (alice.port.receipts, alice.session.deliveries.written) == (3, 13)


def test_r7_of_receipts_that_are_one_entry_each_waits_for_its_own_ack_1(alice: Client) -> None:
    alice.says(action("1"))
    frames = [receipt(12, message_id).frame for message_id in ("0", "1", "2")]
    alice.hears(DeliverReceipts(NUMBER, Seq(12), ["0", "1", "2"], frames))

    assert alice.frames() == seen(receipt(12, "0"), receipt(12, "2"))
    assert alice.session.deliveries.written == 11
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))
    assert alice.frames() == [ack_1("1"), *seen(receipt(12, "1"))]
    assert (alice.port.receipts, alice.session.deliveries.written) == (3, 12)


def test_receipts_that_are_one_entry_stay_in_the_mailbox_of_a_slow_client(alice: Client) -> None:
    alice.hears(live(message(3)))
    alice.slows()
    assert alice.frames() == seen(message(3))

    alice.hears(of_two(12, "1"))

    assert alice.frames() == []
    assert alice.session.deliveries.written == 3


def test_r19_a_receipt_that_is_not_stored_is_never_confirmed(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(live(receipt(0, "1")), live(receipt(0, "other")))
    assert alice.frames() == seen(receipt(0, "other"))
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1"), *seen(receipt(0, "1"))]
    assert (alice.port.receipts, alice.session.deliveries.written) == (0, 0)


def test_r7_what_is_confirmed_is_passed_on_once_and_survives_the_worker(alice: Client) -> None:
    alice.confirms(0)
    assert alice.requests() == []
    alice.confirms(4)
    assert alice.requests() == alice.port.durable == [plain.confirmed(NUMBER, 4)]
    alice.confirms(4)
    assert alice.requests() == []


def test_a_workers_successor_is_told_again_what_is_confirmed(alice: Client) -> None:
    """It knows nothing of what may be evicted, and perhaps nothing new can come before it does."""
    alice.hears(live(message(4)))
    alice.confirms(4)
    alice.requests()
    alice.is_announced()
    alice.requests()

    alice.confirms(4)

    assert alice.requests() == [plain.confirmed(NUMBER, 4)]
