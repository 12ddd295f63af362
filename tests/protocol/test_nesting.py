"""Depth of JSON, told by its brackets."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from relay.protocol.nesting import LONG_BYTES, brackets_of, has_few_brackets, is_deeper

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.floats(allow_nan=False) | st.text('[]{}"\\é\n x', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('[]{}"\\', max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


def _depth(value: Any) -> int:
    match value:
        case list():
            return 1 + max(map(_depth, value), default=0)
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
    return 0


@given(values, st.booleans())
def test_the_depth_is_that_of_the_value_whatever_its_strings_hold(
    value: Any, ensure_ascii: bool
) -> None:
    brackets = brackets_of(json.dumps(value, ensure_ascii=ensure_ascii).encode())

    assert not is_deeper(brackets, _depth(value))
    if _depth(value):
        assert is_deeper(brackets, _depth(value) - 1)


def test_brackets_without_ends_count_as_deeper() -> None:
    assert is_deeper(b"[", 5)
    assert is_deeper(b"]", 5)
    assert is_deeper(b"[]]", 5)
    assert not is_deeper(b"", 0)


def test_a_hundred_levels_can_be_told_which_is_the_most_that_may_be_set() -> None:
    assert not is_deeper(b"[" * 100 + b"]" * 100, 100)
    assert is_deeper(b"[" * 101 + b"]" * 101, 100)


@example("[{" * 4, "", 2 * LONG_BYTES)
@example("[{" * 4 + "{", "", 2 * LONG_BYTES)
@given(
    st.text("[{", max_size=12), st.text("x]}", max_size=30), st.sampled_from([0, 2 * LONG_BYTES])
)
def test_few_brackets_are_told_in_long_texts_too(brackets: str, rest: str, padding: int) -> None:
    text = (brackets[::2] + rest + "x" * padding + brackets[1::2]).encode()

    assert has_few_brackets(text, 8) == (len(brackets) <= 8)
