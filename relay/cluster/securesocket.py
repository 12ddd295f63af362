"""A TLS connection that never waits, for loops that wait for many things at once.

TLS runs in memory here, apart from the socket. So whatever came is decrypted at once, and nothing
is left where a poller does not see it; and what is written is encrypted at once, and needs no
second try with the same bytes. What the socket does not take is kept, and counted.
"""

import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final

READ_BYTES: Final = 128 * 1024  # at a time, and so what one turn can bring
_RECORD_BYTES: Final = 16 * 1024  # TLS has no larger ones


class ConnectionEnded(Exception):
    """The other end has closed the connection."""


class SecureSocket:
    """One connection, open or not. Errors of the socket and of TLS come as OSError."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        self._socket = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._unsent = memoryview(b"")  # encrypted, taken from `_outgoing`
        self._has_ended = False
        self._is_drained = True  # all that has come is decrypted and returned
        self._chunk = memoryview(bytearray(READ_BYTES))
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def fileno(self) -> int:
        """The descriptor to wait on: for reading, and for writing while something is unsent."""
        return self._socket.fileno()

    @property
    def unsent_bytes(self) -> int:
        """How much has been written that the socket has not taken."""
        return len(self._unsent) + self._outgoing.pending

    def shake_hands(self, preface: Callable[[bytes], bytes], deadline_s: float) -> None:
        """Begin TLS; until `deadline_s` of time.monotonic().

        What comes goes through `preface` first, which returns what of it belongs to TLS.

        Raises:
            TimeoutError: it took too long.
            ConnectionEnded: the other end would not.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self.wait(deadline_s)
                if time.monotonic() >= deadline_s:
                    raise TimeoutError from None
                self._incoming.write(preface(bytes(self._receive())))
                if self._has_ended:
                    raise ConnectionEnded from None
            except ssl.SSLError:
                self._say_why()
                raise
            else:
                self._is_drained = False  # something may have come right behind it
                self.flush()
                return

    def write(self, data: bytes) -> None:
        """Encrypt `data`; `flush` sends it. The caller looks at `unsent_bytes`."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]

    def flush(self) -> None:
        """Send what the socket takes."""
        while self._unsent or self._outgoing.pending:
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read())
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            self._unsent = self._unsent[sent:]

    def read(self) -> bytes:
        """Return some of what has come, without waiting; empty where nothing has.

        Raises:
            ConnectionEnded: and before that, everything was returned.
        """
        if self._has_ended:
            raise ConnectionEnded
        chunk = self._receive()
        if not chunk and not self._has_ended and self._is_drained:
            return b""
        self._incoming.write(chunk)
        pieces = []
        try:
            while piece := self._tls.read(_RECORD_BYTES):
                pieces.append(piece)
            self._has_ended = True
        except ssl.SSLWantReadError:
            self._is_drained = True
        except ssl.SSLZeroReturnError:
            self._has_ended = True
        if self._has_ended and not pieces:
            raise ConnectionEnded
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def wait(self, until_s: float) -> None:
        """Wait until there is something to do, or until that time of time.monotonic()."""
        left_s = until_s - time.monotonic()
        if left_s <= 0 or self._has_ended or not self._is_drained:
            return
        wanted = select.POLLIN | (select.POLLOUT if self.unsent_bytes else 0)
        self._poll.modify(self._socket, wanted)
        self._poll.poll(int(1000 * left_s) + 1)

    def close(self) -> None:
        """Close it; what is unsent is dropped."""
        self._socket.close()

    def _receive(self) -> memoryview:
        """Return what came, which the next call overwrites."""
        try:
            size = self._socket.recv_into(self._chunk)
        except BlockingIOError:
            return self._chunk[:0]
        if not size:
            self._has_ended = True
        return self._chunk[:size]

    def _say_why(self) -> None:
        """Send the alert with which a handshake fails, if it can be."""
        try:
            self.flush()
        except OSError:
            pass
