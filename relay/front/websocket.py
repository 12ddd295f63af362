"""The server's end of one WebSocket, without I/O: bytes of the client in, messages and bytes out.

Whole texts are cut out by `FrameSplitter`; everything else (the handshake, control frames,
fragments, faults) is the websockets library's.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

from relay.front.wire import CloseFinder, FrameSplitter, Other

# In `output`: the stream ends here.
END: Final = SEND_EOF

_LOGGER: Final = logging.getLogger("websockets.server")
# In place of one that is gone.
_CLOSED: Final = ServerProtocol(logger=_LOGGER, state=State.CLOSED)


class HandshakeDone(NamedTuple):
    """The handshake has succeeded; `headers` are those of its request."""

    headers: Headers


class WholeMessage(NamedTuple):
    """A whole message that did not come as one text frame; one that is a text may be no UTF-8."""

    payload: bytes
    is_text: bool


class Pong(NamedTuple):
    """The answer to a ping."""

    payload: bytes


class PeerClosed(NamedTuple):
    """The client's close frame has come; it is answered in `output`."""


Event = HandshakeDone | WholeMessage | Pong | PeerClosed


class WebSocket:
    """One connection; feed it in order and send its `output` after each call."""

    __slots__ = (
        "_fragments",
        "_is_text",
        "_library",
        "_max_size",
        "_splitter",
        "has_opened",
        "held_bytes",
        "is_behind",
        "one_by_one",
    )

    def __init__(self, max_size: int) -> None:
        """Expect a handshake, then messages of up to `max_size` bytes, see `bound`."""
        self._max_size = max_size
        self._library = self._protocol(State.CONNECTING)
        # From the handshake on, until it finds what only the library can make something of.
        self._splitter: FrameSplitter | None = None
        self._fragments: bytearray | None = None  # of a message, while there are some
        self._is_text = False  # what is being put together of them
        self.has_opened = False
        self.is_behind = False  # `split` has something left of what it was fed
        self.held_bytes = 0  # of a message whose end is yet to come
        # Whether one frame at a time is split off, so that `bound` holds from the very next on.
        self.one_by_one = False

    def _protocol(self, state: State) -> ServerProtocol:
        return ServerProtocol(max_size=self._max_size, logger=_LOGGER, state=state)

    @property
    def is_closing(self) -> bool:
        """Whether either side has begun to close: nothing more may be sent."""
        return self._library.state not in (State.OPEN, State.CONNECTING)

    @property
    def is_dropped(self) -> bool:
        """Whether the connection is gone, and all of it forgotten."""
        return self._library is _CLOSED

    def bound(self, max_size: int, *, one_by_one: bool) -> None:
        """Take messages of up to `max_size` bytes from the next frame on; larger ones fail it."""
        self._max_size = self._library.max_message_size = max_size
        self.one_by_one = one_by_one
        if self._splitter is not None:
            self._splitter.max_size = max_size

    @property
    def close_codes(self) -> tuple[int | None, int | None]:
        """The codes of the close frames that were sent and received, None where there was none."""
        sent, received = self._library.close_sent, self._library.close_rcvd
        return (sent.code if sent else None, received.code if received else None)

    @property
    def own_close_code(self) -> int | None:
        """The code of the close frame that was sent, unless it answers the client's."""
        library = self._library
        if library.close_sent is None or library.close_rcvd_then_sent:
            return None
        return library.close_sent.code

    # ------------------------------------------------------------------------- from the client

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
        held = len(splitter.buffer)
        self.held_bytes = held if self._fragments is None else held + len(self._fragments)
        if splitter.gave_up:
            self._splitter = None
        return frames

    def feed(self, data: bytes) -> list[Event]:
        """Give the library what only it can read; return what came of it."""
        self._library.receive_data(data)
        events: list[Event] = []
        for event in self._library.events_received():
            if isinstance(event, Request):
                self._shake_hands(event, events)
            elif isinstance(event, Frame):
                self._frame(event, events)
        return events

    def _shake_hands(self, request: Request, events: list[Event]) -> None:
        self._library.send_response(self._library.accept(request))
        if self._library.state is State.OPEN:
            self.has_opened = True
            self._splitter = FrameSplitter(self._max_size)
            events.append(HandshakeDone(request.headers))

    def renew_library(self) -> None:
        """Forget the handshake, which the library would keep: 2 KiB a client.

        To be called once, when the output of the handshake has been taken.
        """
        vars(self._library).clear()
        self._library = self._protocol(State.OPEN)

    def _frame(self, frame: Frame, events: list[Event]) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                self._is_text = frame.opcode is Opcode.TEXT
                if frame.fin:
                    events.append(WholeMessage(bytes(frame.data), self._is_text))
                else:
                    self._fragments = bytearray(frame.data)
            case Opcode.CONT:
                # The library bounds the sum of the fragments, not their number.
                assert self._fragments is not None, "the library refuses one that continues nothing"
                self._fragments += frame.data
                if frame.fin:
                    whole, self._fragments = bytes(self._fragments), None
                    events.append(WholeMessage(whole, self._is_text))
            case Opcode.PONG:
                events.append(Pong(bytes(frame.data)))
            case Opcode.CLOSE:
                events.append(PeerClosed())
            case Opcode.PING:
                pass  # the library has answered

    def await_close(self) -> None:
        """Pass over what the client sends but for its close frame; to be called once."""
        if self._splitter is not None:
            self._splitter = CloseFinder(self._splitter)

    def end(self) -> None:
        """The client has ended its stream."""
        self._library.receive_eof()

    def drop(self) -> None:
        """Forget everything, once the connection is gone; it then counts as closed.

        The library's objects refer to themselves, and the garbage collector hardly ever looks
        (`relay.process.run.settle`): they would stay.
        """
        vars(self._library).clear()
        self._library = _CLOSED
        self._splitter = self._fragments = None
        self.is_behind = False

    # --------------------------------------------------------------------------- to the client

    def ping(self, payload: bytes) -> None:
        """Send a ping."""
        self._library.send_ping(payload)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, unless the client was faster."""
        try:
            self._library.send_close(code, reason)
        except InvalidState:
            pass

    def fail(self, code: int, reason: str) -> None:
        """Send a close frame, because of what the client sent."""
        self._library.fail(code, reason)

    def output(self) -> list[bytes]:
        """Return what is to be sent now, once; `END` ends the stream."""
        return self._library.data_to_send()
