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
    acks.take(A, Level.DELIVERED, now_s=5, held=True)

    due = acks.next()
    assert due == DueAck(A, Level.DELIVERED, 5)
    assert acks.next() is due
    acks.written(due, up=0.0)
    assert acks.next() is None


def test_acks_are_due_in_the_order_of_taking_and_one_that_rose_goes_last(acks: Acks) -> None:
    acks.take(A, Level.DELIVERED, now_s=1, held=True)
    acks.take(B, Level.DELIVERED, now_s=2, held=True)
    acks.take(A, Level.READ, now_s=3, held=True)

    order = []
    while due := acks.next():
        order.append((due.message, due.level))
        acks.written(due, up=0.0)

    assert order == [(B, Level.DELIVERED), (A, Level.READ)]


@pytest.mark.parametrize("again", [Level.DELIVERED, Level.READ])
def test_a_level_that_was_reached_before_is_not_due_again(acks: Acks, again: Level) -> None:
    acks.take(A, Level.READ, now_s=1, held=True)
    due = acks.next()
    assert due is not None
    acks.written(due, up=0.0)

    acks.take(A, again, now_s=2, held=True)

    assert acks.next() is None


def test_an_ack_that_rose_while_it_was_written_stays_due(acks: Acks) -> None:
    acks.take(A, Level.DELIVERED, now_s=1, held=True)
    writing = acks.next()
    assert writing is not None

    acks.take(A, Level.READ, now_s=2, held=True)
    acks.written(writing, up=0.0)

    assert acks.next() == DueAck(A, Level.READ, 2)


def test_a_message_that_comes_again_is_acked_again_at_its_level(acks: Acks) -> None:
    assert not acks.repeat(A, now_s=1)
    assert acks.next() is None
    acks.take(A, Level.READ, now_s=2, held=True)
    due = acks.next()
    assert due is not None
    acks.written(due, up=0.0)

    assert acks.repeat(A, now_s=9)

    assert acks.next() == DueAck(A, Level.READ, 9)


def write(acks: Acks, *, up: float) -> list[tuple[str, int]]:
    """Write what is due; return the ids and levels."""
    written = []
    while due := acks.next():
        written.append((due.message[2], int(due.level)))
        acks.written(due, up=up)
    return written


def test_an_ack_whose_message_does_not_come_again_is_repeated_by_the_next_login(
    acks: Acks,
) -> None:
    acks.take(A, Level.DELIVERED, now_s=1, held=True)
    acks.take(B, Level.READ, now_s=1, held=True)
    write(acks, up=1)
    acks.take(A, Level.READ, now_s=2, held=False)
    write(acks, up=2)

    acks.start_again()

    assert write(acks, up=3) == [("A", 3)]
    acks.start_again()
    assert write(acks, up=4) == [("A", 3)]


def test_what_was_heard_long_after_an_ack_says_that_it_has_arrived(acks: Acks) -> None:
    for message, up in ((A, 100.0), (B, 130.0)):
        acks.take(message, Level.READ, now_s=1, held=False)
        write(acks, up=up)

    acks.heard(up=160.0)
    acks.start_again()

    assert write(acks, up=161.0) == [("B", 3)]


def test_only_the_highest_level_is_repeated(acks: Acks) -> None:
    acks.take(A, Level.READ, now_s=1, held=False)
    write(acks, up=1.0)
    acks.take(A, Level.PLAYED, now_s=2, held=False)

    acks.start_again()

    assert write(acks, up=2.0) == [("A", 4)]
