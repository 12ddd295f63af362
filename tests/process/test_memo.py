"""Bytes that children read from memory: whole, more than once, and by nobody else."""

import os

import pytest

from relay.process.memo import read_memo, write_memo


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 20_000])
def test_what_is_written_is_read_as_often_as_one_likes(content: bytes) -> None:
    memo = write_memo("test", content)
    other = os.dup(memo)  # as a child has it

    assert read_memo(memo) == read_memo(other) == read_memo(memo) == content

    os.close(memo)
    assert read_memo(other) == content
    os.close(other)


def test_it_is_inherited_only_where_that_is_asked_for() -> None:
    memo = write_memo("test", b"")

    assert not os.get_inheritable(memo)
    os.close(memo)
