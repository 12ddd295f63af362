"""The `q` frame: what waited for a user, packed into a string (PROTOCOL R3 to R5, 2.2 rule 3)."""

import re
from collections.abc import Iterable, Sequence
from json import dumps
from typing import Final

import msgspec

_HEAD: Final = b'["q", {"data": "[[]'
_TAIL: Final = b']", "from": "backend"}]'
_EMPTY_BYTES: Final = len(_HEAD) + len(_TAIL)

# From the first character to escape up to what means something to JSON: one call per string, not
# per word. DEL is ASCII and JSON, but YAML readers refuse it.
_NOT_PLAIN: Final = re.compile(r'[^\x00-\x7e][^"\\\x00-\x1f]*')
_encode_string: Final = msgspec.json.Encoder().encode


class QueuePacker:
    """Packs the entries of one login's queue, given in any number of batches.

    Send what `add` and then `finish` return, in that order. Together they hold each frame once,
    in order; no q is larger than `max_bytes` but for a frame that alone exceeds it and travels in
    a q of its own; and only a sole q is empty.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._elements: list[bytes] = []
        self._size = _EMPTY_BYTES
        self._sole = True

    def add(self, frames: Iterable[bytes]) -> list[bytes]:
        """Take complete strict JSON frames in UTF-8; return the q frames that became full."""
        full = []
        for frame in frames:
            element = _element(frame)
            if self._elements and self._size + len(element) > self._max_bytes:
                full.append(self._take())
            self._elements.append(element)
            self._size += len(element)
        return full

    def finish(self) -> list[bytes]:
        """Return the last q frame, or none where `add` has returned all. To be called once."""
        return [self._take()] if self._elements or self._sole else []

    def _take(self) -> bytes:
        q_frame = b"".join((_HEAD, *self._elements, _TAIL))
        self._elements = []
        self._size = _EMPTY_BYTES
        self._sole = False
        return q_frame


def pack(frames: Sequence[bytes], *, max_bytes: int) -> list[bytes]:
    """Return the q frames that hold `frames`, at least one; see `QueuePacker`."""
    packer = QueuePacker(max_bytes)
    return packer.add(frames) + packer.finish()


def _element(frame: bytes) -> bytes:
    """Return `,` and the frame as they stand between the quotes of `data`."""
    text = frame.decode()
    # Both occur in strings only, where an escape means the same. Done before the escaping for
    # the outer string, so that the text a client finds in `data` is itself plain ASCII.
    if "'" in text:
        text = text.replace("'", r"\u0027")
    if not text.isascii() or "\x7f" in text:
        text = _NOT_PLAIN.sub(_escaped, text)
    escaped = bytearray(_encode_string(text))
    escaped[0] = ord(",")
    del escaped[-1]
    return bytes(escaped)


def _escaped(run: re.Match[str]) -> str:
    return dumps(run[0])[1:-1]
