"""The server's end of one WebSocket, without I/O: bytes of the client in, messages and bytes out.

What is plain is done by hand: the usual handshake, whole texts, control frames and the closing.
Everything else (other handshakes, fragments, binary messages, faults) is the websockets library's,
which is only there while a client needs it: it takes five times as long, and 1.5 KiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from relay.front.accept import answer_to
from relay.front.entrance.head import Head
from relay.front.oddframes import (
    CloseCodes,
    Event,
    OddFrames,
    PeerClosed,
    Pong,
    judge_handshake,
)
from relay.front.wire import (
    CLOSE,
    MAX_SHORT,
    PING,
    PONG,
    CloseFinder,
    FrameSplitter,
    Other,
    close_code,
    close_payload,
    control_frame,
    is_close,
    short_payload,
)

# In `output`: the stream ends here.
END: Final = b""

_CONTROLS: Final = frozenset({CLOSE, PING, PONG})
_GONE: Final = CloseCodes()


class WebSocket(msgspec.Struct, eq=False, gc=False):
    """One connection; feed it in order and send its `output` after each call."""

    _max_size: int  # of messages, see `bound`; first comes a handshake
    # From the handshake on, until it finds what only the library can make something of.
    _splitter: FrameSplitter | None = None
    _odd: OddFrames | None = None  # from the first odd frame on, while it is open
    _said: list[bytes] | None = None
    _closing: CloseCodes | None = None  # either side has begun to, and by which codes
    _has_ended: bool = False  # nothing is said any more, nor taken
    is_behind: bool = False  # `split` has something left of what it was fed
    held_bytes: int = 0  # of a message whose end is yet to come
    # Whether one frame at a time is split off, so that `bound` holds from the very next on.
    one_by_one: bool = False

    @property
    def is_closing(self) -> bool:
        """Whether either side has begun to close: nothing more may be sent."""
        return self._closing is not None

    @property
    def is_dropped(self) -> bool:
        """Whether the connection is gone, and all of it forgotten."""
        return self._closing is _GONE

    def bound(self, max_size: int, *, one_by_one: bool) -> None:
        """Take messages of up to `max_size` bytes from the next frame on; larger ones fail it."""
        self._max_size = max_size
        self.one_by_one = one_by_one
        if self._odd is not None:
            self._odd.bound(max_size)
        if self._splitter is not None:
            self._splitter.max_size = max_size

    @property
    def close_codes(self) -> tuple[int | None, int | None]:
        """The codes of the close frames that were sent and received, None where there was none."""
        codes = self._closing or _GONE
        return codes.sent, codes.received

    @property
    def own_close_code(self) -> int | None:
        """The code of the close frame that was sent, unless it answers the client's."""
        codes = self._closing or _GONE
        return None if codes.is_answer else codes.sent

    # ------------------------------------------------------------------------- from the client

    def begin(self, request: Head, raw: bytes, *, now_s: int) -> bool:
        """Answer a handshake, whose whole head is `raw`; return whether it succeeds."""
        answer = answer_to(request, raw, now_s=now_s)
        if answer is not None:
            self._said, opens = [answer], True
        else:
            self._said, opens = judge_handshake(raw)
        if opens:
            self._splitter = FrameSplitter(self._max_size)
        else:
            self._closing, self._has_ended = CloseCodes(), True
        return opens

    def split(self, data: bytes, *, max_frames: int, max_bytes: int) -> list[bytes | Other]:
        """Return whole texts in order, and what is to be given to `feed` in its place.

        As many as one turn may take, see `FrameSplitter.feed`; the rest is kept for the next call.
        """
        splitter = self._splitter
        if splitter is None:
            return [Other(data)]
        if self.one_by_one:
            max_frames = 1
        frames = splitter.feed(data, max_frames=max_frames, max_bytes=max_bytes)
        self.is_behind = splitter.is_behind
        self.held_bytes = len(splitter.buffer)
        if self._odd is not None:
            self.held_bytes += self._odd.held_bytes
        if splitter.gave_up:
            self._splitter = None
        return frames

    def feed(self, data: bytes) -> list[Event]:
        """Take a frame that is no whole text, or all that is left; return what came of it."""
        if self._has_ended:
            return []
        is_frame = self._splitter is not None
        if is_frame and self._odd is None and data[0] in _CONTROLS and data[1] <= MAX_SHORT:
            payload = short_payload(data)
            if data[0] == PING:
                self._say(control_frame(PONG, payload))
                return []
            if data[0] == PONG:
                return [Pong(payload)]
            code = close_code(payload)
            if code is not None:
                self._take_close(code, payload)
                return [PeerClosed()]
        if self._closing is None:
            return self._feed_odd(data)
        # Behind our own close only the client's matters; what is none, or no frame, is as good.
        if not is_frame or is_close(data):
            self._end()
        return []

    def _take_close(self, code: int, payload: bytes) -> None:
        if self._closing is None:
            self._say(control_frame(CLOSE, payload))
            self._closing = CloseCodes(code, code, is_answer=True)
        else:
            self._closing = self._closing._replace(received=code)
        self._end()

    def _feed_odd(self, data: bytes) -> list[Event]:
        if self._odd is None:
            self._odd = OddFrames(self._max_size)
        events = self._odd.feed(data)
        for said in self._odd.output():
            self._say(said)
        self._closing = self._odd.close_codes
        if self._closing is not None:
            self._has_ended = True  # the library has said so
            self._drop_odd()
        return events

    def await_close(self) -> None:
        """Pass over what the client sends but for its close frame; to be called once."""
        if self._splitter is not None:
            self._splitter = CloseFinder.behind(self._splitter)

    def end(self) -> None:
        """The client has ended its stream."""
        self._closing = self._closing or CloseCodes()
        self._end()

    def drop(self) -> None:
        """Forget everything, once the connection is gone; it then counts as closed."""
        self._closing, self._has_ended = _GONE, True
        self._drop_odd()
        self._splitter = self._said = None
        self.is_behind = False

    def _drop_odd(self) -> None:
        if self._odd is not None:
            self._odd.drop()
            self._odd = None

    # --------------------------------------------------------------------------- to the client

    def ping(self, payload: bytes) -> None:
        """Send a ping, of at most 125 bytes."""
        if not self._has_ended:
            self._say(control_frame(PING, payload))

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, unless the client was faster."""
        if self._closing is None:
            self._say(control_frame(CLOSE, close_payload(code, reason)))
            self._closing = CloseCodes(code)
            self._drop_odd()

    def fail(self, code: int, reason: str) -> None:
        """Send a close frame, because of what the client sent, and end the stream."""
        self.close(code, reason)
        self._end()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._say(END)
            self._drop_odd()

    def _say(self, data: bytes) -> None:
        if self._said is None:
            self._said = []
        self._said.append(data)

    def output(self) -> Sequence[bytes]:
        """Return what is to be sent now, once; `END` ends the stream."""
        said, self._said = self._said, None
        return said or ()
