"""What is in a message: decoded, and brought into one form in which repeats are equal (R20)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from math import isfinite
from typing import Any, Final

import msgspec

from relay.errors import FrameError

# A whole number below this, however it is written, is an integer for the digest. Beyond it one
# that is a double is that double: 1e300 as an integer has 301 digits, for five bytes of a frame.
_LARGE: Final = 2.0**64
_LARGE_NEGATIVE: Final = -_LARGE
_ESCAPED_BACKSLASH: Final = b"\x00"  # no JSON holds these two as they are
_ESCAPED_QUOTE: Final = b"\x01"
_DIGITS_ALIKE: Final = bytes.maketrans(b"123456789", b"0" * 9)
_MANY_DIGITS: Final = b"0" * 20
_INTEGER: Final = re.compile(rb"-?[0-9]{20,}+(?![.eE])")

_QUOTE: Final = ord('"')

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def number(text: str) -> int | float:
    """Return what a number that is no plain integer is: 1.0 and 1e0 are the same as 1 (R20).

    For a `float_hook`, in every decoder of what clients send: that also spares msgspec's own way,
    which takes 11 us for some floats.

    Raises:
        ValueError: beyond a double.
    """
    value = float(text)
    if _LARGE_NEGATIVE < value < _LARGE:
        return int(value) if value.is_integer() else value
    if not isfinite(value):
        raise ValueError("a number beyond a double")
    return value


# Of a message, which is an object, and of any value.
decode_object: Final = msgspec.json.Decoder(dict[str, Any], float_hook=number).decode
decode_any: Final = msgspec.json.Decoder(float_hook=number).decode


def digest_of(content: Mapping[str, Any]) -> bytes:
    """Return 8 bytes that are equal for what is equal, compared deeply.

    Raises:
        FrameError: it holds an integer beyond a double (R25).
    """
    canonical = _encode(content)
    # One string, as nearly every message is, holds no number and pays nothing for them.
    is_string = canonical[-2] == _QUOTE and len(content) == 1
    if not is_string and _MANY_DIGITS in canonical.translate(_DIGITS_ALIKE):
        canonical = _with_large_integers_as_doubles(canonical)
    return blake2b(canonical, digest_size=8).digest()


def _with_large_integers_as_doubles(canonical: bytes) -> bytes:
    escaped = canonical.replace(rb"\\", _ESCAPED_BACKSLASH).replace(rb"\"", _ESCAPED_QUOTE)
    # Every second piece is what stands between two strings.
    pieces = escaped.split(b'"')
    between = b'"'.join(pieces[::2])
    pieces[::2] = _INTEGER.sub(_as_double, between).split(b'"')
    joined = b'"'.join(pieces)
    return joined.replace(_ESCAPED_BACKSLASH, rb"\\").replace(_ESCAPED_QUOTE, rb"\"")


def _as_double(found: re.Match[bytes]) -> bytes:
    digits = found[0]
    value = float(digits)
    if not isfinite(value):
        raise FrameError(400, "message: a number beyond a double")
    if _LARGE_NEGATIVE < value < _LARGE or int(digits) != value:
        return digits  # no double is equal to it
    return _encode(value)
