"""What serves HTTP at a socket that listens: uvicorn, in the loop of the admin process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import uvicorn

from relay.admin.access import Tokens
from relay.admin.api import make_api
from relay.admin.doors import Serve
from relay.admin.entry import Entry
from relay.admin.view import View

# Operators, scrapers, and consoles that are open; beyond that 503.
MAX_CONNECTIONS: Final = 128
_KEEP_ALIVE_S: Final = 30
_CLOSE_WITHIN_S: Final = 1


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none: the supervisor says when to stop."""
        yield


class HttpServer:
    """Serves at one socket until it is closed."""

    def __init__(self, entry: Entry, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        config = uvicorn.Config(
            entry,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_CLOSE_WITHIN_S,
        )
        config.load()
        config.ssl = tls
        self._server = _Server(config)
        self._task = asyncio.ensure_future(self._server.serve(sockets=[listener]))

    async def close(self) -> None:
        """Finish what is under way, for a second at most."""
        self._server.should_exit = True
        await self._task


def serve_with(view: View, tokens: Tokens) -> Serve:
    """Return what begins to serve the API at a socket."""
    api = make_api(view)

    def serve(listener: socket.socket, tls: ssl.SSLContext | None, is_local: bool) -> HttpServer:
        return HttpServer(Entry(api, view, tokens, is_local=is_local), listener, tls)

    return serve
