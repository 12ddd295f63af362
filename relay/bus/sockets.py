"""ZeroMQ sockets with the options that the bus needs.

ZeroMQ gives no reliability of its own; `relay.bus.link` adds it. The high-water marks are off,
because at one ROUTER drops without a word: what is in flight is bounded by the links' credits.
"""

import errno
import select
import time
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


class Watch:
    """Waits for input, of sockets and of descriptors of other kinds.

    `zmq.Poller` asks every socket before and after, and the kernel twice: 7.6 us for nine sockets,
    where this takes 1.0. It asks those that were used since they were last known to be empty.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: dict[int, zmq.Socket[bytes] | int] = {}
        self._used: set[zmq.Socket[bytes]] = set()  # since, or has input

    def add(self, what: "zmq.Socket[bytes] | int") -> None:
        """Watch a socket or a descriptor."""
        if not isinstance(what, int):
            self._used.add(what)
        descriptor = _descriptor(what)
        self._watched[descriptor] = what
        self._poll.register(descriptor, select.POLLIN)

    def remove(self, what: "zmq.Socket[bytes]") -> None:
        """Watch it no more; it is still open."""
        self._used.discard(what)
        descriptor = _descriptor(what)
        del self._watched[descriptor]
        self._poll.unregister(descriptor)

    def use(self, socket: "zmq.Socket[bytes]") -> None:
        """Note that something is sent through it, or received: an edge may be consumed so."""
        self._used.add(socket)

    def wait(self, timeout_ms: int) -> "set[zmq.Socket[bytes] | int]":
        """Return what has input once anything has, or nothing when that time is over."""
        until_s = time.monotonic() + timeout_ms / 1000
        while True:
            self._used = {socket for socket in self._used if has_input(socket)}
            ready: set[zmq.Socket[bytes] | int] = set(self._used)
            found = self._poll.poll(0 if ready else timeout_ms)
            for descriptor, _ in found:
                what = self._watched[descriptor]
                if isinstance(what, int):
                    ready.add(what)
                elif has_input(what):
                    self._used.add(what)
                    ready.add(what)
            if ready or not found:
                return ready
            # What a socket has for itself, such as that somebody has connected.
            timeout_ms = max(0, int(1000 * (until_s - time.monotonic())))


def _descriptor(what: "zmq.Socket[bytes] | int") -> int:
    return what if isinstance(what, int) else what.fileno()
