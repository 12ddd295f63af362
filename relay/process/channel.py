"""The control channel between the supervisor and each of its children.

One socketpair a child, carrying newline-delimited JSON (relay.process.control), and a descriptor
with a message that says so. A channel never blocks and knows no event loop: whoever owns it waits
for `fileno()` to become readable in his own way (asyncio, uvloop or zmq.Poller) and then calls
`receive`. The end of the channel is itself news: it is how a child learns that the supervisor is
gone, and the supervisor that a child is.
"""

import os
import socket
from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from relay.process.control import FromChild, FromSupervisor, PeerGone

# The longest message is the topology: some 110 bytes a worker and 20 a front, at most 256 of each
# (relay.settings.tables.MAX_PROCESSES).
MAX_LINE_BYTES: Final = 1 << 20
MAX_UNSENT_BYTES: Final = 1 << 20
READ_BYTES: Final = 1 << 16
# The kernel ends a read behind what came with a descriptor, so one is what can come.
_MAX_DESCRIPTORS: Final = 4

Incoming = TypeVar("Incoming")
Outgoing = TypeVar("Outgoing")

_encoder = msgspec.json.Encoder()


class LineBuffer:
    """Cuts a byte stream into lines, however it arrives in pieces."""

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._partial = bytearray()

    @property
    def is_within_line(self) -> bool:
        """Whether the rest of a line has yet to come."""
        return bool(self._partial)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Return the lines that `chunk` completes, without their newline.

        Raises:
            ValueError: a line is longer than `max_line_bytes`.
        """
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = bytes(self._partial) + lines[0]
            self._partial.clear()
        self._partial += rest
        longest = max(map(len, [*lines, self._partial]))
        if longest > self._max_line_bytes:
            raise ValueError(
                f"control line of {longest} bytes exceeds max_line_bytes={self._max_line_bytes}"
            )
        return iter(lines)


class _Unsent(NamedTuple):
    """What has yet to be sent of a line, and the descriptor that goes with its first byte."""

    line: bytes
    descriptor: int | None

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)


class ControlChannel(Generic[Incoming, Outgoing]):
    """One end of a control channel; owns its socket."""

    def __init__(self, sock: socket.socket, decoder: msgspec.json.Decoder[Incoming]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder = decoder
        self._lines = LineBuffer()
        self._unsent: deque[_Unsent] = deque()
        self._unsent_bytes = 0
        self._received: deque[int] = deque()  # descriptors that nobody has taken yet
        self._peer_gone = False

    def fileno(self) -> int:
        """The descriptor to wait on: always for reading, for writing too while `has_unsent`."""
        return self._sock.fileno()

    def receive(self) -> list[Incoming | PeerGone]:
        """Return everything that has arrived, in order; empty where nothing has.

        When the peer is gone, `PeerGone` is the last item, of this and of every later call.

        Raises:
            ValueError: the peer sent what is no message of this channel; a bug of ours.
        """
        messages: list[Incoming | PeerGone] = []
        while not self._peer_gone:
            try:
                chunk, descriptors, _, _ = socket.recv_fds(self._sock, READ_BYTES, _MAX_DESCRIPTORS)
            except BlockingIOError:
                return messages
            except ConnectionError:  # it died with something of ours unread
                chunk, descriptors = b"", []
            for fd in descriptors:
                os.set_inheritable(fd, False)
            self._received += descriptors
            if not chunk:
                self._peer_gone = True
            messages.extend(map(self._decoder.decode, self._lines.feed(chunk)))
        messages.append(PeerGone())
        return messages

    def take_descriptor(self) -> int:
        """Return the descriptor that came with the oldest message that carries one.

        It is the caller's; to be called once for each such message.

        Raises:
            ValueError: none has come; a bug of ours.
        """
        if not self._received:
            raise ValueError("a control message without the descriptor that it carries")
        return self._received.popleft()

    def send(self, message: Outgoing, *, descriptor: int | None = None) -> bool:
        """Send `message`, or keep what the socket does not take for the next `send` or `flush`.

        The peer gets a `descriptor` of its own, and the caller keeps his.

        Return False where the peer has read nothing for so long that MAX_UNSENT_BYTES are waiting:
        `message` was not queued. A vanished peer is no error here, `receive` tells of it.
        """
        line = _encoder.encode(message) + b"\n"
        if self._unsent_bytes + len(line) > MAX_UNSENT_BYTES:
            self.flush()
            if self._unsent_bytes + len(line) > MAX_UNSENT_BYTES:
                return False
        self._unsent.append(_Unsent(line, None if descriptor is None else os.dup(descriptor)))
        self._unsent_bytes += len(line)
        self.flush()
        return True

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it; ask `has_unsent` whether some is left."""
        while self._unsent:
            rest = self._unsent[0]
            try:
                if rest.descriptor is None:
                    sent = self._sock.send(rest.line)
                else:
                    sent = socket.send_fds(self._sock, [rest.line], [rest.descriptor])
            except BlockingIOError:
                return
            except ConnectionError:
                self._drop_unsent()
                return
            rest.close()  # it has gone with the first byte
            self._unsent_bytes -= sent
            if sent == len(rest.line):
                self._unsent.popleft()
            else:
                self._unsent[0] = _Unsent(rest.line[sent:], None)

    def _drop_unsent(self) -> None:
        while self._unsent:
            self._unsent.popleft().close()
        self._unsent_bytes = 0

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for the socket to become writable."""
        return bool(self._unsent)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on its way through this end: another program may take it over."""
        return not self._unsent and not self._lines.is_within_line and not self._received

    def close(self) -> None:
        """Close this end; the peer receives `PeerGone`. What was not sent is dropped."""
        self._drop_unsent()
        while self._received:
            os.close(self._received.popleft())
        self._sock.close()


SupervisorEnd = ControlChannel[FromChild, FromSupervisor]
ChildEnd = ControlChannel[FromSupervisor, FromChild]

_from_child: msgspec.json.Decoder[FromChild] = msgspec.json.Decoder(FromChild)
_from_supervisor: msgspec.json.Decoder[FromSupervisor] = msgspec.json.Decoder(FromSupervisor)


def supervisor_end(sock: socket.socket) -> SupervisorEnd:
    """Return the supervisor's channel over its half of a socketpair."""
    return ControlChannel(sock, _from_child)


def child_end(fd: int) -> ChildEnd:
    """Return the child's channel over the inherited descriptor given as --control-fd.

    The descriptor is owned by the channel from here on, and no longer inheritable: a grandchild
    that held it would hide the child's death from the supervisor.

    Raises:
        OSError: `fd` is no open socket.
    """
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    return ControlChannel(sock, _from_supervisor)
