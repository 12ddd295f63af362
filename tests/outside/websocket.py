"""A client's end of a WebSocket that blocks: bytes and texts, without a word of the protocol.

Everything that a client may do on the wire, in order and out of it, one thing at a time.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from .waiting import DEADLINE_S

MAX_FRAME_BYTES: Final = 2**24
NO_CLOSE_FRAME: Final = 1006


class ConnectionOver(Exception):
    """The server ended the connection; `code` is its close code, 1006 without a close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the connection was closed with {code} {reason!r}")
        self.code = code
        self.reason = reason


class WebSocket:
    """One raw WebSocket connection.

    It reads only inside the calls that wait for something, so a test decides when a frame is
    taken from the socket and when a ping is answered: `answer_pings` false answers none until
    `pong` is called; `pings` holds the payloads of those that came, oldest first.
    `receive_buffer_bytes` bounds what the kernel takes for a client that does not read.
    """

    def __init__(
        self, url: str, *, answer_pings: bool = True, receive_buffer_bytes: int | None = None
    ) -> None:
        self.answer_pings = answer_pings
        self.pings: list[bytes] = []
        self._inbox: deque[str] = deque()
        self._pongs: list[bytes] = []
        self._outbox = bytearray()
        self._at_eof = False
        uri = parse_uri(url)
        self._protocol = ClientProtocol(uri, max_size=MAX_FRAME_BYTES)
        self._socket = socket.socket()
        if receive_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.settimeout(DEADLINE_S)
        try:
            self._socket.connect((uri.host, uri.port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
            self._protocol.send_request(self._protocol.connect())
            self._flush()
            self._pump_until(lambda: self._protocol.state is State.OPEN, "the handshake's answer")
        except BaseException:
            self._socket.close()
            raise

    def __str__(self) -> str:
        return "the client"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.drop()

    # What goes out.

    def send_binary(self, data: bytes) -> None:
        """Send a binary message, which the protocol has no use for."""
        self._protocol.send_binary(data)
        self._flush()

    def send_text(self, data: bytes, *, fin: bool = True) -> None:
        """Send a text message of any bytes; `fin` false leaves it open for `send_rest`.

        Raises:
            ConnectionOver: the server's close frame is here already, be it unread.
        """
        try:
            self._protocol.send_text(data, fin=fin)
        except InvalidState:
            raise ConnectionOver(
                self.close_code, self._protocol.close_reason or "before it was sent"
            ) from None
        self._flush()

    def send_rest(self, data: bytes, *, fin: bool = True) -> None:
        """Send a further fragment of the message that `send_text` left open."""
        self._protocol.send_continuation(data, fin=fin)
        self._flush()

    def send_raw(self, data: bytes) -> None:
        """Send bytes below the WebSocket protocol."""
        self._outbox += data
        self._flush()

    def ping(self, payload: bytes = b"still there?") -> None:
        """Send a WebSocket ping and wait for its pong."""
        self._protocol.send_ping(payload)
        self._flush()
        self._pump_until(lambda: payload in self._pongs, f"the pong of {payload!r}")
        self._pongs.remove(payload)

    def pong(self, payload: bytes) -> None:
        """Answer a ping by hand."""
        self._protocol.send_pong(payload)
        self._flush()

    # What comes in.

    def recv_text(self, deadline_s: float = DEADLINE_S) -> str:
        """Return the next text message.

        Raises:
            ConnectionOver: the server closed the connection, and everything before was read.
        """
        self._pump_until(lambda: bool(self._inbox) or self._at_eof, "a frame", deadline_s)
        if not self._inbox:
            raise ConnectionOver(self.close_code, self._protocol.close_reason or "")
        return self._inbox.popleft()

    def recv_raw(self) -> bytes:
        """Return every byte until the server ends the connection, below the WebSocket protocol."""
        self._socket.settimeout(DEADLINE_S)
        return b"".join(iter(lambda: self._socket.recv(2**16), b""))

    def read_available(self) -> int:
        """Read what has come already, without waiting; return how many texts are there."""
        while not self._at_eof and select.select([self._socket], [], [], 0)[0]:
            self._read_available()
        return len(self._inbox)

    def expect_close(self, *codes: int, deadline_s: float = DEADLINE_S) -> None:
        """Nothing else comes, and the server closes the connection with one of `codes`."""
        self._pump_until(lambda: bool(self._inbox) or self._at_eof, "a close", deadline_s)
        assert not self._inbox, f"a close with {codes} was to come, but this: {self._inbox[0]}"
        assert self.close_code in codes, f"closed with {self.close_code}, not {codes}"

    def wait_for_pings(self, count: int, deadline_s: float = DEADLINE_S) -> None:
        """Wait until `count` pings have come since `pings` was last emptied."""
        self._pump_until(lambda: len(self.pings) >= count, f"{count} pings", deadline_s)

    def wait_for_close(self, deadline_s: float = DEADLINE_S) -> int:
        """Read and drop what comes until the connection is over; return the close code."""
        self._pump_until(lambda: self._at_eof, "the end of the connection", deadline_s)
        return self.close_code

    @property
    def local_port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def close_code(self) -> int:
        """The server's close code; 1006 where the connection ended without one."""
        close = self._protocol.close_rcvd
        return NO_CLOSE_FRAME if close is None else int(close.code)

    # The end.

    def close(self) -> None:
        """Close in order: when this returns, the front has let the session go."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._flush()
        # What still comes is thrown away: the test has seen all that it wanted.
        self._pump_until(lambda: self._at_eof, "the end of the closing handshake")
        self._socket.close()

    def half_close(self) -> None:
        """Say on TCP that nothing more will be sent, and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def drop(self) -> None:
        """Cut the connection without a word, as a network does."""
        self._socket.close()

    # Below: bytes.

    def _flush(self) -> None:
        """Write what the protocol has; read meanwhile, so that no two full buffers wait."""
        self._outbox += b"".join(self._protocol.data_to_send())
        deadline = time.monotonic() + DEADLINE_S
        while self._outbox and not self._at_eof:
            try:
                del self._outbox[: self._socket.send(self._outbox)]
            except BlockingIOError:
                self._wait(deadline, "room to write", write=True)
                self._read_available()
            except OSError:
                # The server has closed; what it sent before tells the rest.
                self._outbox.clear()

    def _pump_until(
        self, condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S
    ) -> None:
        deadline = time.monotonic() + deadline_s
        while not condition():
            if self._at_eof:
                raise ConnectionOver(self.close_code, f"while waiting for {what}")
            self._wait(deadline, what)
            self._read_available()

    def _wait(self, deadline: float, what: str, *, write: bool = False) -> None:
        remaining = deadline - time.monotonic()
        writers = [self._socket] if write else []
        ready = select.select([self._socket], writers, [], max(0.0, remaining))
        if not any(ready):
            raise AssertionError(f"{self} waited in vain for {what}")

    def _read_available(self) -> None:
        try:
            data = self._socket.recv(2**16)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._at_eof = True
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            self._take(event)
        self._send_answers()

    def _take(self, event: object) -> None:
        if isinstance(event, Response):
            assert event.status_code == 101, event
            return
        assert isinstance(event, Frame), event
        match event.opcode:
            case Opcode.TEXT:
                assert event.fin, "the relay sends a frame as one WebSocket frame"
                self._inbox.append(bytes(event.data).decode())
            case Opcode.PING:
                self.pings.append(bytes(event.data))
            case Opcode.PONG:
                self._pongs.append(bytes(event.data))
            case Opcode.CLOSE:
                pass
            case _:
                raise AssertionError(f"the relay sends text, but this came: {event}")

    def _send_answers(self) -> None:
        """Send what the protocol answers by itself: pongs, unless withheld, and the close frame."""
        if self._protocol.state is State.CLOSED:
            self._at_eof = True
        if self.answer_pings or self._protocol.close_rcvd is not None:
            self._flush()
        else:
            self._protocol.data_to_send()
