"""What a store says of itself: a mark that cannot be is none."""

import msgspec
import pytest

from workers.store.meta import Mark, decode_mark, encode_mark


def test_a_mark_is_read_as_it_was_written() -> None:
    mark = Mark(generation=3, workers=4, index=3)

    assert decode_mark(encode_mark(mark)) == mark


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{}",
        b'{"generation":1,"workers":0,"index":0}',
        b'{"generation":1,"workers":-1,"index":-2}',
        b'{"generation":1,"workers":2,"index":2}',
        b'{"generation":1,"workers":2,"index":-1}',
        b'{"generation":1,"workers":4097,"index":0}',
        b'{"generation":-1,"workers":2,"index":0}',
    ],
)
def test_a_mark_of_a_worker_that_cannot_be_is_damage(content: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_mark(content)
