"""Frames of a client that are not plain, as the websockets library reads them.

A reader is made when the first of them comes: what it keeps is 1.5 KiB, and few clients need one.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

_LOGGER: Final = logging.getLogger("websockets.server")


class WholeMessage(NamedTuple):
    """A whole message that did not come as one text frame; one that is a text may be no UTF-8."""

    payload: bytes
    is_text: bool


class Pong(NamedTuple):
    """The answer to a ping."""

    payload: bytes


class PeerClosed(NamedTuple):
    """The client's close frame has come; it is answered in `output`."""


Event = WholeMessage | Pong | PeerClosed


class CloseCodes(NamedTuple):
    """The codes of the close frames of both sides, None where there was none."""

    sent: int | None = None
    received: int | None = None
    is_answer: bool = False  # what was sent answers what was received


class OddFrames:
    """A reader of frames in order, while the connection is open; then it is to be dropped."""

    __slots__ = ("_fragments", "_is_text", "_library")

    def __init__(self, max_size: int) -> None:
        self._library = ServerProtocol(max_size=max_size, logger=_LOGGER, state=State.OPEN)
        self._fragments: bytearray | None = None  # of a message, while there are some
        self._is_text = False  # what is being put together of them

    def bound(self, max_size: int) -> None:
        """Take messages of up to `max_size` bytes from the next frame on."""
        self._library.max_message_size = max_size

    @property
    def held_bytes(self) -> int:
        """How much there is of a message whose end is yet to come."""
        return 0 if self._fragments is None else len(self._fragments)

    @property
    def close_codes(self) -> CloseCodes | None:
        """How the connection closes, None while it is open."""
        library = self._library
        if library.state is State.OPEN:
            return None
        sent, received = library.close_sent, library.close_rcvd
        return CloseCodes(
            sent.code if sent else None,
            received.code if received else None,
            bool(library.close_rcvd_then_sent),
        )

    def feed(self, data: bytes) -> list[Event]:
        """Take a frame, or all that is left where it could not be cut; return what came of it."""
        self._library.receive_data(data)
        events: list[Event] = []
        for frame in self._library.events_received():
            assert isinstance(frame, Frame), "the handshake is over"
            self._frame(frame, events)
        return events

    def output(self) -> list[bytes]:
        """Return what is to be sent, once."""
        return self._library.data_to_send()

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

    def drop(self) -> None:
        """Forget everything.

        The library's objects refer to themselves, and the garbage collector hardly ever looks
        (`relay.process.run.settle`): they would stay.
        """
        vars(self._library).clear()


def judge_handshake(raw: bytes) -> tuple[list[bytes], bool]:
    """Return what the library says to the whole request of a handshake, and whether it opens."""
    library = ServerProtocol(logger=_LOGGER)
    library.receive_data(raw)
    for request in library.events_received():
        assert isinstance(request, Request), "frames come behind it"
        library.send_response(library.accept(request))
    said, opens = library.data_to_send(), library.state is State.OPEN
    vars(library).clear()
    return said, opens
