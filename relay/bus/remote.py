"""What joins the hosts of a cluster: where this one listens, and the keys that all of them have."""

from __future__ import annotations

from typing import Final

import msgspec

from relay.settings.sizes import MIB
from relay.settings.tables import Settings

# A host that was cut off sends no RST: only silence tells. A link that ends is made anew and
# repeated, which costs the announcements of its sessions; so longer than a busy host is silent,
# and no longer than clients of a host without a majority keep waiting (cluster.isolate_s).
HEARTBEAT_S: Final = 1.0
SILENT_S: Final = 3.0
# A packet that is lost while a connection is made is sent again after a second.
CONNECT_S: Final = 2.0
# Until a connection is closed that has not shown a key: a stranger's, or one that a worker had no
# time for, since it looks at keys between two batches. That one is tried again.
HANDSHAKE_S: Final = 3.0
# Until the next try to reach another host.
REACH_AGAIN_S: Final = 0.5
# What a batch has besides what is counted as under way; see `Remote.most_bytes`.
_BESIDES_BYTES: Final = 16 * MIB


class Remote(msgspec.Struct, frozen=True):
    """This host's part in the bus of a cluster.

    `address` is as the settings have it, `ports` those that a worker may take. The keys are of
    CURVE, in Z85; all hosts have the same pair, which nobody else knows. A worker takes messages of
    up to `most_bytes`: a stranger may announce one of any size, and gets memory for what it sends.
    """

    host: str
    address: str
    ports: range
    public: str
    secret: str
    most_bytes: int

    def __repr__(self) -> str:
        """Show all but the keys."""
        return f"Remote({self.host!r}, {self.address!r}, {self.ports!r})"


def remote_of(settings: Settings) -> Remote | None:
    """Return this host's part, None where there is no cluster."""
    cluster = settings.cluster
    if not cluster.is_on:
        return None
    return Remote(
        cluster.host_name,
        cluster.address,
        cluster.bus_port_range,
        cluster.bus_public,
        cluster.bus_secret,
        2 * settings.flow.link_bytes + _BESIDES_BYTES,
    )
