"""WebSocket framing, where every message pays for it: texts out, and whole texts in.

Everything else of the protocol (the handshake, control frames, fragments, faults) is the websockets
library's, which `FrameSplitter` hands what is not a whole text.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

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


class FrameSplitter:
    """Cuts what a client sends into frames, and opens those that are a whole text.

    For a connection without extensions. At a frame that it cannot cut, because it is unmasked or
    longer than `max_size`, it gives up: that and everything behind it is for the library, which
    fails the connection in the right way.
    """

    __slots__ = (
        "_at",
        "_in_fragments",
        "_unread",
        "_wanted",
        "buffer",
        "gave_up",
        "is_behind",
        "max_size",
    )

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self._unread = b""  # what the last call was fed, if it stopped amid that,
        self._at = 0  # and where
        self.buffer = bytearray()  # the beginning of a frame
        self._wanted = 0  # how long it must be for the next look at it
        self._in_fragments = False  # the library has the beginning of a fragmented message
        self.gave_up = False
        self.is_behind = False  # there may be more frames in what it was fed

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
            self.buffer.clear()
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
            self.buffer += data[at:]
            self._wanted = wanted
        return frames


class CloseFinder(FrameSplitter):
    """Goes on where a splitter is, when of all frames only a close frame still matters.

    The others are passed over unseen: the library would take some 30 us for each of them.
    """

    __slots__ = ()

    def __init__(self, splitter: FrameSplitter) -> None:
        for name in FrameSplitter.__slots__:
            setattr(self, name, getattr(splitter, name))

    def feed(self, data: bytes, *, max_frames: int, max_bytes: int) -> list[bytes | Other]:
        """Return the first close frame, or all that is left where it gives up.

        `max_frames` is for those that are looked at, so it does not count here.
        """
        frames = super().feed(data, max_frames=_MAX_SKIPPED, max_bytes=max_bytes)
        for frame in frames:
            if isinstance(frame, Other) and frame.raw[0] & _OPCODE == _CLOSE_OPCODE:
                return [frame]
        return frames[-1:] if self.gave_up else []
