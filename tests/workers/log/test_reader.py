"""How a log is read: whose it is, and what is void."""

import pytest

from relay.errors import LogDamaged
from tests.workers.log.foreign import of_kind
from workers.log.reader import LogReader
from workers.log.record import (
    MOST_IN_FLIGHT,
    Claimed,
    Kind,
    encode,
    encode_claimed,
    encode_handed,
)

ANNA = Claimed("a", 1, "anna", "tcp://10.0.0.1:9100")
BERT = Claimed("b", 1, "bert", "tcp://10.0.0.2:9100")


def epoch(whose: Claimed, over: int = 0, window: int = 1) -> bytes:
    return encode(Kind.EPOCH, over, encode_claimed(whose), window)


def data(epoch: int, body: bytes = b"body", window: int = 1) -> bytes:
    return encode(Kind.DATA, epoch, body, window)


def test_a_log_is_its_owners_data() -> None:
    reader = LogReader(0)

    payloads = [
        reader.take(number, record)
        for number, record in enumerate([epoch(ANNA), data(1, b"one"), data(1, b"two")], start=1)
    ]

    assert payloads == [b"", b"one", b"two"]
    assert (reader.number, reader.epoch, reader.owner) == (3, 1, ANNA)


def test_what_comes_behind_anothers_epoch_is_void() -> None:
    reader = LogReader(0)
    reader.take(1, epoch(ANNA, window=2))
    reader.take(2, epoch(BERT, over=1))

    assert reader.take(3, data(1)) == b""
    assert reader.take(4, encode(Kind.HANDED, 1, encode_handed("a"))) == b""
    assert reader.take(5, data(2, b"bert's")) == b"bert's"

    assert (reader.epoch, reader.owner, reader.handed_to, reader.voids) == (2, BERT, "", 2)


def test_an_owner_hands_its_range_to_a_host_until_the_next_owner_comes() -> None:
    reader = LogReader(0)
    reader.take(1, epoch(ANNA))
    reader.take(2, encode(Kind.HANDED, 1, encode_handed("b")))
    assert reader.handed_to == "b"

    reader.take(3, epoch(BERT, over=1))
    assert reader.handed_to == ""


def test_a_record_that_is_not_the_next_one_is_refused_and_changes_nothing() -> None:
    reader = LogReader(4)

    for number in (4, 6):
        with pytest.raises(LogDamaged):
            reader.take(number, data(1))
    with pytest.raises(LogDamaged):
        reader.take(5, b"no record")
    with pytest.raises(LogDamaged):
        reader.take(5, encode(Kind.EPOCH, 1, b"no body"))

    assert (reader.number, reader.epoch) == (4, 0)


def test_a_record_of_a_later_version_is_named_and_changes_nothing() -> None:
    reader = LogReader(0)
    reader.take(1, epoch(ANNA))

    for epoch_ in (1, 0):  # void it could be passed over, and is not
        with pytest.raises(LogDamaged, match=r"of kind 9.*\(record 2\)"):
            reader.take(2, of_kind(9, epoch_))

    assert (reader.number, reader.voids) == (1, 0)


def test_who_starts_again_learns_from_the_last_records_whose_the_log_is() -> None:
    reader = LogReader(100)
    assert reader.first == 100 - MOST_IN_FLIGHT + 1
    for number in range(reader.first, 98):
        reader.learn(number, data(7, window=3))
    reader.learn(98, epoch(BERT, over=7))
    reader.learn(99, data(7, window=3))  # void
    reader.learn(100, data(98))

    assert (reader.number, reader.epoch, reader.owner, reader.window) == (100, 98, BERT, 3)
    assert reader.take(101, data(98, b"next")) == b"next"
    assert reader.take(102, data(7)) == b""


def test_the_window_is_the_largest_that_may_still_be_on_its_way() -> None:
    reader = LogReader(0)
    reader.take(1, epoch(ANNA, window=8))
    reader.take(2, epoch(BERT, over=1, window=1))
    assert reader.window == 8

    for number in range(3, MOST_IN_FLIGHT + 2):
        reader.take(number, data(2))
    assert reader.window == 1
    assert LogReader(0).window == 1
    assert LogReader(3).first == 1


def test_behind_a_backup_there_is_nothing_to_be_learnt() -> None:
    at_its_end = LogReader(500, begins_behind=500)
    assert (at_its_end.number, at_its_end.first) == (500, 501)
    assert at_its_end.window == 1

    assert LogReader(503, begins_behind=500).first == 501
    assert LogReader(600, begins_behind=500).first == 600 - MOST_IN_FLIGHT + 1
