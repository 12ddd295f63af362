"""Hosts of a cluster, played on one: their keys and ports, and a way between them to be cut."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import Any, Final

import msgspec
import zmq

from relay.bus.remote import Remote
from relay.settings.clustering import ClusterSettings

_KEYS: Final = zmq.curve_keypair()
PUBLIC: Final = _KEYS[0].decode()
SECRET: Final = _KEYS[1].decode()
ADDRESS: Final = "127.0.0.1"
# Whoever binds takes a free one; several processes may run tests.
PORTS: Final = range(21_000, 21_400)


def remote(host: str = "a", **differing: Any) -> Remote:
    """Return a host's part in the bus."""
    part = Remote(host, ADDRESS, PORTS, PUBLIC, SECRET, 1 << 24)
    return msgspec.structs.replace(part, **differing)


def cluster_settings(host: str = "a", address: str = ADDRESS) -> ClusterSettings:
    """Return what a host of a cluster has in [cluster]; nobody has judged it."""
    return ClusterSettings(
        name="test",
        hosts=tuple(f"{name}={address}" for name in "abc"),
        host_name=host,
        bus_ports=f"{PORTS[0]}-{PORTS[-1]}",
        bus_public=PUBLIC,
        bus_secret=SECRET,
    )


class Way:
    """A way to a host, which others connect to in its place.

    While it is cut nothing comes through, and neither end is told. What was on its way comes
    afterwards, as TCP would send it again, if both ends still have the connection.
    """

    def __init__(self, target: str) -> None:
        """Lead to the endpoint `target`."""
        address, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (address, int(port))
        self._listener = socket.create_server((ADDRESS, 0))
        self.endpoint = f"tcp://{ADDRESS}:{self._listener.getsockname()[1]}"
        self._ours, self._theirs = socket.socketpair()
        self._is_cut = threading.Event()
        self._others: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def cut(self) -> None:
        """Let nothing through from here on."""
        self._is_cut.set()
        self._ours.send(b"c")

    def heal(self) -> None:
        """Let everything through again."""
        self._is_cut.clear()
        self._ours.send(b"h")

    def close(self) -> None:
        self._ours.close()
        self._thread.join()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._theirs, selectors.EVENT_READ)
            while True:
                watched = [self._listener, *self._others]
                if not self._is_cut.is_set():
                    for each in watched:
                        selector.register(each, selectors.EVENT_READ)
                ready = [key.fileobj for key, _ in selector.select()]
                for key in list(selector.get_map().values()):
                    if key.fileobj is not self._theirs:
                        selector.unregister(key.fileobj)
                if self._theirs in ready:
                    if not self._theirs.recv(16):
                        break
                    continue
                for end in ready:
                    assert isinstance(end, socket.socket)
                    self._accept() if end is self._listener else self._carry(end)
        for each in (*self._others, self._listener, self._theirs):
            each.close()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        self._others |= {near: far, far: near}

    def _carry(self, end: socket.socket) -> None:
        other = self._others.get(end)
        if other is None:
            return  # both were closed in this round
        data = b""
        with contextlib.suppress(OSError):
            data = end.recv(1 << 16)
            other.sendall(data)
        if not data:
            for each in (end, other):
                del self._others[each]
                each.close()
