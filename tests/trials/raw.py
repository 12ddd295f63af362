"""Clients that are told byte by byte what to do, and what they were answered, counted.

What they send is masked and put together beforehand, and what comes is only counted, so that
thousands of connections, or a frame as often as a socket takes it, cost the load little. They come
from addresses of their own, 127.0.0.2 and on: what the relay does to an address harms nobody else.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self, cast

from websockets.uri import parse_uri

from relay.loadgen.traffic.socketwire import NO_CLOSE_FRAME, SocketWire, text_frame
from tests.outside.asyncwebsocket import open_socket
from tests.outside.frames import Frame, auth_frame, compact, parsed, user_jid

PAUSE_S: Final = 0.05  # before one who was cut off comes back
AT_ONCE: Final = 64  # connections that are made at a time
WRITE_BUFFER_BYTES: Final = 256 * 1024
LOOK_S: Final = 0.02
HELD_S: Final = 2.0
ANSWER_S: Final = 1.0  # for the answers to what was written last
KEEPALIVE: Final = text_frame(b"?,,")
HEADERS_BEGIN: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
HANDSHAKE: Final = (
    HEADERS_BEGIN + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_CLOSE_FRAME: Final = 0x88


class Chunk(NamedTuple):
    """Frames that leave in one write, ready for the socket."""

    frames: int
    data: bytes


def chunk_of(*payloads: bytes) -> Chunk:
    """Return the frames with these payloads."""
    return Chunk(len(payloads), b"".join(map(text_frame, payloads)))


@dataclass
class Tally:
    """What some connections sent, and what became of it."""

    connections: int = 0
    frames: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    closes: Counter[str] = field(default_factory=Counter)  # by the relay

    def sent(self, chunk: Chunk) -> None:
        """Count what is written."""
        self.frames += chunk.frames
        self.sent_bytes += len(chunk.data)

    def came(self, payload: bytes) -> None:
        """Count a frame that came."""
        self.received_bytes += len(payload)


def kind_of(frame: Frame) -> str:
    """Return how an answer is counted: `ack 1`, the code of an error, or else its tag."""
    match frame:
        case ["Msg" | "MsgInfo", {"ack": 1}]:
            return "ack 1"
        case ["Msg" | "MsgInfo", _]:
            return "receipt"
        case ["error", {"code": code}]:
            return str(code)
        case ["auth", {"status": "failure", "code": code}]:
            return f"login {code}"
        case [str(tag), *_]:
            return tag
    return "?"


class RawClient(SocketWire):
    """One connection; with a `user` it logs in as such when it is open."""

    def __init__(self, host: str, tally: Tally, user: str = "") -> None:
        super().__init__(host)
        self.is_ready = False  # to be written to: open, and logged in if it has a user
        self.settled = asyncio.Event()  # is_ready, or never will be
        self._tally = tally
        self._login = compact(auth_frame(user_jid(user))) if user else b""
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._kept = asyncio.Event()

    def put(self, chunk: Chunk) -> None:
        """Write frames; not to be called but while `is_ready`."""
        if self.transport is not None:
            self._tally.sent(chunk)
            self.transport.write(chunk.data)

    async def room(self) -> None:
        """Wait until the relay has taken most of what was written, or has gone."""
        await self._may_write.wait()

    async def answered(self) -> None:
        """Wait until the relay has looked at all that was written, or has gone.

        It answers a keepalive after what came before it.
        """
        if self.transport is not None and self.is_ready:
            self._kept.clear()
            self.transport.write(KEEPALIVE)
            await self._kept.wait()

    # -- what comes -------------------------------------------------------------------------------

    def opened(self) -> None:
        """Log in, or be ready without."""
        assert self.transport is not None
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        if self._login:
            self.write(self._login)
        else:
            self._ready()

    def text(self, payload: bytes) -> None:
        """Count a frame."""
        self._tally.came(payload)
        if payload.startswith(b"!"):
            self._kept.set()
            return
        kind = kind_of(parsed(payload))
        if kind == "q":
            self._ready()
        elif kind != "auth":
            self._tally.answers[kind] += 1
            if kind.startswith("login") and not self.is_ready:
                self.settled.set()

    def _ready(self) -> None:
        self.is_ready = True
        self.settled.set()

    def pause_writing(self) -> None:
        """The relay reads this connection slower than it is written."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._may_write.set()

    def ended(self, code: int, reason: str) -> None:
        """Count the end."""
        status = reason.removeprefix("the server answered 'HTTP/1.1 ")
        self._tally.closes[f"HTTP {status[:3]}" if status != reason else str(code)] += 1
        self.is_ready = False
        for event in (self.settled, self._may_write, self._kept):
            event.set()


