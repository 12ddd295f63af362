"""The acks of received messages, by themselves."""

import pytest

from relay.client.acks import Acks, DueAck
from relay.client.events import Level

A = ("919428284313", "919428284313", "A")
B = ("919428284313", "919428284313", "B")


@pytest.fixture
def acks() -> Acks:
    return Acks(remembered=10)


def test_a_taken_message_is_acked_until_that_was_written(acks: Acks) -> None:
    acks.take(A, Level.DELIVERED, now_s=5)

    due = acks.next()
    assert due == DueAck(A, Level.DELIVERED, 5)
    assert acks.next() is due
    acks.written(due)
    assert acks.next() is None


def test_acks_are_due_in_the_order_of_taking_and_one_that_rose_goes_last(acks: Acks) -> None:
    acks.take(A, Level.DELIVERED, now_s=1)
    acks.take(B, Level.DELIVERED, now_s=2)
    acks.take(A, Level.READ, now_s=3)

    order = []
    while due := acks.next():
        order.append((due.message, due.level))
        acks.written(due)

    assert order == [(B, Level.DELIVERED), (A, Level.READ)]


@pytest.mark.parametrize("again", [Level.DELIVERED, Level.READ])
def test_a_level_that_was_reached_before_is_not_due_again(acks: Acks, again: Level) -> None:
    acks.take(A, Level.READ, now_s=1)
    due = acks.next()
    assert due is not None
    acks.written(due)

    acks.take(A, again, now_s=2)

    assert acks.next() is None


def test_an_ack_that_rose_while_it_was_written_stays_due(acks: Acks) -> None:
    acks.take(A, Level.DELIVERED, now_s=1)
    writing = acks.next()
    assert writing is not None

    acks.take(A, Level.READ, now_s=2)
    acks.written(writing)

    assert acks.next() == DueAck(A, Level.READ, 2)


def test_a_message_that_comes_again_is_acked_again_at_its_level(acks: Acks) -> None:
    assert not acks.repeat(A, now_s=1)
    assert acks.next() is None
    acks.take(A, Level.READ, now_s=2)
    due = acks.next()
    assert due is not None
    acks.written(due)

    assert acks.repeat(A, now_s=9)

    assert acks.next() == DueAck(A, Level.READ, 9)
