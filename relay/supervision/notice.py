"""What a service manager is told: systemd's `Type=notify`, by sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time
from typing import Final

from relay import log

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_SOCKET: Final = "NOTIFY_SOCKET"


def reloading() -> str:
    """Return the notice that settings are being read again; READY ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def give_notice(notice: str) -> None:
    """Tell the service manager, if one started us and listens; nobody waits for it."""
    address = os.environ.get(_SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(notice.encode(), address)
    except OSError as error:
        log.get_logger().warning("supervisor.notice_lost", reason=error.strerror)
