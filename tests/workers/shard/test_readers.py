"""Readers: found by connection and by user; how far each has read."""

import pytest

from workers.shard.mailbox import Mailbox
from workers.shard.readers import Reader, Readers
from workers.store.keys import box_of

FRONT, OTHER_FRONT = b"front-0-1", b"front-1-2"


def reader_of(user: str, *, front: bytes = FRONT, number: int = 1) -> Reader:
    return Reader(front, number, user, Mailbox(box_of(user)))


def test_a_session_is_found_by_its_connection_and_its_user() -> None:
    readers = Readers()
    reader = reader_of("bob")
    readers.add(reader)

    assert readers.of_user("bob") is reader
    assert readers.at(FRONT, 1) is reader
    assert readers.at(FRONT, 2) is None
    assert readers.at(OTHER_FRONT, 1) is None
    assert readers.of_user("alice") is None
    assert len(readers) == 1


def test_a_discarded_session_is_not_found() -> None:
    readers = Readers()
    reader = reader_of("bob")
    readers.add(reader)

    readers.discard(reader)

    assert readers.of_user("bob") is None
    assert readers.at(FRONT, 1) is None
    assert list(readers) == []


def test_a_user_has_one_session() -> None:
    readers = Readers()
    readers.add(reader_of("bob", number=1))

    with pytest.raises(AssertionError, match="one session"):
        readers.add(reader_of("bob", number=2))


def test_numbers_are_those_of_each_front() -> None:
    readers = Readers()
    bob, carol = reader_of("bob"), reader_of("carol", front=OTHER_FRONT)
    readers.add(bob)
    readers.add(carol)

    assert readers.at(FRONT, 1) is bob
    assert readers.at(OTHER_FRONT, 1) is carol
    assert readers.through(OTHER_FRONT) == [carol]
    assert readers.through(b"front-9-9") == []


def test_what_was_sent_moves_the_cursor_and_counts_as_transmitted() -> None:
    reader = reader_of("bob")

    reader.sent(5)

    assert reader.cursor == 5
    assert reader.mailbox.transmitted == 5


def test_what_a_new_session_reads_again_was_transmitted_before() -> None:
    reader = reader_of("bob")
    reader.mailbox.transmitted = 9

    reader.sent(5)

    assert reader.cursor == 5
    assert reader.mailbox.transmitted == 9


def test_receipts_that_come_again_await_no_confirmation_before() -> None:
    reader = reader_of("bob")
    reader.sent(9)
    for seq in (3, 5, 9):
        reader.add_receipt(seq)

    reader.rewind(5)

    assert reader.cursor == 5
    assert list(reader.receipts) == [3, 5]


def test_a_pong_confirms_the_receipts_up_to_its_own() -> None:
    reader = reader_of("bob")
    assert reader.confirm_receipts(9) == []
    for seq in (3, 5, 9):
        reader.add_receipt(seq)

    assert reader.confirm_receipts(5) == [3, 5]
    assert reader.confirm_receipts(9) == [9]
    assert not reader.receipts
    reader.add_receipt(11)
    assert reader.confirm_receipts(11) == [11]


def test_receipts_of_an_earlier_incarnation_come_before_later_ones() -> None:
    reader = reader_of("bob")
    reader.sent_before = 5
    reader.add_receipt(9)

    reader.recall_receipts([3, 5])

    assert reader.confirm_receipts(4) == [3]
    assert reader.confirm_receipts(9) == [5, 9]
    assert reader.sent_before == 0


def test_what_an_earlier_incarnation_sent_in_vain_awaits_no_confirmation() -> None:
    reader = reader_of("bob")
    reader.sent_before = 9

    reader.rewind(5)
    assert reader.sent_before == 5
    reader.rewind(7)
    assert reader.sent_before == 5

    reader.forget_receipts()
    assert reader.sent_before == 0
