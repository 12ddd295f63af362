"""An operator's endpoint: a real HTTP server that says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Answer = tuple[int, bytes]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(handle: Handler) -> AsyncIterator[int]:
    """Have `handle` answer at the port that this yields; at the end nothing of it is left open."""
    begun: list[tuple[asyncio.Task[Any], asyncio.StreamWriter]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        begun.append((task, writer))
        await handle(reader, writer)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task, writer in begun:
            await asyncio.wait([task])
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Endpoint:
    """Serves until it is left; `asked` are the bodies that came, `answer` makes of one what to say.

    Or raise, and the connection is closed without a word.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], Answer], port: int = 0) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer = answer
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                said = json.loads(body)
                endpoint.asked.append(said)
                status, content = endpoint.answer(said)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A test wants it so, or the client has gone."""

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/login"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def lets_in(said: dict[str, Any]) -> Answer:
    return 200, json.dumps({"user": said["user"]}).encode()
