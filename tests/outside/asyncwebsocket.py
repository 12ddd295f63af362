"""A client's end of a WebSocket on an event loop, without a task of its own.

Frames are handed over as they are parsed, before their pong is written. So a pong never confirms a
receipt that its client has not seen, whatever happens to the connection next; and a paused
connection leaves everything to the kernel and the relay.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import SEND_EOF, State
from websockets.uri import WebSocketURI

from .websocket import MAX_FRAME_BYTES, NO_CLOSE_FRAME

SMALL_SEGMENT_BYTES = 1000


class AsyncWebSocket(asyncio.Protocol):
    """A client's end; `on_frame` gets each text, `on_end` the close code, once."""

    def __init__(
        self,
        uri: WebSocketURI,
        *,
        on_open: Callable[[], None],
        on_frame: Callable[[bytes], None],
        on_ping: Callable[[], None],
        on_end: Callable[[int], None],
    ) -> None:
        self._protocol = ClientProtocol(uri, max_size=MAX_FRAME_BYTES)
        self._transport: asyncio.Transport
        self._on_open = on_open
        self._on_frame = on_frame
        self._on_ping = on_ping
        self._on_end = on_end

    @property
    def is_open(self) -> bool:
        """Whether the handshake is over and no close has begun."""
        return self._protocol.state is State.OPEN and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the handshake."""
        self._transport = cast(asyncio.Transport, transport)
        if limit_reading := getattr(transport, "set_read_buffer_limits", None):
            # Of TLS: else it would go on taking 256 KiB while it is paused.
            limit_reading(high=SMALL_SEGMENT_BYTES, low=0)
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Hand over what is complete, then answer pings and closes."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                if self._protocol.state is State.OPEN:
                    self._on_open()
            elif isinstance(event, Frame):
                if event.opcode is Opcode.TEXT:
                    self._on_frame(bytes(event.data))
                elif event.opcode is Opcode.PING:
                    self._on_ping()
        self._flush()

    def eof_received(self) -> bool:
        """Close when the relay has."""
        self._protocol.receive_eof()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell how it ended: 1006 without a close frame."""
        close = self._protocol.close_rcvd
        self._on_end(NO_CLOSE_FRAME if close is None else int(close.code))

    def send(self, text: bytes) -> None:
        """Write a text frame; to be called while `is_open`."""
        self._protocol.send_text(text)
        self._flush()

    def pause(self) -> None:
        """Stop reading."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Begin an orderly close; `on_end` follows when the relay has answered, or is gone."""
        try:
            self._protocol.send_close(1000)
        except InvalidState:
            pass  # the relay was faster
        self._flush()

    def abort(self) -> None:
        """Cut the connection, as a network or a power switch does."""
        self._transport.abort()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data == SEND_EOF:
                self._transport.close()
            elif not self._transport.is_closing():
                self._transport.write(data)


async def open_socket(
    uri: WebSocketURI, *, receive_buffer_bytes: int | None = None, source: str = ""
) -> socket.socket:
    """Return a connected TCP socket; where a bound is given both its kernel buffers are small.

    `source` is the address that it comes from: each of 127.0.0.0/8 is one of this machine's.

    Raises:
        OSError: nobody listens.
    """
    connected = socket.socket()
    try:
        connected.setblocking(False)
        if receive_buffer_bytes is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            # The relay's kernel makes its own buffer for twenty segments, and the loopback's
            # segments are of 64 KiB.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT_BYTES)
        if source:
            connected.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(connected, (uri.host, uri.port))
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connected.close()
        raise
    return connected
