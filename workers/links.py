"""A worker's links over ZeroMQ: what has come from fronts and peers, and what goes to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import zmq

from relay import log
from relay.bus import envelopes
from relay.bus.envelopes import (
    FrontBatch,
    PeerBatch,
    ToWorker,
    WorkerBatch,
)
from relay.bus.sockets import Watch, bind_router, connect_dealer, has_input
from relay.bus.topology import Topology, WorkerAddress
from relay.disk.files import is_private_directory
from relay.process.place import Place
from relay.process.traffic import Traffic
from workers.fronts import Fronts, who_is
from workers.inbox import Received
from workers.shard.effects import Effects, Identity

# One batch takes at most this much from the inbox, so that its commit stays short.
MAX_BATCH_MESSAGES = 512
# A group message is written once for each worker, so the bytes count up to as many times in the
# store's reserve (workers.store.room).
MAX_BATCH_BYTES = 1024 * 1024
# Decisions: some 20 ms, so that what has gathered during a stop does not hold up a front for long.
# Fewer spare others little and cost each message more (BENCHMARKS.md, fairness against speed).
MAX_BATCH_WORK = 1_000

# As plain numbers: enums are dear to combine, and to be looked at by each call.
_NOW: Final = int(zmq.DONTWAIT)
_NOW_WITH_MORE: Final = int(zmq.DONTWAIT | zmq.SNDMORE)

# Sockets and descriptors that have input.
Ready = AbstractSet[zmq.Socket[bytes] | int]


class _Peer:
    """The DEALER to another worker's ROUTER."""

    def __init__(self, address: WorkerAddress, socket: zmq.Socket[bytes]) -> None:
        self.address = address
        self.socket = socket
        self.number = 0


