"""Records that are too large for one message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import StoreWriteError
from workers.log.parts import HEAD_BYTES, MOST_PARTS, Joiner, split


@given(
    st.lists(st.binary(max_size=40).filter(lambda body: body[:1] != b"\xc1")), st.integers(6, 50)
)
def test_what_was_split_is_whole_again_in_its_order(payloads: list[bytes], most: int) -> None:
    joiner = Joiner()

    for payload in payloads:
        bodies = split(payload, most)
        assert all(len(body) <= most for body in bodies)
        assert [joiner.take(body) for body in bodies] == [b""] * (len(bodies) - 1) + [payload]


def test_parts_without_an_end_change_nothing() -> None:
    first, second, _ = split(b"0123456789", 4 + HEAD_BYTES)
    joiner = Joiner()

    taken = [joiner.take(body) for body in (first, second, b"", first, b"another")]

    assert taken == [b"", b"", b"", b"", b"another"]
    assert [joiner.take(body) for body in split(b"0123456789", 7)] == [b"", b"0123456789"]


def test_there_are_no_more_parts_than_are_read_again_after_a_start() -> None:
    assert len(split(b"x" * MOST_PARTS, 1 + HEAD_BYTES)) == MOST_PARTS
    with pytest.raises(StoreWriteError, match="a record of 17 bytes is over 16 parts of 3 bytes"):
        split(b"x" * (MOST_PARTS + 1), 1 + HEAD_BYTES)
