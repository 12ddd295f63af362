"""The client side of a WebSocket, cut down to what a load generator needs, to cost it little.

No extensions, no fragments out, and a masking key of zero, which RFC 6455 cannot forbid a client
and which leaves the payload as it is.
"""

import asyncio
import base64
import hashlib
import os
from struct import Struct
from typing import Final, cast
from urllib.parse import urlsplit

from relay.handshake import SILENT_END, tls_context, why
from relay.trust import Trust

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_MAX_HANDSHAKE_BYTES: Final = 16 * 1024
_MAX_FRAME_BYTES: Final = 16 * 1024 * 1024

_TEXT: Final = 0x81
_CONT, _CLOSE, _PING, _PONG = 0x0, 0x8, 0x9, 0xA
_SHORT: Final = [bytes((_TEXT, 0x80 | n, 0, 0, 0, 0)) for n in range(126)]
_MEDIUM: Final = Struct(">BBHI").pack
_LONG: Final = Struct(">BBQI").pack

NO_CLOSE_FRAME: Final = 1006


class Target:
    """Where to connect to; all connections of a process share its TLS context.

    Raises:
        SettingsError: a file of `trust` cannot be used.
    """

    def __init__(self, url: str, trust: Trust | None = None) -> None:
        parts = urlsplit(url)
        self.host: Final = parts.hostname or ""
        self.port: Final = parts.port or (443 if parts.scheme == "wss" else 80)
        self.address: Final = f"{self.host}:{self.port}"  # of the Host header
        self.tls: Final = tls_context(trust or Trust()) if parts.scheme == "wss" else None
        self.is_loopback: Final = self.host.startswith("127.")


def text_frame(payload: bytes) -> bytes:
    """Return `payload` as one masked, final text frame."""
    size = len(payload)
    if size < 126:
        return _SHORT[size] + payload
    if size < 65536:
        return _MEDIUM(_TEXT, 0xFE, size, 0) + payload
    return _LONG(_TEXT, 0xFF, size, 0) + payload


class SocketWire(asyncio.Protocol):
    """One connection, for one life; subclasses say what happens at its opening, texts and end."""

    __slots__ = ("_accept", "_fragments", "_host", "_out", "_rest", "is_open", "transport")

    def __init__(self, host: str) -> None:
        self._host = host
        self.transport: asyncio.Transport | None = None
        self.is_open = False
        self._rest = b""
        self._out: list[bytes] = []
        self._fragments: list[bytes] | None = None
        self._accept = b""

    # -- for subclasses ---------------------------------------------------------------------------

    def opened(self) -> None:
        """Called when the handshake is done."""

    def text(self, payload: bytes) -> None:
        """Called for each text message."""

    def chunk_begins(self) -> None:
        """Called before the frames of one read."""

    def ended(self, code: int, reason: str) -> None:
        """Called once the connection is over."""

    def write(self, payload: bytes) -> None:
        """Send a text message; frames written while a read is handled leave in one write."""
        self._out.append(text_frame(payload))

    def flush(self) -> None:
        """Hand what was written to the kernel."""
        if self._out and self.transport is not None:
            out, self._out = self._out, []
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def leave(self, *, goodbye: bool) -> None:
        """End the connection, with a close frame or as a crash would."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if goodbye:
            self.flush()
            self._control(_CLOSE, (1000).to_bytes(2))
            transport.close()
        else:
            transport.abort()

    # -- asyncio ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self.transport = cast(asyncio.Transport, transport)
        # Backpressure is the relay's business; ours is to measure, so nothing is paused here.
        self.transport.set_write_buffer_limits(high=1 << 30)
        key = base64.b64encode(os.urandom(16))
        digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
        self._accept = base64.b64encode(digest)
        self.transport.write(
            b"GET / HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n"
            % (self._host.encode(), key)
        )

    def data_received(self, data: bytes) -> None:
        """Take what arrived, frame by frame."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not self.is_open:
            head_end = data.find(b"\r\n\r\n")
            if head_end < 0:
                self._rest = data
                if len(data) > _MAX_HANDSHAKE_BYTES:
                    self._fail("an endless handshake")
                return
            if not self._is_accepted(data[:head_end]):
                return
            data = data[head_end + 4 :]
            self.is_open = True
            self.opened()
        self.chunk_begins()
        at, end = 0, len(data)
        while end - at >= 2:
            first, size = data[at], data[at + 1]
            start = at + 2
            if size > 125:
                wide = 2 if size == 126 else 8
                start += wide
                if start > end:
                    break
                size = int.from_bytes(data[at + 2 : start])
                if size > _MAX_FRAME_BYTES:
                    self._fail(f"a frame of {size} bytes")
                    return
            stop = start + size
            if stop > end:
                break
            if first == _TEXT:
                self.text(data[start:stop])
            else:
                self._other(first, data[start:stop])
            at = stop
        self._rest = data[at:] if at else data
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end, unless a close frame already has."""
        told = "" if exc is None else why(exc, self._host) or str(exc)
        if not told and not self.is_open and self._speaks_tls:
            told = SILENT_END
        self._over(NO_CLOSE_FRAME, told or "no close frame")

    # -- the rest ---------------------------------------------------------------------------------

    @property
    def _speaks_tls(self) -> bool:
        transport = self.transport
        return transport is not None and transport.get_extra_info("sslcontext") is not None

    def _is_accepted(self, head: bytes) -> bool:
        status, *lines = head.split(b"\r\n")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines)
        }
        if status.split(b" ")[1:2] != [b"101"]:
            self._fail(f"the server answered {status.decode(errors='replace')!r}")
            return False
        if fields.get(b"sec-websocket-accept") != self._accept:
            self._fail("the server is no WebSocket server")
            return False
        return True

    def _other(self, first: int, payload: bytes) -> None:
        opcode, final = first & 0x0F, first & 0x80
        if opcode == _PING:
            self._control(_PONG, payload)
        elif opcode == _CLOSE:
            code = int.from_bytes(payload[:2]) if len(payload) >= 2 else 1005
            self._control(_CLOSE, payload[:2])
            if self.transport is not None:
                self.transport.close()
            self._over(code, payload[2:].decode(errors="replace"))
        elif opcode == 1 and not final:
            self._fragments = [payload]
        elif opcode == _CONT and self._fragments is not None:
            self._fragments.append(payload)
            if final:
                whole, self._fragments = b"".join(self._fragments), None
                self.text(whole)
        elif opcode != _PONG:
            self._fail(f"a WebSocket frame that starts with {first:#x}")

    def _control(self, opcode: int, payload: bytes) -> None:
        if self.transport is not None:
            head = bytes((0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0))
            self.transport.write(head + payload)

    def _fail(self, reason: str) -> None:
        if self.transport is not None:
            self.transport.abort()
        self._over(NO_CLOSE_FRAME, reason)

    def _over(self, code: int, reason: str) -> None:
        if self.transport is not None:
            self.transport = None
            self.is_open = False
            self._out.clear()
            self.ended(code, reason)