class Links:
    """The ROUTER that everyone sends to, and the DEALERs to the other workers.

    What the shard has yet to hear of stands in `fronts`, `new_peers` and `stale`; the caller takes
    it from there.
    """

    def __init__(self, place: Place, counters: Counter[str], *, epoch: int = 0) -> None:
        """Bind the ROUTER at `endpoint`, a path in the run directory that no one had before.

        In a cluster `epoch` is that of the range, and other hosts reach the ROUTER at `tcp`.
        """
        self.fronts = Fronts(max_link_bytes=place.settings.flow.link_bytes)
        self.new_peers: set[int] = set()
        self.stale: list[tuple[Identity, Sequence[ToWorker]]] = []  # meant for another incarnation
        self._index = place.index
        self._incarnation = epoch or place.incarnation
        self._counters = counters
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.traffic = Traffic()
        self._path = place.run_dir / f"w{place.index}-{place.incarnation}.sock"
        self.endpoint = f"ipc://{self._path}"
        self._router = bind_router(self.context, self.endpoint)
        self._watch = Watch()
        self._watch.add(self._router)
        self._peers: dict[int, _Peer] = {}
        self._drained_bytes = 0
        self._drained_work = 0

    @property
    def tcp(self) -> str:
        """Where other hosts reach the ROUTER; empty without a cluster."""
        return ""

    def watch(self, descriptor: int) -> None:
        """Have `wait` end when there is something to read from `descriptor`, too."""
        self._watch.add(descriptor)

    def wait(self, timeout_ms: int) -> Ready:
        """Wait until something has come, at most that long; return what of it is `ready`."""
        self._watch.use(self._router)
        return self._watch.wait(timeout_ms)

    def keep_endpoint(self) -> None:
        """Listen again where somebody has cleaned up the run directory, for who is yet to come.

        Whoever is connected stays so. The supervisor makes the directory again.
        """
        if not self._path.exists() and is_private_directory(self._path.parent):
            try:
                self._router.bind(self.endpoint)
            except zmq.ZMQError as error:  # it went again
                log.get_logger().warning("worker.not_bound", reason=str(error))
            else:
                log.get_logger().warning("worker.bound_again", endpoint=self.endpoint)

    def close(self) -> None:
        """Close every socket; what was sent and has not left is lost."""
        for peer in self._peers.values():
            peer.socket.close()
        self._router.close()
        self.context.term()

    @property
    def has_news(self) -> bool:
        """Whether the shard has yet to hear of something that no envelope says."""
        return bool(self.new_peers or self.stale or self.fronts.lost or self.fronts.roomy)

    def follow(self, topology: Topology) -> list[int]:
        """Connect to new peers and let go of dead ones and of dead fronts.

        Return the peers that are lost; each of them that is back is among `new_peers`.
        """
        self.fronts.follow(topology.fronts)
        present = {address.index: address for address in topology.workers}
        lost = [index for index, peer in self._peers.items() if present.get(index) != peer.address]
        for index in lost:
            socket = self._peers.pop(index).socket
            self._watch.remove(socket)
            socket.close()
            self.new_peers.discard(index)
        identity = f"worker-{self._index}-{self._incarnation}"
        for index, address in present.items():
            if index != self._index and index not in self._peers:
                socket = connect_dealer(self.context, address.endpoint, identity=identity)
                self._watch.add(socket)
                self._peers[index] = _Peer(address, socket)
                self.new_peers.add(index)
        return lost

    # ----------------------------------------------------------------------------------- in

    def drain(self, ready: Ready, *, waiting_bytes: int = 0) -> tuple[list[Received], int]:
        """Take what the `ready` sockets have, up to a batch's bounds; the rest waits in them.

        `waiting_bytes` have been taken and wait for a decision. Return what has come now with the
        number of its bytes, as far as they may be stored.
        """
        received: list[Received] = []
        self._drained_bytes = self._drained_work = 0
        if self._router in ready and waiting_bytes < MAX_BATCH_BYTES:
            self._drain_router(received, MAX_BATCH_BYTES - waiting_bytes)
        for index, peer in self._peers.items():
            while peer.socket in ready and has_input(peer.socket):
                batch = envelopes.decode_peer_batch(peer.socket.recv(zmq.DONTWAIT))
                received.append(Received(b"", index, (), batch.items))
        self.traffic.bytes_received += self._drained_bytes
        return received, self._drained_bytes

    @property
    def drained_work(self) -> int:
        """How many decisions the last `drain` asked for."""
        return self._drained_work

    def _drain_router(self, received: list[Received], max_bytes: int) -> None:
        """Take at least one message: there is one."""
        receive = self._router.recv
        for _ in range(MAX_BATCH_MESSAGES):
            # Who sent it and what. `recv_multipart` takes four times as long to find that out.
            origin = receive(_NOW)
            payload = receive(_NOW)
            self._drained_bytes += len(payload)
            self._open(origin, payload, received)
            if self._drained_bytes >= max_bytes or self._drained_work >= MAX_BATCH_WORK:
                break
            if not has_input(self._router):
                break

    def _open(self, origin: Identity, payload: bytes, received: list[Received]) -> None:
        batch = envelopes.decode_worker_batch(payload)
        self._drained_work += batch.work
        if batch.incarnation != self._incarnation:
            # Meant for a worker that is no more (I8).
            self._counters["stale_batches_refused"] += 1
            self.stale.append((origin, batch.items))
            return
        link = self.fronts.links.get(origin)
        if link is None:
            sender = who_is(origin)
            if sender.role == b"worker":
                received.append(Received(origin, sender.number, batch.items, (), 0, len(payload)))
                return
            link = self.fronts.link_of(origin)
            if link is None:
                self._counters["batches_of_dead_fronts_dropped"] += 1
                return
        if not link.accept(batch.number, len(payload), is_empty=not batch.items):
            self._counters["repeated_batches_dropped"] += 1
            return
        self.fronts.confirmed(origin, batch.received)
        if batch.items:
            received.append(Received(origin, None, batch.items, (), batch.number, len(payload)))

    # ---------------------------------------------------------------------------------- out

    def send(self, effects: Effects) -> list[Identity]:
        """Send what a batch has to say, once it is committed; return the fronts that are full now.

        It confirms what was decided, to those too who have nothing else to be told.
        """
        for origin in self.fronts.heard:
            effects.to_fronts[origin]
        self.fronts.heard.clear()
        full = self._send_to_fronts(effects)
        self._send_to_peers(effects)
        for origin, applied in effects.applied.items():
            # A peer that died meanwhile sends its entries again.
            self._route(origin, envelopes.encode(PeerBatch([applied])))
        return full

    def _send_to_fronts(self, effects: Effects) -> list[Identity]:
        full: list[Identity] = []
        for front, items in effects.to_fronts.items():
            link = self.fronts.links.get(front)
            if link is None:
                continue  # it died in this very turn
            payload = envelopes.encode(
                FrontBatch(link.outgoing.next_number, link.decided, items, link.begun)
            )
            if not self._route(front, payload):
                self.fronts.cannot_be_reached(front)
                continue
            link.outgoing.sent(len(payload))
            self.traffic.bytes_sent += len(payload)
            if link.outgoing.is_full:
                full.append(front)
        return full

    def _send_to_peers(self, effects: Effects) -> None:
        for index, entries in effects.to_peers.items():
            peer = self._peers.get(index)
            if peer is None:
                self._counters["stray_acks_dropped"] += len(entries)
                continue
            peer.number += 1
            batch = WorkerBatch(
                peer.address.incarnation, peer.number, 0, len(entries), list(entries)
            )
            peer.socket.send(envelopes.encode(batch), zmq.DONTWAIT)
            self._watch.use(peer.socket)

    def _route(self, receiver: Identity, payload: bytes) -> bool:
        """Send through the ROUTER; False where the receiver has no connection any more."""
        try:
            # Not `send_multipart`, which takes three times as long.
            self._router.send(receiver, _NOW_WITH_MORE)
            self._router.send(payload, _NOW)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True
