"""Certificates of tests, as the two ends of a connection take them: files and contexts."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, Self

from .certificates import Authority, Certificate
from .waiting import DEADLINE_S

LOOPBACK: Final = ("127.0.0.1", "localhost")


def ca_file(authority: Authority, directory: Path, name: str = "authority") -> Path:
    """Write what a client trusts; return its path."""
    path = directory / f"{name}.pem"
    path.write_bytes(authority.pem)
    return path


def serving(
    authority: Authority,
    directory: Path,
    own: Certificate | None = None,
    *,
    wants_clients: bool = False,
) -> ssl.SSLContext:
    """Return what a server needs that shows `own`, and perhaps wants clients of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*(own or authority.issue(*LOOPBACK)).write(directory, "server"))
    if wants_clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authority.pem.decode())
    return context


class TlsFront:
    """Speaks TLS at a port of its own, before a server that does not; as a context manager."""

    def __init__(self, context: ssl.SSLContext, behind: int) -> None:
        self._context = context
        self._behind = behind
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.port = 0

    @property
    def url(self) -> str:
        return f"wss://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(DEADLINE_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self._behind)
        await asyncio.gather(_pass_on(reader, there[1]), _pass_on(there[0], writer))

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(1 << 16):
            writer.write(some)
            await writer.drain()
    except OSError:
        pass  # one end was cut; so is the other
    finally:
        writer.close()
