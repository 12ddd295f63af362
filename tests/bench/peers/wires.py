"""What carries a client's bytes: a WebSocket, or plain TCP. No I/O: bytes in, bytes out."""

from __future__ import annotations

import base64
import os
import struct
from typing import Final, Protocol

TEXT: Final = 0x1
BINARY: Final = 0x2
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA
_FIN: Final = 0x80
_MASKED: Final = 0x80
# A client must mask. With this key nothing changes, so it costs us nothing; a server cannot tell
# and does its part. Browsers draw a new key each time, against proxies, which are not here.
_KEY: Final = bytes(4)


class WireBroken(Exception):
    """The server refused the upgrade, or closed the connection."""


class Wire(Protocol):
    """One connection's bytes. `out` is what is to be written next."""

    out: bytearray
    is_open: bool

    def put(self, payload: bytes) -> None:
        """Write a payload."""

    def taken(self, data: bytes) -> list[bytes]:
        """Return the payloads that are complete with `data`."""


class TcpWire:
    """Plain TCP: a payload is whatever came."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.is_open = True

    def put(self, payload: bytes) -> None:
        """Write a payload."""
        self.out += payload

    def taken(self, data: bytes) -> list[bytes]:
        """Return what came."""
        return [data]


class WebSocketWire:
    """A WebSocket of RFC 6455, as far as servers here use it: no extension, no fragments."""

    def __init__(self, path: str, *, kind: int, subprotocol: str = "") -> None:
        self._opcode = kind
        self._buffer = b""
        self.is_open = False
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        if subprotocol:
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
        self.out = bytearray("\r\n".join([*lines, "", ""]).encode())

    def put(self, payload: bytes) -> None:
        """Write a payload as one frame."""
        self.out += frame(self._opcode, payload)

    def taken(self, data: bytes) -> list[bytes]:
        """Return the payloads that are complete now; answers pings.

        Raises:
            WireBroken: no upgrade, or the server says goodbye.
        """
        buffer = self._buffer + data if self._buffer else data
        if not self.is_open:
            head, end, buffer = buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return []
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                raise WireBroken(f"no upgrade: {head[:80]!r}")
            self.is_open = True
        payloads: list[bytes] = []
        at, size = 0, len(buffer)
        while size - at >= 2:
            length, begins = buffer[at + 1] & 0x7F, at + 2
            if length == 126:
                if size - at < 4:
                    break
                length, begins = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                if size - at < 10:
                    break
                length, begins = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            ends = begins + length
            if ends > size:
                break
            opcode = buffer[at] & 0x0F
            if opcode in (TEXT, BINARY):
                payloads.append(buffer[begins:ends])
            elif opcode == _PING:
                self.out += frame(_PONG, buffer[begins:ends])
            elif opcode == _CLOSE:
                raise WireBroken(f"closed: {buffer[begins:ends]!r}")
            at = ends
        self._buffer = buffer[at:]
        return payloads


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame."""
    size = len(payload)
    if size < 126:
        head = bytes((_FIN | opcode, _MASKED | size))
    elif size < 1 << 16:
        head = struct.pack(">BBH", _FIN | opcode, _MASKED | 126, size)
    else:
        head = struct.pack(">BBQ", _FIN | opcode, _MASKED | 127, size)
    return head + _KEY + payload
