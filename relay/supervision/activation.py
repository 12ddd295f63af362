"""The port where a service manager holds it: systemd's socket activation, by sd_listen_fds(3).

It has bound it and listens, before the relay starts, between two relays and after the last. Whoever
connects meanwhile waits in a queue, and is refused by nobody. There may be several sockets of the
one address (`ReusePort=yes`), each with a queue: then the kernel spreads clients evenly over them.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from relay.errors import BootError

FIRST_FD: Final = 3  # SD_LISTEN_FDS_START
_PID, _COUNT, _NAMES = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"


def take_listeners() -> tuple[socket.socket, ...]:
    """Return the listening sockets that were handed to this process, all of one address; or none.

    To be called before any other process is started, and once: no child may take them for its own.

    Raises:
        BootError: something else was handed over.
    """
    pid, count, names = (os.environ.pop(name, "") for name in (_PID, _COUNT, _NAMES))
    if pid != str(os.getpid()) or not count.isdecimal() or not int(count):
        return ()  # there is none, or it was for a process that has started us
    fds = range(FIRST_FD, FIRST_FD + int(count))
    for fd in fds:
        os.set_inheritable(fd, False)
    listeners = tuple(filter(None, map(_listening, fds)))
    if len(listeners) < len(fds):
        raise BootError(
            f"systemd hands over {names or 'a descriptor'}, which is no listening TCP socket: see"
            " ListenStream and Accept=no"
        )
    addresses = sorted({str(each.getsockname()[:2]) for each in listeners})
    if len(addresses) > 1:
        raise BootError(
            f"systemd hands over sockets of {' and '.join(addresses)}: the relay listens on one"
            " address; [::] is IPv4's too"
        )
    return listeners


def _listening(fd: int) -> socket.socket | None:
    try:
        found = socket.socket(fileno=fd)
    except OSError:
        return None
    is_tcp = found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM
    if is_tcp and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return found
    found.close()
    return None
