"""Ports for those who must be told theirs."""

from __future__ import annotations

import random
import socket
from typing import Final

# Below those that the kernel gives to whoever connects or asks for any (32768 and up). One of these
# could be another's before it is used; and who tries whether somebody listens there, again and
# again, in the end connects to itself.
_PORTS: Final = range(20_000, 32_000)


def free_port() -> int:
    """Return a port at which nobody listens now."""
    while True:
        port = random.choice(_PORTS)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
