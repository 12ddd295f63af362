"""ZeroMQ sockets with the options that the bus needs.

ZeroMQ gives no reliability of its own; `relay.bus.link` adds it. The high-water marks are off,
because at one ROUTER drops without a word: what is in flight is bounded by the links' credits.
"""

import errno
from typing import Final

import zmq

from relay.errors import NoDescriptor

# As plain numbers: to look up and combine members of enums costs as much as the question.
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)


def has_input(socket: "zmq.Socket[bytes]") -> bool:
    """Tell whether a message is there to be received.

    To ask costs a third of what it does to try in vain, which raises. The descriptor of a socket
    is edge-triggered: whoever watches it must ask before he waits for it.
    """
    return bool(int(socket.get(_EVENTS)) & _POLLIN)


def bind_router(context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str) -> "zmq.Socket[bytes]":
    """Return a ROUTER bound to `endpoint`."""
    socket = _socket(context, zmq.ROUTER)
    # ROUTER discards messages for unknown peers without an error. MANDATORY raises EHOSTUNREACH
    # instead, which is how a dead front is noticed.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.bind(endpoint)
    return socket


def connect_dealer(
    context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, *, identity: str
) -> "zmq.Socket[bytes]":
    """Return a DEALER connected to `endpoint`, known there as `identity`.

    Every incarnation of either side needs a fresh identity or endpoint: to a known identity that
    comes back, ROUTER does not route.

    Raises:
        NoDescriptor: this process, or the machine, has none left.
    """
    try:
        socket = _socket(context, zmq.DEALER)
    except zmq.ZMQError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise NoDescriptor(f"cannot connect to a worker: {error.strerror}") from None
        raise
    socket.setsockopt(zmq.ROUTING_ID, identity.encode())
    socket.connect(endpoint)
    return socket


def _socket(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    return socket
