"""WebSocket framing, where every message pays for it: texts out, and whole texts in.

Control frames too, as far as they are short. Everything else of the protocol (fragments, faults) is
the websockets library's; `FrameSplitter` cuts off what is not a whole text without a look into it.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

import msgspec

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled part
    from websockets.utils import apply_mask

_MEDIUM = Struct(">BBH").pack
_LONG = Struct(">BBQ").pack
_FINAL_TEXT = 0x81
_MASKED = 0x80
_FINAL = 0x80
_OPCODE = 0x0F
_FIRST_CONTROL_OPCODE = 0x08
_CLOSE_OPCODE = 0x08
# The first bytes of control frames as they should be, whole.
CLOSE: Final = _FINAL | _CLOSE_OPCODE
PING: Final = 0x89
PONG: Final = 0x8A
# The greatest second byte of a client's control frame as it should be: no more than 125 bytes.
MAX_SHORT: Final = _MASKED | 125
# What a close frame may say (RFC 6455, 7.4, and the registry that it has), beside 3000 to 4999.
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
_NO_CODE = 1005  # what one without a code counts as
_MAX_REASON_BYTES = 123
# What `CloseFinder` passes over in a call: about a millisecond of the smallest.
_MAX_SKIPPED = 1024


def text_frame(payload: bytes) -> bytes:
    """Return `payload` as one unmasked, final text frame (RFC 6455, 5.2).

    The websockets library takes some five times as long for a short frame (it builds a Frame,
    checks its own state and extensions); tests/bench/bench_wire.py compares the two.
    """
    length = len(payload)
    if length < 126:
        return bytes((_FINAL_TEXT, length)) + payload
    if length < 65536:
        return _MEDIUM(_FINAL_TEXT, 126, length) + payload
    return _LONG(_FINAL_TEXT, 127, length) + payload


def control_frame(first: int, payload: bytes) -> bytes:
    """Return a `CLOSE`, `PING` or `PONG` frame for a client; `payload` is at most 125 bytes."""
    return bytes((first, len(payload))) + payload


def short_payload(frame: bytes) -> bytes:
    """Return what is in a client's frame whose second byte is at most `MAX_SHORT`."""
    return apply_mask(frame[6:], frame[2:6])


def is_close(frame: bytes) -> bool:
    """Tell whether a client's frame is, or means to be, a close frame."""
    return frame[0] & _OPCODE == _CLOSE_OPCODE


def close_payload(code: int, reason: str) -> bytes:
    """Return what a close frame says, of a reason as much as fits."""
    text = reason.encode()
    if len(text) > _MAX_REASON_BYTES:
        text = text[:_MAX_REASON_BYTES].decode(errors="ignore").encode()
    return code.to_bytes(2, "big") + text


def close_code(payload: bytes) -> int | None:
    """Return the code of a client's close frame, None where it may not say what it does."""
    if not payload:
        return _NO_CODE
    code = int.from_bytes(payload[:2], "big")
    if code not in _CLOSE_CODES and not 3000 <= code < 5000:
        return None  # of one byte alone, too
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return None
    return code


class SharedFrame:
    """Makes text frames, one for many clients only once."""

    __slots__ = ("_frame", "_payload")

    def __init__(self) -> None:
        self._payload, self._frame = b"", text_frame(b"")

    def framed(self, payload: bytes) -> bytes:
        """Return `payload` as a text frame; the same object again costs nothing."""
        if payload is not self._payload:
            self._payload, self._frame = payload, text_frame(payload)
        return self._frame


class Other(NamedTuple):
    """Bytes that are for the library: a frame that is no whole text, or all that is left."""

    raw: bytes


class FrameSplitter(msgspec.Struct, eq=False, gc=False):
    """Cuts what a client sends into frames, and opens those that are a whole text.

    For a connection without extensions. At a frame that it cannot cut, because it is unmasked or
    longer than `max_size`, it gives up: that and everything behind it is for the library, which
    fails the connection in the right way.
    """

    max_size: int
    _unread: bytes = b""  # what the last call was fed, if it stopped amid that,
    _at: int = 0  # and where
    # The beginning of a frame, which few have at a time: an empty bytearray takes 64 bytes.
    buffer: bytes | bytearray = b""
    _wanted: int = 0  # how long it must be for the next look at it
    _in_fragments: bool = False  # the library has the beginning of a fragmented message
    gave_up: bool = False
    is_behind: bool = False  # there may be more frames in what it was fed

    def feed(self, data: bytes, *, max_frames: int, max_bytes: int) -> list[bytes | Other]:
        """Return in order what is complete: the payloads of whole texts, and the other frames.

        It stops behind `max_frames` frames, or the one with which they are `max_bytes` or more;
        both are at least 1. What is left of `data` is kept for the next call, as bytes: a frame may
        be six of them, and an object is many times that. Whoever feeds more before that is taken
        has it copied each time.
        """
        at = 0
        if self._unread:
            data, at = (self._unread[self._at :] + data, 0) if data else (self._unread, self._at)
            self._unread = b""
            self.is_behind = False
        elif self.buffer:
            # Bytes that trickle in are looked at once a header and once a frame, not each time.
            if len(self.buffer) + len(data) < self._wanted:
                self.buffer += data
                return []
            data = b"".join((self.buffer, data))
            self.buffer = b""
        frames: list[bytes | Other] = []
        end, enough = len(data), at + max_bytes
        wanted = 2
        while end - at >= 2:
            if len(frames) == max_frames or at >= enough:
                self._unread, self._at = data, at
                self.is_behind = True
                return frames
            first, second = data[at], data[at + 1]
            length = second & 0x7F
            body = at + 6  # behind the header and the mask
            if length == 126:
                body += 2
                if body > end:
                    wanted = body - at
                    break
                length = data[at + 2] << 8 | data[at + 3]
            elif length == 127:
                body += 8
                if body > end:
                    wanted = body - at
                    break
                length = int.from_bytes(data[at + 2 : at + 10], "big")
            if second < _MASKED or length > self.max_size:
                self.gave_up = True
                frames.append(Other(data[at:]))
                return frames
            stop = body + length
            if stop > end:
                wanted = stop - at
                break
            if first == _FINAL_TEXT and not self._in_fragments:
                frames.append(apply_mask(data[body:stop], data[body - 4 : body]))
            else:
                if first & _OPCODE < _FIRST_CONTROL_OPCODE:
                    self._in_fragments = first < _FINAL
                frames.append(Other(data[at:stop]))
            at = stop
        if at < end:
            self.buffer = bytearray(data[at:])
            self._wanted = wanted
        return frames


class CloseFinder(FrameSplitter, eq=False, gc=False):
    """Goes on where a splitter is, when of all frames only a close frame still matters.

    The others are passed over unseen: the library would take some 30 us for each of them.
    """

    @classmethod
    def behind(cls, splitter: FrameSplitter) -> CloseFinder:
        """Return one that goes on where `splitter` is."""
        return cls(*msgspec.structs.astuple(splitter))

    def feed(self, data: bytes, *, max_frames: int, max_bytes: int) -> list[bytes | Other]:
        """Return the first close frame, or all that is left where it gives up.

        `max_frames` is for those that are looked at, so it does not count here.
        """
        frames = super().feed(data, max_frames=_MAX_SKIPPED, max_bytes=max_bytes)
        for frame in frames:
            if isinstance(frame, Other) and is_close(frame.raw):
                return [frame]
        return frames[-1:] if self.gave_up else []
