"""Requests of extensions: which frame is which request, and what its answer must repeat (E2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from relay.errors import FrameError, Refusal
from relay.protocol import frames
from relay.protocol.content import decode_any, number

# A frame's tag, and its kind: ("query", "server"); see `kind_of`.
RequestKey = tuple[str, str]
Parts = Sequence[msgspec.Raw]
Decode = Callable[[Parts], Any]
T = TypeVar("T")

# The kind of a request that is no JSON: its tag is the whole text.
WHOLE_TEXT: Final = "\0"

# Of a request's `tag`; as many as a prefix may have.
MAX_TAG_CHARS: Final = 64

_encode = msgspec.json.Encoder().encode


class _Kind(msgspec.Struct):
    type: Any = None


class _Named(msgspec.Struct):
    tag: Any = msgspec.UNSET


# Only what is asked for is decoded: the rest of the attributes may be as long as a frame.
_decode_kind = msgspec.json.Decoder(str | _Kind, float_hook=number).decode
_decode_named = msgspec.json.Decoder(_Named, float_hook=number).decode


class RequestRow(NamedTuple):
    """What the codec must know of a request. `owner` is the extension's name, `key` its own."""

    owner: str
    key: RequestKey
    decode: Decode
    before_login: bool


class Correlation(NamedTuple):
    """How a request named itself: by a prefix, by `tag` in its attributes, by both or neither."""

    prefix: str = ""
    tag: str = ""

    def answer(self, tag: str, attributes: Mapping[str, object], *rest: object) -> bytes:
        """Return `[tag, attributes, *rest]`, with the name that the request gave itself."""
        if self.tag:
            attributes = {**attributes, "tag": self.tag}
        return self.prefixed(_encode([tag, attributes, *rest]))

    def prefixed(self, frame: bytes) -> bytes:
        """Return a frame that has no attributes; a prefix is repeated, a tag has no place."""
        return b"%b,%b" % (self.prefix.encode(), frame) if self.prefix else frame

    def error(self, code: int, reason: str, *, tag: str = "") -> bytes:
        """Return the `error` frame of a request; `tag` is its frame's, for one without a name."""
        named = self.tag or self.prefix or tag
        return frames.refusal(Refusal(code, reason, named, prefix=self.prefix))


NO_CORRELATION: Final = Correlation()


def kind_of(parts: Parts) -> str:
    """Return the kind of a frame that was cut into `parts`: what comes behind its tag.

    That is its second element where that is a string, or the `type` in it. Of `type` "set" it is
    what is set: the tag of the first element of the third. Empty where there is none of these.
    """
    second = _part(parts, 1, _decode_kind)
    kind = second.type if isinstance(second, _Kind) else second
    if kind == "set" and second is not kind:
        match _part(parts, 2, decode_any):
            case [[str(what), *_], *_]:
                return what
    return kind if isinstance(kind, str) else ""


def tag_of(parts: Parts) -> str:
    """Return the `tag` in a request's attributes, empty where there is none.

    Raises:
        FrameError: it is no string of 1 to MAX_TAG_CHARS printable characters.
    """
    attributes = _part(parts, 1, _decode_named)
    if attributes is None or attributes.tag is msgspec.UNSET:
        return ""
    tag = attributes.tag
    if not (isinstance(tag, str) and 0 < len(tag) <= MAX_TAG_CHARS and tag.isprintable()):
        raise FrameError(400, f"tag: a string of 1 to {MAX_TAG_CHARS} printable characters")
    return tag


def find_row(rows: Mapping[RequestKey, RequestRow], tag: str, kind: str) -> RequestRow | None:
    """Return the row of a request; one without a kind takes every kind that no other does."""
    return rows.get((tag, kind)) or rows.get((tag, ""))


def _part(parts: Parts, at: int, decode: Callable[[msgspec.Raw], T]) -> T | None:
    """Return what a part is; None where there is none, or it is not what `decode` expects."""
    if at >= len(parts):
        return None
    try:
        return decode(parts[at])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
