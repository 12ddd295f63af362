"""A connection with the engine that is made again whenever it is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from relay import log
from relay.cluster.access import login_of, servers_of
from relay.cluster.natswire import Message, Wire, WireLost
from relay.settings.clustering import ClusterSettings

# For TCP, TLS and a login; whoever connects does nothing else meanwhile.
CONNECT_S: Final = 1.0
AGAIN_S: Final = 0.2
# A host's own engine begins together with the host; no other one is tried until then.
OWN_ALONE_S: Final = 5.0


class Line:
    """At most one connection, with the same subscriptions each time.

    The servers are tried in turn, this host's own first, one at each try; but at the beginning that
    one alone for a while. Times are of `time.monotonic`.
    """

    def __init__(
        self, cluster: ClusterSettings, *, name: str, subjects: Sequence[str] = ()
    ) -> None:
        """Connect to nothing yet; `name` is shown in the engine's lists of connections."""
        self._servers = servers_of(cluster)
        self._login = login_of(cluster)
        self._name = name
        self._subjects = subjects
        self._tries = 0  # in vain, since it was connected last
        self._next_try_s = 0.0
        self._own_alone_s: float | None = None  # until then, once it has begun to try
        self.wire: Wire | None = None

    def keep(self, now_s: float) -> bool:
        """Connect where that is due; tell whether there is a new connection."""
        if self.wire is not None or now_s < self._next_try_s:
            return False
        if self._own_alone_s is None:
            self._own_alone_s = now_s + OWN_ALONE_S
        turn = self._tries if now_s >= self._own_alone_s else 0
        server = self._servers[turn % len(self._servers)]
        try:
            self.wire = Wire([server], self._login, name=self._name, connect_s=CONNECT_S)
            for subject in self._subjects:
                self.wire.subscribe(subject)
        except WireLost as error:
            self._lose(error, now_s)
            return False
        self._tries, self._own_alone_s = 0, now_s
        log.get_logger().info("engine.connected", host=server.host, port=server.port)
        return True

    @property
    def next_try_s(self) -> float | None:
        """When to call `keep` again, None while there is a connection."""
        return None if self.wire is not None else self._next_try_s

    def receive(self, now_s: float) -> list[Message]:
        """Return what has come, without waiting; nothing where the connection is lost."""
        if self.wire is None:
            return []
        try:
            return self.wire.receive()
        except WireLost as error:
            self._lose(error, now_s)
            return []

    def publish(self, subject: str, payload: bytes, *, now_s: float, reply: str = "") -> bool:
        """Send a message at once; tell whether there was a connection for it."""
        if self.wire is None:
            return False
        try:
            self.wire.publish(subject, payload, reply=reply)
            self.wire.flush()
        except WireLost as error:
            self._lose(error, now_s)
            return False
        return True

    def drop(self, error: WireLost, now_s: float) -> None:
        """Let go of the connection, which whoever used it has found lost."""
        self._lose(error, now_s)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def _lose(self, error: WireLost, now_s: float) -> None:
        self.close()
        if self._tries == 0:
            log.get_logger().info("engine.unreachable", reason=str(error))
        self._tries += 1
        self._next_try_s = now_s + AGAIN_S
