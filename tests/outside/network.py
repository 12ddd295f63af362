"""The network between clients and a relay: it can be cut, and it can fall silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Final, Self

_CHUNK: Final = 65536


class Network:
    """Listens at `port` for clients, and passes all on to a relay while it is well.

    The relay may say later where it is, by `leads_to`.
    """

    def __init__(self, relay_port: int = 0, *, at: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", at))
        self.port: int = self._listener.getsockname()[1]
        self._relay_port = relay_port
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._is_cut = False
        # Cleared while it is silent: what comes waits in the kernel, as in a cable that is out.
        self._flows = threading.Event()
        self._flows.set()
        self.connections = 0
        self.turned_away = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._flows.set()
        self.cut()

    def leads_to(self, relay_port: int) -> None:
        """Pass all on to there from here on."""
        self._relay_port = relay_port

    def cut(self) -> None:
        """End every connection without a word, and take none until `mend`."""
        with self._lock:
            self._is_cut = True
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def mend(self) -> None:
        """Take connections again, and let flow what waited."""
        self._is_cut = False
        self._flows.set()

    def fall_silent(self) -> None:
        """Pass nothing on, and end nothing: nobody is told that the network is gone."""
        self._flows.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_cut:
                    self.turned_away += 1
                    client.close()
                    continue
                self.connections += 1
                relay = socket.create_connection(("127.0.0.1", self._relay_port))
                with self._lock:
                    self._sockets += [client, relay]
                for pair in ((client, relay), (relay, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                self._flows.wait()
                to.sendall(data)
        for each in (source, to):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
