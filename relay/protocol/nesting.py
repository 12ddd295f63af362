"""How deep JSON is nested, told without going through it bracket by bracket in Python."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))
_NEITHER_BRACKET_NOR_QUOTE: Final = bytes(set(_NO_BRACKET) - set(b'"'))

# From here on finding as many brackets as a frame may have by default is faster than counting them.
LONG_BYTES: Final = 8192


def has_few_brackets(text: bytes, most: int) -> bool:
    """Tell whether `text` has no more opening brackets than that, so cannot be nested deeper."""
    if len(text) < LONG_BYTES:
        return text.count(b"[") + text.count(b"{") <= most
    left = most
    for bracket in (b"[", b"{"):
        at = text.find(bracket)
        while at >= 0:
            left -= 1
            if left < 0:
                return False
            at = text.find(bracket, at + 1)
    return True


def brackets_of(text: bytes) -> bytes:
    """Return the brackets of valid JSON in order, those in strings left out, braces as `[` `]`."""
    if b"\\" in text:
        # An escaped backslash first, or the quote behind it would count as escaped.
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    text = text.translate(_SQUARE, _NEITHER_BRACKET_NOR_QUOTE)
    # Without what is left of strings that hold no bracket, little is to be split.
    text = text.replace(b'""', b"")
    return b"".join(text.split(b'"')[::2])


def is_deeper(brackets: bytes, depth: int) -> bool:
    """Tell whether pairs of `[` and `]` nest deeper than that; True too where they are no pairs."""
    return not pairs_down_to(depth).fullmatch(brackets)


@lru_cache(maxsize=4)
def pairs_down_to(depth: int) -> re.Pattern[bytes]:
    """Return what matches pairs of `[` and `]` that nest at most `depth` deep."""
    # Possessive at each level, so nothing is tried twice and the time is linear.
    pattern = b""
    for _ in range(depth):
        pattern = rb"(?:\[%b\])*+" % pattern
    return re.compile(pattern)
