"""Sheet notation: the relaxed JSON of the protocol sheet (PROTOCOL R1), turned into strict JSON.

It is what Python prints for a list, with the frame's tag left without quotes:

    [Msg,{'id': '3EB0A1ED1B05362823BC', 'ack': 2, 't': '1566971275',}]

Everything is as in JSON but for:
- a bare word as the first element of a frame, or of a frame in a list of frames (as in the
  sheet's queue example). Deeper, inside a message, no word is guessed at;
- single quotes around strings and keys, and `\\'` as an escape inside either kind of quotes;
- `True`, `False` and `None` beside `true`, `false` and `null`;
- one trailing comma in an array or object.

Only these are rewritten, and then the strict parser judges the whole. Nothing is evaluated. Each
step goes over the whole text at once, because a call in Python for each bracket or string would
cost ten times as much as the parser.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from relay.errors import FrameError
from relay.protocol.nesting import pairs_down_to

_BAD_REQUEST: Final = 400
# A frame is at depth 1; a frame in a list of frames, as in `q`, at 2. Deeper no word is a tag.
_TAG_DEPTH: Final = 2
_LITERALS: Final = {b"True": b"true", b"False": b"false", b"None": b"null"}

# What stands in for an escape, and for a string, while the text is taken apart. No JSON holds one
# of them as it is.
_BACKSLASH: Final = b"\x00"
_SINGLE: Final = b"\x01"
_DOUBLE: Final = b"\x02"
_STRING: Final = b"\x03"
_STAND_INS: Final = re.compile(rb"[\x00-\x03]")

_SPACE: Final = rb"[ \t\n\r]*+"
_ARRAY: Final = re.compile(_SPACE + rb"\[")
# What is in quotes of either kind; it ends at a quote like the one before it.
_QUOTED: Final = re.compile(rb"""["']((?<=")[^"]*+|(?<=')[^']*+)["']""")
_OPENING_COMMA: Final = re.compile(rb"[\[{]" + _SPACE + rb",")
_TRAILING_COMMA: Final = re.compile(rb",(?=" + _SPACE + rb"[\]}])")
_IS_SPACED: Final = re.compile(rb"[ \t\n\r]")
# The first word of an array, but for literals and for Python's numbers that JSON lacks.
_TAG: Final = re.compile(
    rb"\["
    + _SPACE
    + rb"(?!(?:true|True|false|False|null|None|NaN|Infinity)(?![A-Za-z0-9_]))"
    + rb"([A-Za-z_][A-Za-z0-9_]*+)"
)
_TAGGED: Final = b"("  # in place of the bracket of an array with a tag
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}("))

_check: Final = msgspec.json.Decoder(msgspec.Raw).decode


def to_json(text: str, *, max_depth: int) -> bytes:
    """Return the array in sheet notation as strict JSON in UTF-8.

    Strict JSON is sheet notation too and comes back as it was. Numbers and JSON's escapes keep
    their text. Arrays and objects nest at most `max_depth` deep, the outermost one counted. The
    time is linear in the text.

    Raises:
        FrameError: 400; the text is no array in this notation.
    """
    try:
        notation = text.encode()
    except UnicodeEncodeError as error:
        raise _neither(error) from error
    if not _ARRAY.match(notation):
        raise FrameError(_BAD_REQUEST, "a frame is an array")
    if _STAND_INS.search(notation):
        raise FrameError(_BAD_REQUEST, "a control character in a frame")
    pieces = _taken_apart(notation)
    between = _STRING.join(pieces[::2])
    if b'"' in between or b"'" in between:
        raise FrameError(_BAD_REQUEST, "a string that does not end")
    pieces[::2] = _strict(between, max_depth=max_depth).split(_STRING)
    json = b'"'.join(pieces)
    json = json.replace(_BACKSLASH, rb"\\").replace(_SINGLE, b"'").replace(_DOUBLE, rb"\"")
    try:
        _check(json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _neither(error) from error
    return json


def _neither(error: Exception) -> FrameError:
    return FrameError(_BAD_REQUEST, f"neither JSON nor sheet notation: {error}")


def _taken_apart(notation: bytes) -> list[bytes]:
    """Return by turns what is between strings, and what a string holds in JSON's spelling.

    Escapes are stand-ins in both.
    """
    # An escaped backslash first: the quote behind it is none that it escapes.
    text = notation.replace(rb"\\", _BACKSLASH).replace(rb"\'", _SINGLE).replace(rb"\"", _DOUBLE)
    if b'"' not in text or b"'" not in text:
        pieces = text.split(b"'" if b"'" in text else b'"')
        if len(pieces) % 2 == 0:
            raise FrameError(_BAD_REQUEST, "a string that does not end")
        return pieces
    pieces = _QUOTED.split(text)  # a quote without another stays between the strings
    strings = _STRING.join(pieces[1::2])
    if b'"' in strings:
        pieces[1::2] = strings.replace(b'"', _DOUBLE).split(_STRING)
    return pieces


def _strict(between: bytes, *, max_depth: int) -> bytes:
    """Return what is between strings with tags in quotes, JSON's literals, no comma too many."""
    if _OPENING_COMMA.search(between):
        raise FrameError(_BAD_REQUEST, "a comma at the start of an array or object")
    if _IS_SPACED.search(between):  # else a plain replacement does, at a tenth of the cost
        between = _TRAILING_COMMA.sub(b"", between)
    else:
        between = between.replace(b",]", b"]").replace(b",}", b"}")
    pieces = _TAG.split(between)
    brackets = _TAGGED.join(pieces[::2]).translate(_SQUARE, _NO_BRACKET)
    if not _frame_of(max_depth).fullmatch(brackets):
        if brackets.count(b"]") * 2 != len(brackets):
            raise FrameError(_BAD_REQUEST, "neither JSON nor sheet notation: brackets without ends")
        if not pairs_down_to(max_depth).fullmatch(brackets.replace(_TAGGED, b"[")):
            raise FrameError(_BAD_REQUEST, f"nesting exceeds {max_depth}")
        raise FrameError(_BAD_REQUEST, "a word without quotes where no tag can be")
    if len(pieces) > 1:
        tags = (b'"%b["' % _STRING).join(pieces[1::2])
        pieces[1::2] = (b'["%b"' % tags).split(_STRING)
        between = b"".join(pieces)
    for word, literal in _LITERALS.items():
        if word in between:
            between = re.sub(rb"\b%b\b" % word, literal, between)
    return between


@lru_cache(maxsize=4)
def _frame_of(max_depth: int) -> re.Pattern[bytes]:
    """Match the brackets of a frame, with tags only down to `_TAG_DEPTH`."""
    tagged = min(_TAG_DEPTH, max_depth)
    pattern = pairs_down_to(max_depth - tagged).pattern
    for _ in range(tagged - 1):
        pattern = rb"(?:[\[(]%b\])*+" % pattern
    return re.compile(rb"[\[(]%b\]" % pattern)
