"""What serves HTTP at a socket that listens: uvicorn's protocol, in the loop of the admin process.

Connections are taken here, and not by uvicorn's server: it bounds neither how many there are nor
how long one may take to say what it wants, and so whoever has no token could keep operators out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final

import uvicorn
from h11 import LocalProtocolError
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from relay import log
from relay.admin.access import Tokens
from relay.admin.api import make_api
from relay.admin.doors import Serve
from relay.admin.entry import Entry
from relay.admin.view import View
from relay.process.eventloop import begin_task

# Operators, scrapers, and consoles that are open, at each door. One more takes the place of the one
# that has waited longest to say what it wants.
MAX_CONNECTIONS: Final = 128
# A whole request, from the start or the answer before; and to take what was answered.
PATIENCE_S: Final = 30.0
_HANDSHAKE_S: Final = 5.0
_CLOSE_WITHIN_S: Final = 1.0
# Connections taken at once; the loop serves somebody else before more.
_AT_ONCE: Final = 16
# Until the next try where the process has no descriptor left.
_AGAIN_S: Final = 1.0

# Of what strangers say that is no HTTP there is a counter: a line each would fill the log.
_LOGGER: Final = logging.getLogger("relay.admin.http")
_LOGGER.setLevel(logging.ERROR)


class _Connection(H11Protocol):
    """One of them, from its handshake on."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        counters: Counter[str],
    ) -> None:
        super().__init__(config, state, {}, loop)
        self.logger = _LOGGER
        self._counters = counters
        self.opening: asyncio.Task[None] | None = None
        self.left: Callable[[], None] = lambda: None
        self.since_s = loop.time()  # when it has last begun to wait

    @property
    def waits(self) -> bool:
        """Tell whether it is the client who is to do something."""
        cycle = self.cycle
        is_answered = cycle is None or cycle.response_complete
        return bool(is_answered or cycle.more_body or self.flow.write_paused)

    def data_received(self, data: bytes) -> None:
        date = formatdate(usegmt=True).encode()
        self.server_state.default_headers = [(b"date", date)]
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        status = 400
        self._counters[f"requests_{status}"] += 1
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever is at its answer may say no more
        super().send_400_response(msg)

    def on_response_complete(self) -> None:
        self.since_s = self.loop.time()
        super().on_response_complete()

    def resume_writing(self) -> None:
        self.since_s = self.loop.time()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.left()

    def cut(self) -> None:
        """End it at once, whatever it does."""
        if self.transport is not None:
            self.transport.abort()
        elif self.opening is not None:
            self.opening.cancel()


class HttpServer:
    """Serves at one socket until it is closed; `counters` are of connections that were cut."""

    def __init__(
        self,
        entry: Entry,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        counters: Counter[str],
    ) -> None:
        self._config = uvicorn.Config(
            entry,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=int(PATIENCE_S),
        )
        self._config.load()
        self._listener = listener
        self._tls = tls
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._state = ServerState()
        self._connections: dict[_Connection, asyncio.TimerHandle] = {}
        self._again: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.get_logger().warning("admin.takes_nobody", reason=error.strerror)
                self._loop.remove_reader(self._listener.fileno())
                self._again = self._loop.call_later(_AGAIN_S, self._listen)
                return
            accepted.setblocking(False)
            self._take(accepted)

    def _take(self, accepted: socket.socket) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            self._counters["connections_cut"] += 1
            waiting = [each for each in self._connections if each.waits]
            if not waiting:
                accepted.close()
                return
            oldest = min(waiting, key=lambda each: each.since_s)
            self._forget(oldest)
            oldest.cut()
        connection = _Connection(self._config, self._state, self._loop, self._counters)
        connection.left = lambda: self._forget(connection)
        self._look_later(connection)
        connection.opening = begin_task(self._open(connection, accepted))

    async def _open(self, connection: _Connection, accepted: socket.socket) -> None:
        options: dict[str, Any] = {}
        if self._tls is not None:
            options = {"ssl": self._tls, "ssl_handshake_timeout": _HANDSHAKE_S}
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted, **options)
        except OSError:
            self._forget(connection)  # no TLS, none in time, or it has gone
        except asyncio.CancelledError:
            self._forget(connection)
            raise
        finally:
            if connection.transport is None:
                accepted.close()

    def _look_later(self, connection: _Connection) -> None:
        now_s = self._loop.time()
        if connection.waits and now_s >= connection.since_s + PATIENCE_S:
            self._counters["connections_cut"] += 1
            self._forget(connection)
            connection.cut()
            return
        due_s = connection.since_s + PATIENCE_S if connection.waits else now_s + PATIENCE_S
        self._connections[connection] = self._loop.call_at(due_s, self._look_later, connection)

    def _forget(self, connection: _Connection) -> None:
        timer = self._connections.pop(connection, None)
        if timer is not None:
            timer.cancel()

    async def close(self) -> None:
        """Finish what is under way, for a second at most."""
        self._loop.remove_reader(self._listener.fileno())
        if self._again is not None:
            self._again.cancel()
        for connection in list(self._connections):
            if connection.transport is None:
                connection.cut()
            else:
                with contextlib.suppress(LocalProtocolError):
                    connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                while self._connections or self._state.tasks:
                    await asyncio.sleep(0.02)
        for task in self._state.tasks:
            task.cancel()
        for connection in list(self._connections):
            self._forget(connection)
            connection.cut()


def serve_with(view: View, tokens: Tokens) -> Serve:
    """Return what begins to serve the API at a socket."""
    api = make_api(view)

    def serve(listener: socket.socket, tls: ssl.SSLContext | None, is_local: bool) -> HttpServer:
        return HttpServer(Entry(api, view, tokens, is_local=is_local), listener, tls, view.counters)

    return serve
