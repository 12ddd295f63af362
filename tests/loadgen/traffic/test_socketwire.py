"""The generator's own WebSocket framing, against a library's."""

import asyncio

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from relay.loadgen.traffic.socketwire import SocketWire, text_frame

DEADLINE_S = 10.0


class Peer(asyncio.Protocol):
    """A server made of the library: keeps what it gets, sends what it is told."""

    def __init__(self) -> None:
        self.protocol = ServerProtocol(max_size=None)
        self.frames: list[Frame] = []
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.protocol.send_response(self.protocol.accept(event))
            elif isinstance(event, Frame):
                self.frames.append(event)
        self.flush()
        self.changed.set()

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            self.transport.write(data)


class Client(SocketWire):
    __slots__ = ("changed", "end", "texts")

    def __init__(self) -> None:
        super().__init__("127.0.0.1")
        self.texts: list[bytes] = []
        self.end: tuple[int, str] | None = None
        self.changed = asyncio.Event()

    def opened(self) -> None:
        self.changed.set()

    def text(self, payload: bytes) -> None:
        self.texts.append(payload)
        self.changed.set()

    def ended(self, code: int, reason: str) -> None:
        self.end = code, reason
        self.changed.set()


async def until(condition: object, *events: asyncio.Event) -> None:
    assert callable(condition)
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            waits = [asyncio.ensure_future(event.wait()) for event in events]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait, event in zip(waits, events, strict=True):
                wait.cancel()
                event.clear()


async def connected() -> tuple[asyncio.Server, Peer, Client]:
    peers: list[Peer] = []
    loop = asyncio.get_running_loop()

    def made() -> Peer:
        peers.append(Peer())
        return peers[-1]

    server = await loop.create_server(made, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, client = await loop.create_connection(Client, "127.0.0.1", port)
    await until(lambda: client.is_open, client.changed)
    return server, peers[0], client


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
def test_texts_of_every_size_pass_both_ways(size: int) -> None:
    async def body() -> None:
        server, peer, client = await connected()
        async with server:
            client.write(b"x" * size)
            client.flush()
            await until(lambda: peer.frames, peer.changed)
            assert bytes(peer.frames[0].data) == b"x" * size

            peer.protocol.send_text(b"y" * size)
            peer.flush()
            await until(lambda: client.texts, client.changed)
            assert client.texts == [b"y" * size]
            client.leave(goodbye=False)
            await until(lambda: client.end, client.changed)

    asyncio.run(body())


def test_pings_are_answered_fragments_joined_and_a_close_is_told() -> None:
    async def body() -> None:
        server, peer, client = await connected()
        async with server:
            peer.protocol.send_ping(b"there?")
            peer.protocol.send_text(b"ab", fin=False)
            peer.protocol.send_continuation(b"cd", fin=True)
            peer.protocol.send_text(b"last")
            peer.protocol.send_close(4409, "replaced")
            peer.flush()
            await until(lambda: client.end, client.changed)
            await until(lambda: len(peer.frames) == 2, peer.changed)

        assert client.texts == [b"abcd", b"last"]
        assert client.end == (4409, "replaced")
        assert [frame.opcode for frame in peer.frames] == [Opcode.PONG, Opcode.CLOSE]
        assert bytes(peer.frames[0].data) == b"there?"

    asyncio.run(body())


def test_a_server_that_speaks_no_websocket_is_told() -> None:
    async def body() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            _, client = await asyncio.get_running_loop().create_connection(
                Client, "127.0.0.1", port
            )
            await until(lambda: client.end, client.changed)
        assert client.end is not None
        assert "503" in client.end[1]

    asyncio.run(body())


def test_a_frame_is_masked_with_zero() -> None:
    assert text_frame(b"hi") == b"\x81\x82\x00\x00\x00\x00hi"
