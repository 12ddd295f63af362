"""A server that speaks TLS, and otherwise says what a test tells it to: broken, hostile, silent."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self, TypeAlias

from relay.cluster.natswire import Login, Server, Wire
from tests.outside.certificates import Authority
from tests.outside.tlsends import serving
from tests.outside.waiting import DEADLINE_S

Script: TypeAlias = Callable[[ssl.SSLSocket], None]

INFO: Final = b'INFO {"server_name":"odd","headers":true,"max_payload":1048576}\r\n'


class OddServer:
    """Serves one connection by a script, in a thread; as a context manager."""

    def __init__(
        self, directory: Path, script: Script, *, names: tuple[str, ...] = ("127.0.0.1",)
    ) -> None:
        self.authority = Authority()
        own = self.authority.issue(*names)
        self._context = serving(self.authority, directory, own)
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._is_over = threading.Event()
        self.heard = b""  # all that the script has read by `read_until`

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    @property
    def server(self) -> Server:
        return Server("127.0.0.1", self._listener.getsockname()[1])

    @property
    def login(self) -> Login:
        return Login(user="u", password="p", ca=self.authority.pem.decode())

    def wire(self, connect_s: float = DEADLINE_S) -> Wire:
        return Wire([self.server], self.login, name="test", connect_s=connect_s)

    def welcome(self, connection: ssl.SSLSocket, info: bytes = INFO) -> None:
        """Let the client in, as a server does."""
        connection.sendall(info)
        self.read_until(connection, b"PING\r\n")
        connection.sendall(b"PONG\r\n")

    def read_until(self, connection: ssl.SSLSocket, end: bytes) -> None:
        while end not in self.heard and not self._is_over.is_set():
            self.heard += connection.recv(65536)

    def wait(self) -> None:
        """Say and hear nothing, until the test is over."""
        self._is_over.wait(DEADLINE_S)

    def _serve(self) -> None:
        try:
            raw, _ = self._listener.accept()
            with raw:
                raw.settimeout(DEADLINE_S)
                with self._context.wrap_socket(raw, server_side=True) as connection:
                    self._script(connection)
        except OSError:
            pass  # the client has gone
