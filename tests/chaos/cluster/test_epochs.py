"""A record of an owner that is none any more is found, wherever it is in the log."""

from __future__ import annotations

from collections.abc import Iterable

from workers.log.record import Kind, LogRecord, decode, encode

from .epochs import Epochs


def epoch(ends: int) -> LogRecord:
    return decode(encode(Kind.EPOCH, ends, b""))


def data(of: int, window: int = 1) -> LogRecord:
    return decode(encode(Kind.DATA, of, b"x", window))


def handed(of: int) -> LogRecord:
    return decode(encode(Kind.HANDED, of, b"x"))


def read(records: Iterable[LogRecord], first: int = 1) -> list[str]:
    books = Epochs()
    return [what for n, each in enumerate(records, first) for what in books.read(n, each)]


def test_owners_one_after_the_other_are_right() -> None:
    records = [epoch(0), data(1), data(1), epoch(1), data(4), handed(4), epoch(4), data(7)]

    assert read(records) == []


def test_a_record_of_the_owner_before_is_a_stale_write() -> None:
    [wrong] = read([epoch(0), data(1), epoch(1), data(3), data(1), data(3)])

    assert wrong.startswith("record 5 is of epoch 1, when 3 was the newest")


def test_who_was_put_aside_may_hand_nothing_over() -> None:
    assert len(read([epoch(0), epoch(1), handed(1)])) == 1


def test_a_record_on_its_way_when_another_claimed_is_void_and_no_later_one() -> None:
    assert read([epoch(0), data(1, 4), epoch(1), data(1, 4), data(3)]) == []
    assert len(read([epoch(0), data(1, 2), epoch(1), data(3), data(1, 2)])) == 1


def test_with_one_on_its_way_none_is_void() -> None:
    assert len(read([epoch(0), data(1), epoch(1), data(1)])) == 1


def test_an_epoch_record_that_ends_another_than_the_newest_is_wrong() -> None:
    assert read([epoch(0), epoch(1), epoch(1)]) == [
        "record 3 ends epoch 1, and 2 is in force",
    ]


def test_a_log_that_was_trimmed_is_taken_from_where_it_begins() -> None:
    assert read([data(7), data(7), epoch(7), data(43)], first=41) == []
    assert len(read([data(7), data(6)], first=41)) == 1


def test_a_gap_is_told_once_as_owners_may_have_changed_in_it() -> None:
    books = Epochs()
    assert list(books.read(1, epoch(0))) == []
    [gap] = books.read(4, data(3))
    assert gap == "record 4 came, and 2 was not read: trimmed, or lost"
    assert list(books.read(5, data(3))) == []
    assert len(list(books.read(6, data(1)))) == 1


def test_it_counts_records_and_owners() -> None:
    books = Epochs()
    for number, record in enumerate([epoch(0), data(1), epoch(1)], 1):
        assert list(books.read(number, record)) == []

    assert (books.records, books.owners, books.follows) == (3, 2, 4)
