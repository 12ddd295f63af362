"""What goes over a connection with NATS: bytes to frames, and what is said to bytes.

Nothing here does I/O. The protocol is the client protocol of docs.nats.io: lines that end in CRLF,
each of which may announce a number of bytes that follow.
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

import msgspec

import relay
from relay.errors import RelayError

# Lines of messages have at most 4 KiB (the server's max_control_line); INFO names every server.
MAX_LINE_BYTES: Final = 32 * 1024
# Where a server allows larger ones than this, it warns at its start; ours is told this much.
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
# Before INFO has come: no message can.
_FIRST_PAYLOAD_BYTES: Final = 1024 * 1024
# What comes may be larger than what went: headers say where it is stored, and an answer of the
# API holds a record as base64, which is 4/3 of it.
_HEADERS_BYTES: Final = 64 * 1024

_CRLF: Final = b"\r\n"
_VERSION: Final = b"NATS/1.0"
_SUBJECT: Final = re.compile(r"[\x21-\x7e]+")
_HEADER: Final = re.compile(r"[\x20-\x7e]*")


class BadFrame(RelayError):
    """The server sent what is no frame, or one beyond a bound; nothing behind it can be read."""


class Headers(Mapping[str, str]):
    """The headers of a message, read when one is asked for: few are. Of two, the first counts."""

    __slots__ = ("_block", "_read")

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._read: dict[str, str] | None = None

    @property
    def block_bytes(self) -> int:
        """How much memory they take, unread."""
        return len(self._block)

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"Headers({self._all()})"

    def _all(self) -> dict[str, str]:
        if self._read is None:
            read: dict[str, str] = {}
            for line in self._block.decode("utf-8", "replace").split("\r\n")[1:]:
                name, colon, value = line.partition(":")
                if colon:
                    read.setdefault(name.strip(), value.strip())
            self._read = read
        return self._read


NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Message(NamedTuple):
    """What somebody published on a `subject` that is subscribed here as `sid`.

    `status` is 0 but for what the server itself has to say, such as 503: nobody listens.
    """

    sid: int
    subject: str
    reply: str
    status: int
    headers: Mapping[str, str]
    payload: bytes


class Info(msgspec.Struct, frozen=True):
    """What a server says of itself."""

    server_name: str = ""
    version: str = ""
    max_payload: int = _FIRST_PAYLOAD_BYTES
    headers: bool = False
    jetstream: bool = False


class Sign(Enum):
    """What says no more than that somebody is there."""

    PING = b"PING"
    PONG = b"PONG"
    OK = b"+OK"


class Complaint(NamedTuple):
    """What the server holds against us; mostly it ends the connection."""

    text: str


Frame: TypeAlias = Message | Info | Sign | Complaint

# What msgspec may raise of what somebody else has sent: the last for what is nested too deeply,
# be it in a field that nobody knows.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_SIGNS: Final = {sign.value: sign for sign in Sign}
_info: Final = msgspec.json.Decoder(Info)


class Parser:
    """Cuts the bytes of a server into frames, however they arrive in pieces.

    It holds at most one message that has not come whole, and none that is larger than what
    `allow` said.
    """

    def __init__(self) -> None:
        self._rest = bytearray()  # of a frame that has not come whole
        self._needed = 0  # before that many bytes are there, it cannot be whole
        self._max_bytes = 0
        self.allow(_FIRST_PAYLOAD_BYTES)

    def allow(self, max_payload: int) -> None:
        """Take messages such as come where clients may publish `max_payload` bytes."""
        self._max_bytes = 2 * max_payload + _HEADERS_BYTES

    @property
    def held_bytes(self) -> int:
        """How many bytes wait for the rest of their frame."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that `chunk` completes.

        Raises:
            BadFrame: the connection is of no more use.
        """
        data = chunk
        if self._rest:
            self._rest += chunk
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
        frames: list[Frame] = []
        at, size = 0, len(data)
        needed = 0
        while at < size:
            end = data.find(_CRLF, at, at + MAX_LINE_BYTES + 2)
            if end < 0:
                if size - at >= MAX_LINE_BYTES + 2:
                    raise BadFrame(f"a line of over {MAX_LINE_BYTES} bytes")
                needed = size - at + 1
                break
            line = data[at:end]
            announced = self._announced(line)
            if announced is None:
                frames.append(_said(line))
                at = end + 2
                continue
            begin = end + 2
            stop = begin + announced.size
            if stop + 2 > size:
                needed = stop + 2 - at
                break
            if data[stop : stop + 2] != _CRLF:
                raise BadFrame(f"a message of {announced.size} bytes that does not end there")
            frames.append(_message(announced, data, begin, stop))
            at = stop + 2
        if self._rest or at < size:
            self._rest = bytearray(data[at:])
        self._needed = needed
        return frames

    def _announced(self, line: bytes) -> "_Announced | None":
        """Return what the line says of the message behind it, None where none is."""
        if line.startswith(b"MSG "):
            fields = line.split()
            head_size = b"0"
        elif line.startswith(b"HMSG "):
            fields = line.split()
            head_size = fields.pop(-2) if len(fields) > 4 else b""
        else:
            return None
        if len(fields) == 4:
            _, subject, sid, size = fields
            reply = b""
        elif len(fields) == 5:
            _, subject, sid, reply, size = fields
        else:
            raise BadFrame(f"a message's line with {len(fields)} fields")
        announced = _Announced(_number(sid), subject, reply, _number(head_size), _number(size))
        if announced.size > self._max_bytes:
            raise BadFrame(f"a message of {announced.size} bytes exceeds {self._max_bytes}")
        if announced.head_size > announced.size:
            raise BadFrame("a message with headers larger than itself")
        return announced


class _Announced(NamedTuple):
    sid: int
    subject: bytes
    reply: bytes
    head_size: int
    size: int  # with the headers


def _number(field: bytes) -> int:
    if not field.isdigit() or len(field) > 10:
        raise BadFrame("a message's line with a field that is no number")
    return int(field)


def _message(announced: _Announced, data: bytes, begin: int, stop: int) -> Message:
    try:
        subject, reply = announced.subject.decode(), announced.reply.decode()
    except UnicodeDecodeError:
        raise BadFrame("a message with a subject that is no text") from None
    if not announced.head_size:
        return Message(announced.sid, subject, reply, 0, NO_HEADERS, data[begin:stop])
    middle = begin + announced.head_size
    block = data[begin:middle]
    return Message(announced.sid, subject, reply, _status(block), Headers(block), data[middle:stop])


def _status(block: bytes) -> int:
    """Return the status of a block of headers: `NATS/1.0 503 Words`, or 0 where none is."""
    first = block[: block.find(_CRLF)]
    if not first.startswith(_VERSION) or not block.endswith(_CRLF + _CRLF):
        raise BadFrame("a message with headers that are none")
    status = first[len(_VERSION) :].split(maxsplit=1)
    if not status:
        return 0
    if not status[0].isdigit() or len(status[0]) != 3:
        raise BadFrame("a message with a status that is no number")
    return int(status[0])


def _said(line: bytes) -> Frame:
    """Return the frame that is this line alone."""
    sign = _SIGNS.get(line)
    if sign is not None:
        return sign
    if line.startswith(b"INFO "):
        try:
            return _info.decode(line[5:])
        except UNREADABLE as error:
            raise BadFrame(f"INFO: {error}") from None
    if line.startswith(b"-ERR"):
        return Complaint(line[4:].decode("utf-8", "replace").strip().strip("'"))
    raise BadFrame(f"a line of {len(line)} bytes that says nothing known")


def connect_line(user: str, password: str, name: str) -> bytes:
    """Return the line that logs in; `name` is shown in the server's lists of connections.

    With `no_responders` a request that nobody listens for is answered at once, with status 503.
    """
    options = {
        "user": user,
        "pass": password,
        "name": name,
        "lang": "python",
        "version": relay.__version__,
        "protocol": 1,
        "verbose": False,
        "pedantic": False,
        "tls_required": True,
        "headers": True,
        "no_responders": True,
    }
    return b"CONNECT " + msgspec.json.encode(options) + _CRLF


def subscribe_line(subject: str, sid: int) -> bytes:
    """Return the line that subscribes; raise ValueError for what is no subject."""
    return b"SUB %b %d\r\n" % (_subject(subject), sid)


def unsubscribe_line(sid: int) -> bytes:
    """Return the line that ends a subscription."""
    return b"UNSUB %d\r\n" % sid


def header_block(headers: Mapping[str, str]) -> bytes:
    """Return the headers as they go before a payload.

    Raises:
        ValueError: one is not of printable ASCII: it could end the block, and begin another frame.
    """
    if not headers:
        return b""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    if not all(_HEADER.fullmatch(line[:-2]) for line in lines):
        raise ValueError("a header that is not of printable ASCII")
    return b"NATS/1.0\r\n" + "".join(lines).encode() + _CRLF


def publish_line(subject: str, reply: str, block_bytes: int, payload_bytes: int) -> bytes:
    """Return the line before a block of headers, if any, and a payload, and CRLF behind both.

    Raises:
        ValueError: `subject` or `reply` is none.
    """
    to = _subject(subject)
    if reply:
        to += b" " + _subject(reply)
    if block_bytes:
        return b"HPUB %b %d %d\r\n" % (to, block_bytes, block_bytes + payload_bytes)
    return b"PUB %b %d\r\n" % (to, payload_bytes)


def _subject(subject: str) -> bytes:
    if not _SUBJECT.fullmatch(subject):
        raise ValueError(f"no subject of NATS: {subject!r}")
    return subject.encode()


PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"
