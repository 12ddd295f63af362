"""Sheet notation: the relaxed JSON of the protocol sheet (PROTOCOL R1), turned into strict JSON.

It is what Python prints for a list, with the frame's tag left without quotes:

    [Msg,{'id': '3EB0A1ED1B05362823BC', 'ack': 2, 't': '1566971275',}]

Everything is as in JSON but for:
- a bare word as the first element of a frame, or of a frame in a list of frames (as in the
  sheet's queue example). Deeper, inside a message, no word is guessed at;
- single quotes around strings and keys, and `\\'` as an escape inside either kind of quotes;
- `True`, `False` and `None` beside `true`, `false` and `null`;
- one trailing comma in an array or object.

Only these are rewritten, and then the strict parser judges the whole. Nothing is evaluated.
"""

import re
from typing import Final

import msgspec

from relay.errors import FrameError

_BAD_REQUEST: Final = 400
_TAG_DEPTH: Final = 2  # a frame is at depth 1; a frame in a list of frames, as in `q`, at 2
_LITERALS: Final = {
    "true": "true",
    "True": "true",
    "false": "false",
    "False": "false",
    "null": "null",
    "None": "null",
}
_NOT_TAGS: Final = frozenset({"NaN", "Infinity"})  # Python's numbers that JSON lacks

_SPACE: Final = r"[ \t\n\r]*"
_BARE: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_ARRAY: Final = re.compile(rf"{_SPACE}\[")
# Each quote and bracket is matched by one of these, so that what is inside a string for us is
# inside it for the strict parser. No branch starts with white space, which would make the time
# quadratic. The look-behind leaves the exponent of a number alone.
_ODDITY: Final = re.compile(
    rf"""(?P<string>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')
    |(?P<open>\[{_SPACE}(?P<first>{_BARE})|[\[{{](?!{_SPACE},))
    |(?P<close>(?:,{_SPACE})?[\]}}])
    |(?P<word>(?<![0-9]){_BARE})
    |(?P<stray>["'\[{{])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED_OR_QUOTE: Final = re.compile(r"""\\.|\"""", re.DOTALL)
_JSON_SPELLING: Final = {'"': '\\"', "\\'": "'"}


def to_json(text: str, *, max_depth: int) -> bytes:
    """Return the array in sheet notation as strict JSON in UTF-8.

    Strict JSON is sheet notation too and comes back as it was. Numbers and JSON's escapes keep
    their text. Arrays and objects nest at most `max_depth` deep, the outermost one counted. The
    time is linear in the text.

    Raises:
        FrameError: 400; the text is no array in this notation.
    """
    if not _ARRAY.match(text):
        raise FrameError(_BAD_REQUEST, "a frame is an array")
    depth = 0

    def strict(found: re.Match[str]) -> str:
        nonlocal depth
        part = found[0]
        match found.lastgroup:
            case "string":
                return _string(part)
            case "open":
                depth += 1
                if depth > max_depth:
                    raise FrameError(_BAD_REQUEST, f"nesting exceeds {max_depth}")
                first = found["first"]
                return part if first is None else "[" + _word(first, as_tag=depth <= _TAG_DEPTH)
            case "close":
                depth -= 1
                return part[-1]
            case "word":
                return _word(part, as_tag=False)
        raise FrameError(_BAD_REQUEST, f"unexpected {part} at character {found.start()}")

    try:
        json = _ODDITY.sub(strict, text).encode()
        msgspec.json.decode(json)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise FrameError(_BAD_REQUEST, f"neither JSON nor sheet notation: {error}") from error
    return json


def _string(quoted: str) -> str:
    """Return the string in JSON's own quotes and escapes."""
    inner = quoted[1:-1]
    if "\\" in inner or '"' in inner:
        inner = _ESCAPED_OR_QUOTE.sub(_json_spelling, inner)
    return f'"{inner}"'


def _json_spelling(found: re.Match[str]) -> str:
    text = found[0]
    return _JSON_SPELLING.get(text, text)


def _word(word: str, *, as_tag: bool) -> str:
    if literal := _LITERALS.get(word):
        return literal
    if as_tag and word not in _NOT_TAGS:
        return f'"{word}"'
    raise FrameError(_BAD_REQUEST, "a word without quotes where no tag can be")
