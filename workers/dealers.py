"""A worker's DEALERs: the connections to the other workers, for what they are to store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import zmq

from relay import log
from relay.bus import envelopes
from relay.bus.envelopes import StrayAck, ToWorker, WorkerBatch
from relay.bus.identity import Who, connected_as
from relay.bus.lifeline import Lifeline, Stage, reach
from relay.bus.remote import Remote
from relay.bus.sockets import Watch, connect_dealer, has_input
from relay.bus.topology import WorkerAddress
from relay.errors import NoDescriptor
from workers.inbox import Received


class _Dealer:
    """The one to a worker; one to another host has a `lifeline`."""

    def __init__(
        self, address: WorkerAddress, socket: zmq.Socket[bytes], lifeline: Lifeline | None = None
    ) -> None:
        self.address = address
        self.socket = socket
        self.lifeline = lifeline
        self.number = 0


Connections = Mapping[int, _Dealer]


class Dealers:
    """All of a worker.

    What the shard has yet to hear of stands in `lost` and then in `connected`; the caller takes it
    from there. A peer may be in both.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        watch: Watch,
        counters: Counter[str],
        me: Who,
        remote: Remote | None,
    ) -> None:
        """Connect to nobody yet."""
        self.connected: set[int] = set()
        self.lost: set[int] = set()  # for their connection, and not for what is listed
        self._context = context
        self._watch = watch
        self._counters = counters
        self._me = me
        self._remote = remote
        self._host = remote.host if remote is not None else ""
        self._present: dict[int, WorkerAddress] = {}
        self._dealers: dict[int, _Dealer] = {}
        self._reaching: dict[int, _Dealer] = {}
        self._lifelines: set[zmq.Socket[bytes] | int] = set()
        self._ended: dict[int, tuple[int, int]] = {}  # a life, and connections to it that ended

    def follow(self, workers: Iterable[WorkerAddress]) -> list[int]:
        """Connect to peers that are new and let go of those that are gone, which is returned.

        Each of them that is back is among the `connected`, one on another host once it is reached.
        """
        self._present = {
            each.index: each
            for each in workers
            if each.index != self._me.index and not self._is_older(each)
        }
        for index in self._gone(self._reaching):
            self._close(self._reaching.pop(index))
        gone = self._gone(self._dealers)
        for index in gone:
            self._let_go(index)
        self._connect()
        return gone

    def _is_older(self, address: WorkerAddress) -> bool:
        """Whether the range has had a newer owner (C6)."""
        life, _ = self._ended.get(address.index, (0, 0))
        return bool(address.host) and address.life < life

    def _gone(self, dealers: Mapping[int, _Dealer]) -> list[int]:
        return [i for i, each in dealers.items() if self._present.get(i) != each.address]

    def reach_again(self) -> None:
        """Try again to connect to peers where that failed, or whose connection is over."""
        if len(self._dealers) + len(self._reaching) < len(self._present):
            self._connect()

    def _connect(self) -> None:
        for index, address in self._present.items():
            if index in self._dealers or index in self._reaching:
                continue
            try:
                dealer = self._dial(address)
            except NoDescriptor as error:
                log.get_logger().error("peer.no_descriptor", worker=index, reason=str(error))
                return
            if dealer.lifeline is None:
                self._have(index, dealer)
            else:
                self._watch.add(dealer.lifeline.socket)
                self._lifelines.add(dealer.lifeline.socket)
                self._reaching[index] = dealer

    def _dial(self, address: WorkerAddress) -> _Dealer:
        life, ended = self._ended.get(address.index, (0, 0))
        ended = ended + 1 if life == address.life else 0
        identity = connected_as(self._me.name, ended)
        endpoint = address.endpoint_from(self._host)
        if self._remote is None or address.host == self._host:
            dealer = _Dealer(address, connect_dealer(self._context, endpoint, identity=identity))
        else:
            dealer = _Dealer(
                address, *reach(self._context, endpoint, identity=identity, remote=self._remote)
            )
        self._ended[address.index] = address.life, ended
        return dealer

    def _have(self, index: int, dealer: _Dealer) -> None:
        self._watch.add(dealer.socket)
        self._dealers[index] = dealer
        self.connected.add(index)

    def _let_go(self, index: int) -> None:
        dealer = self._dealers.pop(index)
        self._watch.remove(dealer.socket)
        self._close(dealer)
        self.connected.discard(index)

    def _close(self, dealer: _Dealer) -> None:
        if dealer.lifeline is not None:
            self._watch.remove(dealer.lifeline.socket)
            self._lifelines.discard(dealer.lifeline.socket)
            dealer.lifeline.close()
        dealer.socket.close()

    def look(self, ready: AbstractSet[zmq.Socket[bytes] | int]) -> None:
        """See how the connections to other hosts fare."""
        if self._lifelines.isdisjoint(ready):
            return
        for index, dealer in list(self._reaching.items()):
            stage = self._stage(dealer, ready)
            if stage is Stage.OVER:
                self._close(self._reaching.pop(index))
            elif stage is Stage.UP:
                self._have(index, self._reaching.pop(index))
        for index, dealer in list(self._dealers.items()):
            if self._stage(dealer, ready) is Stage.OVER:
                log.get_logger().info("peer.over", worker=index, host=dealer.address.host)
                self._let_go(index)
                self.lost.add(index)

    def _stage(self, dealer: _Dealer, ready: AbstractSet[zmq.Socket[bytes] | int]) -> Stage | None:
        """Return how far a connection is; None: nothing is new."""
        lifeline = dealer.lifeline
        if lifeline is None or lifeline.socket not in ready:
            return None
        self._watch.use(lifeline.socket)
        return lifeline.look()

    def drain(self, ready: AbstractSet[zmq.Socket[bytes] | int], received: list[Received]) -> None:
        """Take what the `ready` ones have."""
        for index, dealer in self._dealers.items():
            while dealer.socket in ready and has_input(dealer.socket):
                batch = envelopes.decode_peer_batch(dealer.socket.recv(zmq.DONTWAIT))
                received.append(Received(b"", index, (), batch.items))

    def present(self) -> Connections:
        """Return the connections that there are now."""
        return self._dealers.copy()

    def send(
        self, to_peers: Mapping[int, Sequence[ToWorker]], only: Connections | None = None
    ) -> None:
        """Send each peer what is for it; who is away gets it later if it is in the outbox.

        What was decided earlier goes by the connections `only` of then: on a later one a peer is to
        hear all that it lacks, in order, and who is told of that connection sends it so.
        """
        for index, entries in to_peers.items():
            dealer = self._dealers.get(index)
            if dealer is None or (only is not None and only.get(index) is not dealer):
                self._counters["stray_acks_dropped"] += len(entries)
                continue
            dealer.number += 1
            batch = WorkerBatch(dealer.address.life, dealer.number, 0, len(entries), list(entries))
            try:
                dealer.socket.send(envelopes.encode(batch), zmq.DONTWAIT)
            except zmq.Again:
                if dealer.lifeline is None:
                    raise
                # The connection is over, of which `look` is about to hear.
                strays = sum(isinstance(each, StrayAck) for each in entries)
                self._counters["stray_acks_dropped"] += strays
                continue
            self._watch.use(dealer.socket)

    def close(self) -> None:
        """Close every socket; what was sent and has not left is lost."""
        for dealer in (*self._dealers.values(), *self._reaching.values()):
            self._close(dealer)