class _Held(asyncio.Protocol):
    """A connection that never gets as far as a frame: `opening`, and `rest` after a handshake."""

    def __init__(self, tally: Tally, opening: bytes, rest: bytes) -> None:
        self.is_over = False
        self._tally = tally
        self._opening = opening
        self._rest = rest
        self._closed_with = NO_CLOSE_FRAME
        self.transport: asyncio.Transport | None = None

    @property
    def has_written(self) -> bool:
        """Whether the kernel has taken it all, or never will."""
        if self.is_over:
            return True
        transport = self.transport
        return not self._rest and transport is not None and not transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._write(self._opening)

    def _write(self, data: bytes) -> None:
        assert self.transport is not None
        self._tally.sent_bytes += len(data)
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._tally.received_bytes += len(data)
        if data.startswith(b"HTTP/1.1 101"):
            if self._rest:
                self._write(self._rest)
                self._rest = b""
        elif data.startswith(b"HTTP/1.1 "):
            self._tally.answers[f"HTTP {data[9:12].decode()}"] += 1
        elif data[0] == _CLOSE_FRAME:
            self._closed_with = int.from_bytes(data[2:4])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_over:
            self._tally.closes[str(self._closed_with)] += 1
            self.is_over = True

    def leave(self) -> None:
        if not self.is_over and self.transport is not None:
            self.is_over = True
            self.transport.abort()


class RawClients:
    """Makes connections, from `addresses` addresses in turns; as a context manager it cuts them."""

    def __init__(self, url: str, *, addresses: int = 1) -> None:
        self.tally = Tally()
        self._uri = parse_uri(url)
        self._sources = itertools.cycle(f"127.0.1.{1 + number}" for number in range(addresses))
        self._clients: set[RawClient] = set()
        self._held: list[_Held] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for held in self._held:
            held.leave()
        for client in self._clients:
            self._cut(client)
        self._clients.clear()
        await asyncio.sleep(0)

    async def connect(self, user: str = "") -> RawClient:
        """Return a connection that is open, and logged in, unless the relay would not have it."""
        client = RawClient(f"{self._uri.host}:{self._uri.port}", self.tally, user)
        self.tally.connections += 1
        try:
            sock = await open_socket(self._uri, source=next(self._sources))
            await asyncio.get_running_loop().create_connection(lambda: client, sock=sock)
        except OSError:
            client.ended(NO_CLOSE_FRAME, "nobody takes it")
            return client
        self._clients.add(client)
        await client.settled.wait()
        return client

    def leave(self, client: RawClient) -> None:
        """Cut a connection."""
        self._clients.discard(client)
        self._cut(client)

    def _cut(self, client: RawClient) -> None:
        transport, client.transport = client.transport, None  # so that it is no end by the relay
        if transport is not None:
            transport.abort()

    async def press(
        self, chunks: Iterable[Chunk], *, user: str = "", seconds: float, every_s: float = 0.0
    ) -> None:
        """Write as fast as the socket takes it, or a chunk every so often, for at most `seconds`.

        They count from the first login on. Whoever is cut off comes back and goes on.
        """
        client = await self.connect(user)
        feed: Iterator[Chunk] = iter(chunks)
        due = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    while client.is_ready and (chunk := next(feed, None)) is not None:
                        client.put(chunk)
                        due += every_s
                        await client.room()
                        await asyncio.sleep(max(0.0, due - time.monotonic()))
                    if client.is_ready:
                        await client.answered()
                        return
                    self.leave(client)
                    await asyncio.sleep(PAUSE_S)
                    client = await self.connect(user)
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await client.answered()

    async def hold(self, count: int, opening: bytes, rest: bytes = b"", *, within_s: float) -> None:
        """Open `count` connections, write to them, and stay for a look at the memory they take.

        What is not written when the time is up is left.
        """
        deadline = time.monotonic() + within_s
        gate = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with gate:
                held = _Held(self.tally, opening, rest)
                self.tally.connections += 1
                try:
                    sock = await open_socket(self._uri, source=next(self._sources))
                    await asyncio.get_running_loop().create_connection(lambda: held, sock=sock)
                except OSError:
                    self.tally.closes[str(NO_CLOSE_FRAME)] += 1
                    return
                self._held.append(held)
                while not held.has_written and time.monotonic() < deadline:
                    await asyncio.sleep(LOOK_S)

        await asyncio.gather(*(one() for _ in range(count)))
        await asyncio.sleep(HELD_S)
