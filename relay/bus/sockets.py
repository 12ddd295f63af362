"""ZeroMQ sockets with the options that the bus needs.

ZeroMQ gives no reliability of its own; `relay.bus.link` adds it. The high-water marks are off,
because at one ROUTER drops without a word: what is in flight is bounded by the links' credits.
"""

import errno
import os
import select
import time
from ipaddress import ip_address
from socket import SOCK_STREAM, getaddrinfo
from typing import Final

import zmq

from relay.bus.remote import CONNECT_S, HANDSHAKE_S, HEARTBEAT_S, SILENT_S, Remote
from relay.errors import BootError, NoDescriptor

# As plain numbers: to look up and combine members of enums costs as much as the question.
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
# Three for each range, and as many that are being closed, while the next ones reach out. ZeroMQ
# allows for 1,023.
_MOST_SOCKETS: Final = 8_192


def has_input(socket: "zmq.Socket[bytes]") -> bool:
    """Tell whether a message is there to be received.

    To ask costs a third of what it does to try in vain, which raises. The descriptor of a socket
    is edge-triggered: whoever watches it must ask before he waits for it.
    """
    return bool(int(socket.get(_EVENTS)) & _POLLIN)


def make_context(remote: Remote | None) -> "zmq.Context[zmq.Socket[bytes]]":
    """Return what a process has its sockets of the bus in."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    if remote is not None:
        context.set(zmq.MAX_SOCKETS, _MOST_SOCKETS)
    return context


def bind_router(
    context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, *, remote: Remote | None = None
) -> "zmq.Socket[bytes]":
    """Return a ROUTER bound to `endpoint`, and in a cluster to a TCP port for the other hosts.

    `tcp_endpoint` tells which. Only who has the cluster's key gets in there, and nobody at all
    unless the context has a `Doorkeeper`.

    Raises:
        BootError: no port can be had.
    """
    socket = _socket(context, zmq.ROUTER)
    # ROUTER discards messages for unknown peers without an error. MANDATORY raises EHOSTUNREACH
    # instead, which is how a dead front is noticed.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.bind(endpoint)
    if remote is not None:
        try:
            _bind_tcp(socket, remote)
        except BaseException:
            socket.close()
            raise
    return socket


def tcp_endpoint(router: "zmq.Socket[bytes]") -> str:
    """Return where other hosts connect to a ROUTER that was bound for them."""
    return router.get_string(zmq.LAST_ENDPOINT).rstrip("\0")


def connect_dealer(
    context: "zmq.Context[zmq.Socket[bytes]]",
    endpoint: str,
    *,
    identity: str,
    remote: Remote | None = None,
) -> "zmq.Socket[bytes]":
    """Return a DEALER connected to `endpoint`, known there as `identity`.

    Every incarnation of either side needs a fresh identity or endpoint: to a known identity that
    comes back, ROUTER does not route. To another host use `relay.bus.lifeline.reach`: what it is
    given when that connection is over is lost.

    Raises:
        NoDescriptor: this process, or the machine, has none left.
    """
    socket = make_dealer(context, identity, remote if endpoint.startswith("tcp:") else None)
    connect(socket, endpoint)
    return socket


def connect(dealer: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Have a DEALER connect."""
    dealer.setsockopt(zmq.IPV6, "[" in endpoint)
    dealer.connect(endpoint)


def make_dealer(
    context: "zmq.Context[zmq.Socket[bytes]]", identity: str, remote: Remote | None
) -> "zmq.Socket[bytes]":
    """Return a DEALER that is yet to connect; with `remote` it is for another host.

    Raises:
        NoDescriptor: this process, or the machine, has none left.
    """
    try:
        socket = _socket(context, zmq.DEALER)
    except zmq.ZMQError as error:
        raise or_no_descriptor(error) from None
    socket.setsockopt(zmq.ROUTING_ID, identity.encode())
    if remote is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, remote.public.encode())
        _show_key(socket, remote)
        _end_when_silent(socket)
        socket.setsockopt(zmq.CONNECT_TIMEOUT, int(1000 * CONNECT_S))
        socket.setsockopt(zmq.RECONNECT_IVL, -1)  # see relay.bus.lifeline
    return socket


def or_no_descriptor(error: zmq.ZMQError) -> Exception:
    """Return what to raise for an error of making a socket."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return NoDescriptor(f"cannot connect to a worker: {error.strerror}")
    return error


def _socket(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    return socket


def _bind_tcp(socket: "zmq.Socket[bytes]", remote: Remote) -> None:
    """Bind to a free port for those with the cluster's key.

    What is bound keeps the options that hold then. So afterwards they are as before, since the
    endpoint of this host may have to be bound again; but for the domain, which stays, so that the
    doorkeeper is asked about those as well.
    """
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    _show_key(socket, remote)
    # With a domain every connection is asked about, and none gets in where nobody answers.
    socket.setsockopt(zmq.ZAP_DOMAIN, b"relay")
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    _end_when_silent(socket)
    socket.setsockopt(zmq.MAXMSGSIZE, remote.most_bytes)
    _bind_port(socket, remote)
    socket.setsockopt(zmq.CURVE_SERVER, 0)  # no mechanism
    socket.setsockopt(zmq.HEARTBEAT_IVL, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, -1)


def _bind_port(socket: "zmq.Socket[bytes]", remote: Remote) -> None:
    address, ports = _numeric(remote.address), remote.ports
    socket.setsockopt(zmq.IPV6, address.startswith("["))
    # Those that start together try different ones.
    begin = os.getpid() % len(ports)
    for port in (*ports[begin:], *ports[:begin]):
        try:
            socket.bind(f"tcp://{address}:{port}")
        except zmq.ZMQError as error:
            if error.errno != errno.EADDRINUSE:
                raise BootError(
                    f"cannot listen at {remote.address}, the address of host {remote.host} in"
                    f" cluster.hosts: {error.strerror}"
                ) from None
        else:
            return
    raise BootError(
        f"all ports of cluster.bus_ports, {ports[0]} to {ports[-1]}, are taken at {remote.address}"
    )


def _numeric(address: str) -> str:
    """Return an address as ZeroMQ binds to it."""
    try:
        found = getaddrinfo(address, None, type=SOCK_STREAM)
    except OSError as error:
        raise BootError(f"cluster.hosts: {address} cannot be looked up: {error}") from None
    numeric = str(found[0][4][0])
    if numeric != address and ip_address(numeric).is_loopback:
        raise BootError(
            f"cluster.hosts: the name {address} is {numeric} here, where no other host comes: give"
            " the address by which they reach this one"
        )
    return f"[{numeric}]" if ":" in numeric else numeric


def _show_key(socket: "zmq.Socket[bytes]", remote: Remote) -> None:
    socket.setsockopt(zmq.CURVE_PUBLICKEY, remote.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, remote.secret.encode())
    socket.setsockopt(zmq.HANDSHAKE_IVL, int(1000 * HANDSHAKE_S))


def _end_when_silent(socket: "zmq.Socket[bytes]") -> None:
    """Have connections end when the other host says nothing for a while."""
    socket.setsockopt(zmq.HEARTBEAT_IVL, int(1000 * HEARTBEAT_S))
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(1000 * SILENT_S))
    socket.setsockopt(zmq.HEARTBEAT_TTL, int(1000 * SILENT_S))


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
