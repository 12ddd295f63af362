"""Whether a server still answers: one that stands still is dead, and nobody else would end it."""

from __future__ import annotations

from relay.cluster.access import login_of
from relay.cluster.natswire import Server, Wire, WireLost
from relay.settings.clustering import ClusterSettings

# It is on this machine: what takes longer is no answer.
_CONNECT_S = 1.0


class Probe:
    """A connection with this host's own server, whose pings it has to answer."""

    def __init__(self, cluster: ClusterSettings) -> None:
        self._servers = [Server(cluster.address, cluster.engine_port)]
        self._login = login_of(cluster)
        self._wire: Wire | None = None
        self._answered_ms: int | None = None  # when it did last
        self.reason = ""  # why it does not

    def look(self, now_ms: int) -> int:
        """Return for how long it has not answered, in milliseconds; takes up to a second.

        To be called about each second.
        """
        try:
            if self._wire is None:
                self._wire = Wire(
                    self._servers, self._login, name="relay engine probe", connect_s=_CONNECT_S
                )
            self._wire.receive()
        except WireLost as error:
            self.reason = str(error)
            self.close()
        else:
            self._answered_ms = now_ms
        if self._answered_ms is None:  # the first time, of which nobody knows anything
            self._answered_ms = now_ms
        return now_ms - self._answered_ms

    def close(self) -> None:
        """Have no connection; the next look makes one."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
