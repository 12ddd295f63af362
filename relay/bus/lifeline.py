"""How a connection to another host fares: it is being made, it is up, it is over.

ZeroMQ would connect again by itself, and go on with what it had not written yet: what was under way
is missing, and nobody is told. So a connection between hosts is made once, whoever has it watches
its lifeline, and when it is over begins the link anew.
"""

from __future__ import annotations

import itertools
from enum import Enum
from struct import Struct
from typing import Final

import zmq

from relay.bus.remote import Remote
from relay.bus.sockets import connect, has_input, make_dealer, or_no_descriptor

_UP: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_EVENTS: Final = _UP | int(
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED  # it could not be made
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_EVENT: Final = Struct("=Hi")  # which, and a value
_numbers = itertools.count(1)


class Stage(Enum):
    """How far a connection is; it goes down the list and never back."""

    REACHING = 1
    UP = 2
    OVER = 3


class Lifeline:
    """That of one DEALER, which is yet to connect; it is to be closed before the DEALER."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], dealer: zmq.Socket[bytes]) -> None:
        endpoint = f"inproc://lifeline-{next(_numbers)}"
        dealer.monitor(endpoint, _EVENTS)
        self._dealer = dealer
        # Readable when `look` may have news; its descriptor is edge-triggered like any.
        self.socket = context.socket(zmq.PAIR)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)
        self._stage = Stage.REACHING

    def look(self) -> Stage:
        """Return how far it is by now."""
        while has_input(self.socket):
            event, _ = _EVENT.unpack(self.socket.recv_multipart(zmq.DONTWAIT)[0])
            if event != _UP:
                self._stage = Stage.OVER
            elif self._stage is Stage.REACHING:
                self._stage = Stage.UP
        return self._stage

    def close(self) -> None:
        """Look no more."""
        # First: what tells of a connection waits for whoever listens, and everything with it.
        self._dealer.disable_monitor()
        self.socket.close()


def reach(
    context: zmq.Context[zmq.Socket[bytes]], endpoint: str, *, identity: str, remote: Remote
) -> tuple[zmq.Socket[bytes], Lifeline]:
    """Return a DEALER that begins to connect to another host, and its lifeline.

    Raises:
        NoDescriptor: this process, or the machine, has none left.
    """
    dealer = make_dealer(context, identity, remote)
    try:
        lifeline = Lifeline(context, dealer)
    except zmq.ZMQError as error:
        dealer.close()
        raise or_no_descriptor(error) from None
    connect(dealer, endpoint)
    return dealer, lifeline
