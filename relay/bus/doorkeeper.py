"""Who asks at the door for hosts: whether a connection shows the cluster's own key.

ZeroMQ asks a socket of the same context about each (ZAP, its RFC 27), and takes nothing of a
connection before it has an answer. The owner answers between two batches, so no thread is needed.
"""

from __future__ import annotations

from typing import Final

import zmq
from zmq.utils import z85

from relay.bus.sockets import has_input

_ENDPOINT: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"
# Whoever can reach an ipc socket may use it: they are in a private directory. Addresses of TCP are
# numeric.
_OF_THIS_HOST: Final = b"localhost:"


class Doorkeeper:
    """The one of a context; it is there before anything is bound. `refused` counts strangers."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], public: str) -> None:
        """Let in who shows `public`, in Z85, and has the secret of it."""
        self._key = z85.decode(public)
        # Readable when somebody waits; whoever watches it is to `answer`.
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(_ENDPOINT)
        self.refused = 0

    def answer(self) -> None:
        """Answer everybody who waits."""
        while has_input(self.socket):
            asker, _, version, request, _, address, _, mechanism, *credentials = (
                self.socket.recv_multipart(zmq.DONTWAIT)
            )
            if mechanism == b"NULL":  # by TCP there is only CURVE
                is_ours = address.startswith(_OF_THIS_HOST)
            else:
                shown = (version, mechanism, credentials)
                is_ours = shown == (_VERSION, b"CURVE", [self._key])
            self.refused += not is_ours
            said = (b"200", b"OK") if is_ours else (b"400", b"no key of this cluster")
            self.socket.send_multipart([asker, b"", _VERSION, request, *said, b"", b""])

    def close(self) -> None:
        """Let nobody in any more."""
        self.socket.close()
