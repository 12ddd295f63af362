"""Identities on the bus: who speaks on a link, on which host it is, and on which connection.

    front-1-17       front 1 of a relay on one host, incarnation 17
    worker-3-18      worker 3
    front-a-1-17     front 1 of the host `a` of a cluster
    worker-3-9041    the owner of range 3 of a cluster, since epoch 9041
    front-a-1-17.2   the same front after its connection was lost twice

Topologies list fronts without the number of a connection. To an identity that comes back ROUTER
does not route, so every connection has another one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

# An incarnation of a cluster is this many bits for which process of a start of its supervisor, and
# before them which start.
BOOT_SHIFT: Final = 24


class Who(msgspec.Struct, frozen=True):
    """Whom an identity means: the `index`th "front" or "worker" in one of its lives.

    `host` is empty without a cluster, and of a worker. `connection` counts those that were lost.
    """

    role: str
    index: int
    incarnation: int
    host: str = ""
    connection: int = 0

    @property
    def name(self) -> str:
        """Its identity whatever the connection, as topologies list it."""
        on_host = f"{self.host}-" if self.host else ""
        return f"{self.role}-{on_host}{self.index}-{self.incarnation}"


def name_in_directory(prefix: str, incarnation: int) -> str:
    """Return what the socket of a process is called in its run directory, which is its start's own.

    Paths of sockets are bounded, so it is without what is common to all.
    """
    return f"{prefix}{incarnation % (1 << BOOT_SHIFT)}.sock"


def connected_as(name: str, connection: int) -> str:
    """Return the identity of `name` on a connection before which so many were lost."""
    return f"{name}.{connection}" if connection else name


@lru_cache(maxsize=1024)  # a peer's is asked for with each of its batches
def who_is(identity: bytes | str) -> Who:
    """Read an identity on the bus.

    Raises:
        ValueError: it is none.
    """
    text = identity.decode() if isinstance(identity, bytes) else identity
    role, *hosts, index, last = text.split("-") if text.count("-") in (2, 3) else ("", "", "")
    incarnation, _, connection = last.partition(".")
    try:
        return Who(role, int(index), int(incarnation), "".join(hosts), int(connection or 0))
    except ValueError:
        raise ValueError(f"{text!r} is no identity on the bus") from None
