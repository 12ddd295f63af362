"""A worker's links over ZeroMQ: what has come from fronts and peers, and what goes to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import zmq

from relay import log
from relay.bus import envelopes
from relay.bus.doorkeeper import Doorkeeper
from relay.bus.envelopes import (
    VOID,
    FrontBatch,
    PeerBatch,
    ToWorker,
)
from relay.bus.identity import Who, name_in_directory, who_is
from relay.bus.remote import remote_of
from relay.bus.sockets import Watch, bind_router, has_input, make_context, tcp_endpoint
from relay.bus.topology import Topology, life_of
from relay.disk.files import is_private_directory
from relay.process.place import Place
from relay.process.traffic import Traffic
from workers.dealers import Connections, Dealers
from workers.fronts import FrontLink, Fronts
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


class Written(NamedTuple):
    """What a batch has to say, for who was there as it was decided, by the links of then."""

    effects: Effects
    to_fronts: list[tuple[Identity, FrontLink, bytes]]
    peers: Connections


class Links:
    """The ROUTER that everyone sends to, and the DEALERs to the other workers.

    What the shard has yet to hear of stands in `fronts`, `lost_peers`, `new_peers` and `stale`; the
    caller takes it from there.
    """

    def __init__(self, place: Place, counters: Counter[str], *, epoch: int = 0) -> None:
        """Bind the ROUTER at `endpoint`, a path in the run directory that no one had before.

        In a cluster `epoch` is that of the range, and other hosts reach the ROUTER at `tcp`.

        Raises:
            BootError: there is no port for them.
        """
        self.fronts = Fronts(max_link_bytes=place.settings.flow.link_bytes)
        self.stale: list[tuple[Identity, Sequence[ToWorker]]] = []  # meant for another incarnation
        remote = remote_of(place.settings)
        incarnation = epoch or place.incarnation
        self._life = life_of(place.index, incarnation, host=remote.host if remote else "")
        self._counters = counters
        self.context = make_context(remote)
        self.traffic = Traffic()
        self._path = place.run_dir / name_in_directory(f"w{place.index}-", place.incarnation)
        self.endpoint = f"ipc://{self._path}"
        self._watch = Watch()
        self._doorkeeper: Doorkeeper | None = None
        if remote is not None:
            self._doorkeeper = Doorkeeper(self.context, remote.public)
            self._watch.add(self._doorkeeper.socket)
        self._router = bind_router(self.context, self.endpoint, remote=remote)
        self.tcp = tcp_endpoint(self._router) if remote else ""
        self._watch.add(self._router)
        me = Who("worker", place.index, incarnation)
        self._dealers = Dealers(self.context, self._watch, counters, me, remote)
        self._drained_bytes = 0
        self._drained_work = 0

    @property
    def new_peers(self) -> set[int]:
        """The peers that were connected to, and are to be sent what waits for them."""
        return self._dealers.connected

    @property
    def lost_peers(self) -> set[int]:
        """The peers on other hosts whose connection is over."""
        return self._dealers.lost

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
        self._dealers.close()
        if self._doorkeeper is not None:
            self._doorkeeper.close()
        self._router.close()
        self.context.term()

    @property
    def has_news(self) -> bool:
        """Whether the shard has yet to hear of something that no envelope says."""
        dealers, fronts = self._dealers, self.fronts
        return bool(dealers.connected or dealers.lost or self.stale or fronts.lost or fronts.roomy)

    def follow(self, topology: Topology) -> list[int]:
        """Connect to new peers and let go of dead ones and of dead fronts.

        Return the peers that are lost; each of them that is back is among `new_peers`.
        """
        lost_before = self.fronts.lost.copy()
        self.fronts.follow(topology.fronts)
        for front in self.fronts.lost - lost_before:
            self._call_off(front)
        return self._dealers.follow(topology.workers)

    def reach_again(self) -> None:
        """Try again to connect to peers on other hosts whose connection is over."""
        self._dealers.reach_again()

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
        self._dealers.drain(ready, received)
        if self._doorkeeper is not None:
            self._look_abroad(self._doorkeeper, ready)
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
        if batch.incarnation != self._life:
            # Meant for a worker that is no more (I8).
            self._counters["stale_batches_refused"] += 1
            self.stale.append((origin, batch.items))
            return
        link = self.fronts.links.get(origin)
        if link is None:
            sender = who_is(origin)
            if sender.role == "worker":
                received.append(Received(origin, sender.index, batch.items, (), 0, len(payload)))
                return
            link = self._begin_link(origin, sender, batch.number, received)
            if link is None:
                self._counters["batches_of_dead_fronts_dropped"] += 1
                return
        if not link.accept(batch.number, len(payload), is_empty=not batch.items):
            self._counters["repeated_batches_dropped"] += 1
            return
        self.fronts.confirmed(origin, batch.received)
        if batch.items:
            received.append(Received(origin, None, batch.items, (), batch.number, len(payload)))

    def _begin_link(
        self, origin: Identity, sender: Who, number: int, received: list[Received]
    ) -> FrontLink | None:
        """Return the link with a front that it has none with yet; None: what it sends is void.

        In a cluster one may send to a link that is no more here, since its host was out of sight
        for a while, and does not know; of what is missing it would never hear.
        """
        link = self.fronts.link_of(origin) if number == 1 or not sender.host else None
        if link is None:
            self._call_off(origin)
        elif self.fronts.lost:  # with the one that it had before, which may have come just now
            alive = [each for each in received if each.origin not in self.fronts.lost]
            if len(alive) < len(received):
                self._counters["batches_of_dead_fronts_dropped"] += len(received) - len(alive)
                received[:] = alive
        return link

    def _call_off(self, front: Identity) -> None:
        """Have a front of a cluster begin its link anew, if it lives."""
        if who_is(front).host:
            self._route(front, envelopes.encode(FrontBatch(VOID, 0, [])))

    def _look_abroad(self, doorkeeper: Doorkeeper, ready: Ready) -> None:
        """Let other hosts in, and see how the connections to them fare."""
        if doorkeeper.socket in ready:
            refused = doorkeeper.refused
            doorkeeper.answer()
            self._watch.use(doorkeeper.socket)
            if doorkeeper.refused != refused:
                self._counters["strangers_refused"] += doorkeeper.refused - refused
        self._dealers.look(ready)

    # ---------------------------------------------------------------------------------- out

    def send(self, effects: Effects) -> list[Identity]:
        """Send what a batch has to say, once it is committed; return the fronts that are full now.

        It confirms what was decided, to those too who have nothing else to be told.
        """
        for origin in self.fronts.heard:
            effects.to_fronts[origin]
        self.fronts.heard.clear()
        full = self._send_to_fronts(effects)
        self._dealers.send(effects.to_peers)
        for origin, applied in effects.applied.items():
            # A peer that died meanwhile sends its entries again.
            self._route(origin, envelopes.encode(PeerBatch([applied])))
        return full

    def write(self, effects: Effects) -> tuple[Written, list[Identity]]:
        """Do all of `send` but for the sending; return what to `say`, and the fronts that are full.

        All that is written has to be said, in order, before anything is sent. It confirms what is
        decided by now, and nothing that is decided until it is said.
        """
        for origin in self.fronts.heard:
            effects.to_fronts[origin]
        self.fronts.heard.clear()
        written: list[tuple[Identity, FrontLink, bytes]] = []
        full: list[Identity] = []
        for front, items in effects.to_fronts.items():
            link = self.fronts.links.get(front)
            if link is None:
                continue  # it died in this very turn
            payload = envelopes.encode(
                FrontBatch(link.outgoing.next_number, link.decided, items, link.begun)
            )
            link.outgoing.sent(len(payload))
            written.append((front, link, payload))
            if link.outgoing.is_full:
                full.append(front)
        return Written(effects, written, self._dealers.present()), full

    def say(self, written: Written) -> None:
        """Send what was written, once it is confirmed, to those who are still there."""
        for front, link, payload in written.to_fronts:
            if self.fronts.links.get(front) is not link:
                continue  # it died meanwhile, or began its link anew
            if self._route(front, payload):
                self.traffic.bytes_sent += len(payload)
            else:
                self.fronts.cannot_be_reached(front)
        self._dealers.send(written.effects.to_peers, written.peers)
        for origin, applied in written.effects.applied.items():
            self._route(origin, envelopes.encode(PeerBatch([applied])))

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
