"""Where the API is served: a socket in the run directory, and a TCP port for who has a token.

The sockets listen from the start. What answers is loaded when somebody knocks for the first time:
most relays are never asked, and their admin is to cost them little.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from relay import log
from relay.admin.access import Tokens
from relay.auth.tls import Certificates, certificate_of_admin
from relay.disk.files import is_private_directory
from relay.errors import BootError, SettingsError
from relay.settings.tables import AdminSettings

SOCKET_NAME = "admin.sock"
_UNHEARD_NAME = "admin.new"  # no longer than that: how long the path may be is bounded
# Until the next try to listen at a port that is taken.
AGAIN_S = 5.0
_BACKLOG = 64


class Serving(Protocol):
    """An HTTP server at one listening socket."""

    async def close(self) -> None:
        """Finish what is under way, for a second at most."""


# Begins to serve at a socket, with TLS if there is a context; `is_local` is the run directory's.
Serve = Callable[[socket.socket, ssl.SSLContext | None, bool], Serving]


def _newest_of(certificate: Certificates) -> ssl.SSLContext:
    """Return what a server may keep, and shows each client the certificate as it is by then."""

    def choose(tls: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        tls.context = certificate.context

    context = certificate.context
    context.sni_callback = choose
    return context


class Doors:
    """Both of them."""

    def __init__(
        self,
        settings: AdminSettings,
        run_dir: Path,
        loop: asyncio.AbstractEventLoop,
        load: Callable[[], Serve],
    ) -> None:
        """`load` imports what serves, which may take half a second.

        Raises:
            BootError: the token file, or the certificate, is unusable.
        """
        self._settings = settings
        self._path = run_dir / SOCKET_NAME
        self._loop = loop
        self._load = load
        self._serve: Serve | None = None  # once it was loaded
        self._knocking: dict[socket.socket, bool] = {}  # nobody has come there yet; is it local
        self._serving: dict[socket.socket, Serving] = {}
        self._local: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None
        try:
            self.tokens = Tokens(settings.token_file)
            self._certificate = certificate_of_admin(settings)
        except SettingsError as error:
            raise BootError(str(error)) from error
        self._tls = None if self._certificate is None else _newest_of(self._certificate)

    def expiries(self) -> Mapping[str, float]:
        """Return until when the certificate over TCP is good: seconds since 1970, by its file."""
        return {} if self._certificate is None else self._certificate.expiries

    def open(self) -> None:
        """Listen.

        Raises:
            BootError: that cannot be in the run directory.
        """
        try:
            self._open_local()
        except OSError as error:
            raise BootError(f"{self._path} cannot be listened at: {error.strerror}") from error
        if self._settings.token_file or self._settings.chat_url:
            self._open_port(is_first=True)

    def _open_local(self) -> None:
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Under its name once it listens, so that nobody who sees it is refused; a predecessor's
            # goes with that.
            unheard = self._path.with_name(_UNHEARD_NAME)
            unheard.unlink(missing_ok=True)
            local.bind(str(unheard))
            local.listen(_BACKLOG)
            unheard.replace(self._path)
        except OSError:
            local.close()
            raise
        self._local = local
        self._wait_at(local, is_local=True)

    def _open_port(self, *, is_first: bool = False) -> None:
        host, port = self._settings.host, self._settings.port
        self._again = None
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(_BACKLOG)
            except OSError:
                listener.close()
                raise
        except OSError as error:
            if is_first:
                log.get_logger().warning(
                    "admin.port_not_served",
                    host=host,
                    port=port,
                    reason=error.strerror,
                    hint="the socket in the run directory is; the port is tried again",
                )
            self._again = self._loop.call_later(AGAIN_S, self._open_port)
            return
        log.get_logger().info("admin.port_served", host=host, port=listener.getsockname()[1])
        self._wait_at(listener, is_local=False)

    def _wait_at(self, listener: socket.socket, *, is_local: bool) -> None:
        listener.setblocking(False)
        if self._serve is not None:
            self._serving[listener] = self._serve(listener, self._tls_at(is_local), is_local)
            return
        self._knocking[listener] = is_local
        self._loop.add_reader(listener.fileno(), self._somebody_knocks)

    def _tls_at(self, is_local: bool) -> ssl.SSLContext | None:
        return None if is_local else self._tls

    def _somebody_knocks(self) -> None:
        waiting, self._knocking = self._knocking, {}
        for listener in waiting:
            self._loop.remove_reader(listener.fileno())
        self._serve = self._load()
        for listener, is_local in waiting.items():
            self._wait_at(listener, is_local=is_local)

    def look(self) -> None:
        """Listen again where somebody has cleaned up the run directory; read what has changed."""
        self.tokens.refresh()
        if self._certificate is not None:
            self._certificate.refresh()
        if not self._path.exists() and is_private_directory(self._path.parent):
            before = self._local
            try:
                self._open_local()
            except OSError as error:
                log.get_logger().warning("admin.not_bound", reason=error.strerror)
                return
            if before is not None:
                self._knocking.pop(before, None)
                self._loop.remove_reader(before.fileno())
                if before not in self._serving:
                    before.close()

    async def close(self) -> None:
        """Serve nobody any more."""
        if self._again is not None:
            self._again.cancel()
        for listener in self._knocking:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        await asyncio.gather(*(serving.close() for serving in self._serving.values()))
        for listener in self._serving:
            listener.close()
        if self._path.exists():
            os.unlink(self._path)
