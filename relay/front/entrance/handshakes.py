"""The TLS handshakes of a front: with which certificates, how many at a time, and what has failed.

A handshake is 0.3 ms of work that a stranger can ask for by one packet. So those go on in turns of
their own, for 2 ms of a loop turn, and a storm of them holds up nobody who is in. In its middle it
has 45 KiB. Of too many the oldest is cut: an honest one takes as long as a packet there and back.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from relay.auth.tls import Certificates, certificates_of
from relay.errors import SettingsError
from relay.front.entrance.encrypted import CLIENT_CERTIFICATE_BYTES, EncryptedTransport
from relay.front.entrance.refusals import Refusals
from relay.front.hub import Hub
from relay.front.lookout import Lookout
from relay.front.turns import Turns
from relay.settings.tables import TlsSettings


class Handshakes:
    """Those of one front, while it has certificates."""

    def __init__(self, hub: Hub, certificates: Certificates) -> None:
        self._hub = hub
        self._certificates = certificates
        self.turns = Turns(hub.loop)
        self._failures = Refusals(hub, "tls.failed")
        self.most_bytes = 0
        self._under_way: dict[EncryptedTransport, None] = {}  # the oldest first
        self._lookout = Lookout(
            hub.loop, self._read_changed, lambda: None, fault="tls.certificates_not_refreshed"
        )
        self.adopt(certificates)

    def adopt(self, certificates: Certificates) -> None:
        """Begin with these from here on."""
        self._certificates = certificates
        self.adopt_limits()

    def adopt_limits(self) -> None:
        """Go by the hub's settings."""
        # The handshake and the request that may come in one piece with its end.
        self.most_bytes = 2 * self._hub.settings.admission.handshake_bytes
        if self._certificates.asks_clients:
            self.most_bytes += CLIENT_CERTIFICATE_BYTES

    @property
    def settings(self) -> TlsSettings:
        """What the certificates were read for."""
        return self._certificates.settings

    @property
    def expiries(self) -> Mapping[str, float]:
        """See `Certificates.expiries`."""
        return self._certificates.expiries

    @property
    def context(self) -> ssl.SSLContext:
        """What the next one begins with."""
        return self._certificates.context

    def begun(self, one: EncryptedTransport) -> None:
        """Count one as under way; the oldest is cut where there are too many."""
        self._under_way[one] = None
        if len(self._under_way) > self._hub.settings.tls.handshakes:
            oldest = next(iter(self._under_way))
            self.ended(oldest)
            self._hub.counters["tls_handshakes_crowded_out"] += 1
            oldest.abort()

    def ended(self, one: EncryptedTransport) -> None:
        """Count it out, however it ended, if it is counted."""
        self._under_way.pop(one, None)

    def failed(self, address: str, reason: str) -> None:
        """Count one that has failed: a client may have sent anything, or not like what it saw."""
        self._hub.counters["tls_handshakes_failed"] += 1
        self._failures.note("tls_handshakes_failed", address=address, reason=reason)

    def broke(self, address: str, reason: str) -> None:
        """Count a connection that has failed behind its handshake."""
        self._hub.counters["tls_connections_broken"] += 1
        self._failures.note("tls_connections_broken", address=address, reason=reason)

    def crashed(self) -> None:
        """Note a fault of ours, inside an except block."""
        self._hub.log.exception("connection.failed")

    def refresh(self) -> None:
        """Read certificates again that have changed, beside the loop; who is in keeps its own."""
        self._lookout.look()

    def _read_changed(self) -> bool:
        return self._certificates.refresh()


def handshakes_of(hub: Hub, before: Handshakes | None) -> Handshakes | None:
    """Return those for the hub's settings, None where there are no certificates.

    Files that are unusable leave those of `before`, and the log says so.

    Raises:
        SettingsError: they are unusable, and there were none before.
    """
    settings = hub.settings.tls
    if before is not None and settings == before.settings:
        before.adopt_limits()
        return before
    try:
        certificates = certificates_of(settings)
    except SettingsError as error:
        if before is None:
            raise
        # It was usable when the supervisor looked.
        hub.log.error("tls.certificates_unusable", reason=str(error), kept="the old")
        return before
    if certificates is None:
        return None
    certificates.log_warnings()
    if before is None:
        return Handshakes(hub, certificates)
    before.adopt(certificates)
    return before
