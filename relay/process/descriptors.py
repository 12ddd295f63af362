"""How many files a process may have open, and what of it is for its own needs.

Every client of a front is a descriptor. A front that gave its last one to a client could not
connect to a worker that comes back. So it takes in fewer clients than there are descriptors, and a
process that cannot have what it needs does not start.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Final

from relay.errors import BootError
from relay.settings.tables import Settings

# Files that any code may open for a moment: settings, a journal, a traceback's sources.
_OF_ITSELF: Final = 32
# A link is a ZeroMQ socket and its connection; a successor's may be there before the old is gone.
_OF_A_LINK: Final = 4
# More than a front has open before its first client.
_GUESS: Final = 64
# Below this a front could hardly be said to serve.
LEAST_CLIENTS: Final = 16


def limit() -> int:
    """Return how many files this process may have open at a time."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> int:
    """Let this process and its children open as many files as the kernel allows; return that.

    The usual soft limit is 1024, and it is the process's own to raise.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return limit()


def reserve_of(settings: Settings) -> int:
    """Return how many descriptors a process keeps free for what it may yet have to open."""
    server = settings.server
    return _OF_ITSELF + _OF_A_LINK * (server.fronts + server.workers)


def opened() -> int:
    """Return how many files this process has open, a guess where nothing tells."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return _GUESS


def room_for_clients(settings: Settings) -> int:
    """Return how many connections this process may hold besides what it has open now.

    Raises:
        BootError: hardly any.
    """
    own = opened() + reserve_of(settings)
    room = limit() - own
    if room < LEAST_CLIENTS:
        raise _too_few(own + LEAST_CLIENTS)
    return room


def require_own(settings: Settings) -> None:
    """See that this process can open what it needs for itself.

    Raises:
        BootError: it cannot.
    """
    needed = opened() + reserve_of(settings)
    if limit() < needed:
        raise _too_few(needed)


def _too_few(needed: int) -> BootError:
    return BootError(
        f"it may open {limit()} files and needs {needed}: raise the limit (ulimit -n; with systemd"
        " LimitNOFILE)"
    )
