"""What a client sends after its handshake, against the library's own parser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SEND_EOF
from websockets.server import ServerProtocol

from relay.front.entrance import head
from relay.front.oddframes import Event, PeerClosed, Pong, WholeMessage
from relay.front.websocket import WebSocket

MAX_SIZE: Final = 300  # small, so that messages beyond it are, too
_HEAD_BYTES: Final = 4

_HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_REQUEST: Final = head.parse(_HANDSHAKE)

Seen = tuple[str, bytes]


def run(data: bytes) -> None:
    """Take how much a turn may take and how the stream is cut from the first bytes."""
    head, stream = data[:_HEAD_BYTES], data[_HEAD_BYTES:]
    if len(head) < _HEAD_BYTES:
        return
    chunks = list(_chunks(stream, 1 + head[0] * head[1]))

    ours = _ours(chunks, max_frames=1 + head[2] % 8, max_bytes=1 + head[3] * 4)

    assert ours == _librarys(chunks)


def _chunks(stream: bytes, length: int) -> Iterator[bytes]:
    for at in range(0, len(stream), length):
        yield stream[at : at + length]


def _ours(chunks: list[bytes], *, max_frames: int, max_bytes: int) -> tuple[list[Seen], bytes]:
    """Return what was heard up to a close, and what was answered."""
    ours = _open_web_socket()
    seen: list[Seen] = []
    answers: list[bytes] = []
    for chunk in chunks:
        left = chunk
        while left or ours.is_behind:
            for frame in ours.split(left, max_frames=max_frames, max_bytes=max_bytes):
                if isinstance(frame, bytes):
                    seen.append(("TEXT", frame))
                else:
                    seen += _named(ours.feed(frame.raw))
                    answers += ours.output()
                if ours.is_closing:
                    return seen, _joined(answers)
            left = b""
    # The library tells from its head alone that some a frame is none; ours when it is whole.
    splitter = ours._splitter
    if splitter is not None:
        seen += _named(ours._feed_odd(bytes(splitter.buffer)))
        answers += ours.output()
    return seen, _joined(answers)


def _open_web_socket() -> WebSocket:
    """Return one as it is after the handshake."""
    opened = WebSocket(MAX_SIZE)
    assert _REQUEST is not None
    opened.begin(_REQUEST, _HANDSHAKE, now_s=0)
    opened.output()
    return opened


def _named(events: list[Event]) -> Iterator[Seen]:
    for event in events:
        match event:
            case WholeMessage(payload, is_text):
                yield ("TEXT" if is_text else "BINARY"), payload
            case Pong(payload):
                yield "PONG", payload
            case PeerClosed():
                yield "CLOSE", b""


def _librarys(chunks: list[bytes]) -> tuple[list[Seen], bytes]:
    library = ServerProtocol(max_size=MAX_SIZE, state=OPEN)
    seen: list[Seen] = []
    answers: list[bytes] = []
    name, pieces = "", b""
    for chunk in chunks:
        library.receive_data(chunk)
        for frame in library.events_received():
            assert isinstance(frame, Frame)
            match frame.opcode:
                case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                    if frame.opcode is not Opcode.CONT:
                        name, pieces = frame.opcode.name, b""
                    pieces += frame.data
                    if frame.fin:
                        seen.append((name, pieces))
                case Opcode.PONG:
                    seen.append(("PONG", bytes(frame.data)))
                case Opcode.CLOSE:
                    seen.append(("CLOSE", b""))
        answers += library.data_to_send()
        if library.state is not OPEN:
            break
    return seen, _joined(answers)


def _joined(answers: list[bytes]) -> bytes:
    return b"".join(each for each in answers if each != SEND_EOF)
