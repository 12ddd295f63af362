"""A record of the log: what is written comes back, and what is not as it was written is found."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cluster.trimming import KEPT_RECORDS
from relay.errors import LogDamaged
from tests.workers.log.foreign import of_kind
from workers.log.record import (
    HEAD_BYTES,
    MOST_IN_FLIGHT,
    Claimed,
    Kind,
    LogRecord,
    checksum_of,
    decode,
    decode_claimed,
    decode_handed,
    encode,
    encode_claimed,
    encode_handed,
)

records = st.builds(
    encode,
    st.sampled_from(Kind),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=200),
    st.integers(1, MOST_IN_FLIGHT),
)


@given(
    st.sampled_from(Kind),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=200),
    st.integers(1, MOST_IN_FLIGHT),
)
def test_what_is_written_comes_back(kind: Kind, epoch: int, body: bytes, window: int) -> None:
    data = encode(kind, epoch, body, window)

    assert decode(data) == LogRecord(kind, epoch, body, window, checksum_of(data))
    assert len(data) == HEAD_BYTES + len(body)


def test_the_bytes_are_these_for_good() -> None:
    data = encode(Kind.DATA, 0x0102, b"body", 3)

    assert data.hex() == "0101030000000000000102" + f"{checksum_of(data):08x}" + b"body".hex()


@given(records, st.data())
def test_a_bit_that_has_turned_is_found(record: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(record) - 1))
    damaged = bytearray(record)
    damaged[bit // 8] ^= 1 << bit % 8

    with pytest.raises(LogDamaged):
        decode(bytes(damaged))


@given(records, st.data())
def test_a_record_that_was_cut_is_found(record: bytes, data: st.DataObject) -> None:
    with pytest.raises(LogDamaged):
        decode(record[: data.draw(st.integers(0, len(record) - 1))])


@given(st.binary(max_size=100))
def test_what_is_no_record_is_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(LogDamaged):
        decode(data)


def test_what_a_later_version_writes_is_not_taken_for_ours() -> None:
    with pytest.raises(LogDamaged, match="format 2, and this version reads 1"):
        decode(b"\x02" + encode(Kind.DATA, 1, b"")[1:])


@pytest.mark.parametrize("kind", [0, 4, 9, 255])
def test_a_kind_that_is_not_known_is_never_passed_over(kind: int) -> None:
    with pytest.raises(LogDamaged, match=f"of kind {kind}, which this version does not know"):
        decode(of_kind(kind))


@pytest.mark.parametrize("window", [0, MOST_IN_FLIGHT + 1, 255])
def test_a_window_that_a_claim_would_not_wait_for_is_refused(window: int) -> None:
    with pytest.raises(LogDamaged, match=f"a window of {window}"):
        decode(of_kind(Kind.DATA, window=window))


def test_a_later_version_may_say_more_of_an_owner_and_of_who_is_handed_a_range() -> None:
    claimed = {"host": "a", "boot": 7, "process": "p", "endpoint": "tcp://", "mood": "calm"}
    handed = {"to_host": "b", "mood": "calm"}

    assert decode_claimed(msgspec.msgpack.encode(claimed)) == Claimed("a", 7, "p", "tcp://")
    assert decode_handed(msgspec.msgpack.encode(handed)) == "b"


def test_an_epoch_record_speaks_for_the_epoch_that_it_begins() -> None:
    claim = decode(encode(Kind.EPOCH, 3, encode_claimed(Claimed("a", 1, "p", "tcp://"))))
    data = decode(encode(Kind.DATA, 3, b"body"))

    assert (claim.epoch_at(9), data.epoch_at(9)) == (9, 3)


def test_bodies_come_back() -> None:
    claimed = Claimed("a", 7, "process", "tcp://10.0.0.1:9100")

    assert decode_claimed(encode_claimed(claimed)) == claimed
    assert decode_handed(encode_handed("b")) == "b"


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x81\xa4host\xa1\xff", encode_handed("b")])
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(LogDamaged):
        decode_claimed(body)


@pytest.mark.parametrize("body", [b"", b"\x90", b"\x81\xa7to_host\xa1\xff"])
def test_a_body_that_hands_to_nobody_is_refused(body: bytes) -> None:
    with pytest.raises(LogDamaged):
        decode_handed(body)


def test_what_a_reader_looks_back_for_is_not_trimmed() -> None:
    assert KEPT_RECORDS >= MOST_IN_FLIGHT
