"""Whoever takes connections and says nothing keeps nobody out, and is cut in time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from relay.admin import server
from relay.admin.server import HttpServer
from tests.outside.certificates import Authority

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BEGUN = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegun"
MOST = 4


class Served:
    def __init__(self, http: HttpServer, port: int, counters: Counter[str]) -> None:
        self.http = http
        self.port = port
        self.counters = counters
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(
        self, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = "127.0.0.1" if tls else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=tls, server_hostname=name
        )
        self._writers.append(writer)
        return reader, writer

    async def drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def answer(self, said: bytes = ASK, tls: ssl.SSLContext | None = None) -> bytes:
        reader, writer = await self.connect(tls)
        writer.write(said)
        return await reader.readuntil(b"done")


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Take the body, and answer; at /large more than fits on the way."""
    while (await receive()).get("more_body"):
        pass
    body = b"x" * 20_000_000 if scope["path"] == "/large" else b""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"done"})


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        counters: Counter[str] = Counter()
        entry: Any = app
        http = HttpServer(entry, listener, tls, counters)
        served = Served(http, listener.getsockname()[1], counters)
        try:
            yield served
        finally:
            async with asyncio.timeout(5):
                await http.close()
            await served.drop()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", MOST)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE_S", 0.2)


@pytest.mark.parametrize(
    "said", [b"", b"GET / HT", BEGUN, ASK, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_one_more_takes_the_place_of_who_has_waited_longest(said: bytes) -> None:
    async def run() -> None:
        async with serving() as served:
            idle = []
            for _ in range(MOST):
                idle.append(await served.connect())
                idle[-1][1].write(said)
                await asyncio.sleep(0.02)
            assert b"200 OK" in await served.answer()
            assert served.counters["connections_cut"] == 1
            first = idle[0][0]
            with suppress(ConnectionResetError):
                while await first.read(1 << 20):
                    pass

    asyncio.run(asyncio.wait_for(run(), 20))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("said", [b"", b"GET / HT", BEGUN])
def test_who_does_not_go_on_is_cut(said: bytes) -> None:
    async def run() -> None:
        async with serving() as served:
            reader, writer = await served.connect()
            writer.write(said)
            try:
                while await reader.read(1 << 20):
                    pass
            except ConnectionResetError:
                pass
            assert served.counters["connections_cut"] == 1

    asyncio.run(asyncio.wait_for(run(), 20))


@pytest.mark.usefixtures("impatient")
def test_who_says_one_byte_after_another_is_cut() -> None:
    async def run() -> None:
        async with serving() as served:
            _, writer = await served.connect()
            writer.write(BEGUN)
            with suppress(ConnectionError):
                while not served.counters["connections_cut"]:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 20))


def test_who_begins_no_tls_keeps_nobody_out(tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.issue("127.0.0.1").write(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)

    async def run() -> None:
        async with serving(context) as served:
            idle = [await served.connect() for _ in range(MOST * 3)]
            assert b"200 OK" in await served.answer(tls=authority.trusted())
            assert served.counters["connections_cut"] > MOST
            idle[-1][1].write(b"no TLS at all\r\n\r\n")
            assert b"200 OK" in await served.answer(tls=authority.trusted())

    asyncio.run(asyncio.wait_for(run(), 20))


def test_an_answer_under_way_is_finished_at_the_end() -> None:
    async def run() -> None:
        async with serving() as served:
            reader, writer = await served.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
            await asyncio.sleep(0.05)
            asyncio.get_running_loop().call_later(0.1, writer.write, b"b")
            answer = asyncio.ensure_future(reader.readuntil(b"done"))
            await served.http.close()
            assert b"200 OK" in await answer

    asyncio.run(asyncio.wait_for(run(), 20))
