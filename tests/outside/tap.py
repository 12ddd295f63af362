"""What goes by on the way from a client to a relay: a proxy for one connection that counts."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Final, Self

_TEXT: Final = 0x1
_PONG: Final = 0xA
_MASK_BYTES: Final = 4


class Tap:
    """Listens at `port` for one client, passes all on to a relay, and counts what it sends."""

    def __init__(self, relay_port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._relay_port = relay_port
        self._opcodes: Counter[int] = Counter()
        self._thread = threading.Thread(target=self._pass_on, daemon=True)

    @property
    def texts(self) -> int:
        """How many texts the client has sent."""
        return self._opcodes[_TEXT]

    @property
    def pongs(self) -> int:
        """How many pongs the client has sent."""
        return self._opcodes[_PONG]

    @property
    def is_over(self) -> bool:
        """Whether the client's connection has ended."""
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _pass_on(self) -> None:
        client, _ = self._listener.accept()
        relay = socket.create_connection(("127.0.0.1", self._relay_port))
        back = threading.Thread(target=_copy, args=(relay, client), daemon=True)
        back.start()
        seen = b""
        has_opened = False
        with client, relay:
            for data in _chunks(client):
                relay.sendall(data)
                seen += data
                if not has_opened:
                    _, end, seen_behind = seen.partition(b"\r\n\r\n")
                    has_opened = bool(end)
                    seen = seen_behind if end else seen
                if has_opened:
                    seen = self._count(seen)
            _end(relay)
            back.join()

    def _count(self, data: bytes) -> bytes:
        """Count the frames that `data` begins with, all of them short; return what is left."""
        while len(data) >= 2:
            length = data[1] & 0x7F
            assert length < 127, "a frame longer than this proxy reads"
            head = 2
            if length == 126:
                length, head = int.from_bytes(data[2:4], "big"), 4
            if len(data) < head + _MASK_BYTES + length:
                break
            self._opcodes[data[0] & 0x0F] += 1
            data = data[head + _MASK_BYTES + length :]
        return data


def _copy(origin: socket.socket, target: socket.socket) -> None:
    try:
        for data in _chunks(origin):
            target.sendall(data)
    except OSError:
        pass  # nobody is there to take it
    _end(target)


def _chunks(origin: socket.socket) -> Iterator[bytes]:
    """Yield what comes until the connection is over, in order or not."""
    try:
        while data := origin.recv(65536):
            yield data
    except OSError:
        pass


def _end(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is over already
