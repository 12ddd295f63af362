"""The worker's loop: wait, drain, decide, commit once, send.

Synchronous on purpose: between two batches nothing runs, so the state that a batch sees is what the
one before left. While a batch is being committed the next one gathers in the ROUTER's queue, so
batches grow with the load, and under light load each message is committed at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import zmq

from relay import log
from relay.bus import envelopes
from relay.bus.envelopes import (
    Applied,
    Confirmed,
    Durable,
    FrontBatch,
    PeerBatch,
    SendToGroup,
    SendToUser,
    ToWorker,
    WorkerBatch,
)
from relay.bus.link import Incoming, Outgoing
from relay.bus.sockets import bind_router, connect_dealer
from relay.bus.topology import Topology, WorkerAddress
from relay.disk.files import replace_file
from relay.disk.groupfile import load_groups
from relay.disk.layout import read_layout
from relay.errors import BootError, DiskError, StoreWriteError
from relay.process.control import (
    ChildReady,
    GroupsChanged,
    Heartbeat,
    PeerGone,
    SettingsChanged,
    Stop,
    TopologyChanged,
)
from relay.process.place import Place
from relay.process.run import settle
from relay.protocol.slots import shard_ranges
from relay.settings.tables import Settings
from workers.mishaps import Mishaps, fingerprint
from workers.shard.effects import Effects, Identity
from workers.shard.shard import Shard
from workers.store.room import CHECK_EVERY_BYTES, CHECK_EVERY_MS, lack_of_room
from workers.store.schema import Mark
from workers.store.store import LOCK_WAIT_S, Store

# One batch takes at most this much from the inbox, so that its commit stays short.
MAX_BATCH_MESSAGES = 512
# A group message is written once for each worker, so the bytes count up to as many times in the
# store's reserve (workers.store.room).
MAX_BATCH_BYTES = 1024 * 1024
# Decisions: some 20 ms, so that what has gathered during a stop does not hold up a front for long.
# Fewer spare others little and cost each message more (BENCHMARKS.md, fairness against speed).
MAX_BATCH_WORK = 1_000
# Confirmations free space and nothing waits for them, so they ride with the next batch, or go
# after this long. Without it each would cost an fsync of its own under light load.
LAZY_MS = 100
SWEEP_MS = 1000
SWEPT_BOXES = 200
COUNTERS_MS = 60_000


class _FrontLink:
    """Both directions of the link with one front."""

    def __init__(self, max_bytes: int) -> None:
        self.incoming = Incoming()
        self.outgoing: Outgoing[object] = Outgoing(max_bytes)


class _Peer:
    """The DEALER to another worker's ROUTER."""

    def __init__(self, address: WorkerAddress, socket: zmq.Socket[bytes]) -> None:
        self.address = address
        self.socket = socket
        self.number = 0


class _Received(NamedTuple):
    """What one ZeroMQ message brought."""

    origin: Identity
    peer: int | None  # the worker that sent it, None for a front
    items: Sequence[ToWorker]
    applied: Sequence[Applied] = ()

    @property
    def can_wait(self) -> bool:
        return all(isinstance(item, Confirmed) for item in self.items)


class Worker:
    """One worker process."""

    def __init__(self, place: Place) -> None:
        """Open the store and bind the ROUTER; raises BootError where that cannot be."""
        self._place = place
        self._settings = settings = place.settings
        self._log = log.get_logger()
        ranges = shard_ranges(settings.server.workers)
        layout = read_layout(place.data_dir)
        if layout.workers != settings.server.workers:
            raise BootError(
                f"data directory {place.data_dir} is laid out for {layout.workers} workers,"
                f" not for {settings.server.workers}"
            )
        self._directory = layout.store_directory(place.data_dir, place.index)
        self._store = Store(
            self._directory,
            durability=settings.store.durability,
            map_bytes=settings.store.map_bytes,
            max_map_bytes=settings.store.max_map_bytes,
            lock_wait_s=LOCK_WAIT_S,
            mark=Mark(layout.generation, layout.workers, place.index),
        )
        self._shard = Shard(place.index, ranges, settings)
        self._mishaps = Mishaps(place.run_dir, place.index)
        self._load_groups()
        self._identity = f"worker-{place.index}-{place.incarnation}"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._endpoint = f"ipc://{place.run_dir}/w{place.index}-{place.incarnation}.sock"
        self._router = bind_router(self._context, self._endpoint)
        self._poller = zmq.Poller()
        self._poller.register(self._router, zmq.POLLIN)
        self._control_fd = place.control.fileno()
        self._poller.register(self._control_fd, zmq.POLLIN)
        self._topology = Topology(epoch=-1)
        self._fronts: dict[Identity, _FrontLink] = {}
        self._peers: dict[int, _Peer] = {}
        self._lazy: list[_Received] = []
        self._stale: list[tuple[Identity, list[ToWorker]]] = []  # to be answered
        self._lazy_due_ms = 0
        self._heard: set[Identity] = set()  # fronts that are owed a batch, be it empty
        self._lost_fronts: set[Identity] = set()
        # Which fronts are dead, so that what still arrives from them is void: those that are no
        # longer listed, and those that are, but cannot be reached any more. A front of a higher
        # incarnation than any listed so far is new. One index may have two fronts that live.
        self._newest_front = -1
        self._unreachable_fronts: set[Identity] = set()
        self._roomy_fronts: set[Identity] = set()
        self._new_peers: set[int] = set()
        self._stopping = False
        self._batches = 0
        self._swept_to = b""
        self._unchecked_bytes = 0
        self._drained_work = 0
        now = _clock_ms()
        self._room_due_ms = now
        self._heartbeat_due_ms = now
        self._sweep_due_ms = now + SWEEP_MS
        self._counters_due_ms = now + COUNTERS_MS
        self._counters_logged: dict[str, int] = {}

    def run(self) -> None:
        """Serve until the supervisor says stop or is gone."""
        self._check_room()
        self._place.control.send(ChildReady(self._endpoint))
        settle()
        self._log.info("worker.started", sessions=0)
        try:
            while not self._stopping:
                ready = dict(self._poller.poll(self._wait_ms()))
                if self._control_fd in ready:
                    self._read_control()
                self._turn(self._drain(ready))
                self._tick()
            # What reached the inbox before the stop is still answered.
            self._turn(self._drain(dict(self._poller.poll(0))))
        except StoreWriteError as error:
            self._note_write_error(str(error))
            raise
        finally:
            self._log_counters()
            self._log.info("worker.stopped", batches=self._batches)
            self._close()

    def _note_write_error(self, error: str) -> None:
        try:
            self._mishaps.note_write_error(error, now_ms=_now_ms())
        except DiskError as unnoted:
            self._log.error("mishap.not_noted", reason=str(unnoted))

    def _close(self) -> None:
        for peer in self._peers.values():
            peer.socket.close()
        self._router.close()
        self._context.term()
        self._store.close()

    def _wait_ms(self) -> int:
        due = min(self._heartbeat_due_ms, self._sweep_due_ms)
        if self._shard.refusal:
            due = min(due, self._room_due_ms)
        if self._lazy:
            due = min(due, self._lazy_due_ms)
        if self._new_peers or self._lost_fronts:
            return 0
        return max(0, due - _clock_ms())

    # --------------------------------------------------------------------------------- inbox

    def _drain(self, ready: Mapping[object, int]) -> list[_Received]:
        """Take what the `ready` sockets have, up to the batch's bounds; the rest waits in them."""
        received: list[_Received] = []
        if self._router in ready:
            self._drain_router(received)
        for index, peer in self._peers.items():
            while peer.socket in ready:
                try:
                    payload = peer.socket.recv(zmq.DONTWAIT)
                except zmq.Again:
                    break
                batch = envelopes.decode_peer_batch(payload)
                received.append(_Received(b"", index, (), batch.items))
        return received

    def _drain_router(self, received: list[_Received]) -> None:
        size = 0
        self._drained_work = 0
        for _ in range(MAX_BATCH_MESSAGES):
            try:
                origin, payload = self._router.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            size += len(payload)
            self._open(origin, payload, received)
            if size >= MAX_BATCH_BYTES or self._drained_work >= MAX_BATCH_WORK:
                break
        self._unchecked_bytes += size

    def _open(self, origin: Identity, payload: bytes, received: list[_Received]) -> None:
        batch = envelopes.decode_worker_batch(payload)
        self._drained_work += batch.work
        if batch.incarnation != self._place.incarnation:
            # Meant for a worker that is no more (I8).
            self._shard.counters["stale_batches_refused"] += 1
            self._stale.append((origin, batch.items))
            return
        link = self._fronts.get(origin)
        if link is None:
            role, index, _ = _parse_identity(origin)
            if role == b"worker":
                received.append(_Received(origin, index, batch.items))
                return
            if self._is_dead(origin):
                self._shard.counters["batches_of_dead_fronts_dropped"] += 1
                return
            link = self._fronts[origin] = _FrontLink(self._settings.flow.link_bytes)
        if not link.incoming.accept(batch.number, len(payload)):
            self._shard.counters["repeated_batches_dropped"] += 1
            return
        was_full = link.outgoing.is_full
        link.outgoing.confirm(batch.received)
        if was_full and not link.outgoing.is_full:
            self._roomy_fronts.add(origin)
        if batch.items:
            self._heard.add(origin)
            received.append(_Received(origin, None, batch.items))

    # ---------------------------------------------------------------------------------- batch

    def _turn(self, received: list[_Received]) -> None:
        """Decide on what was received as one batch, commit it, then send what follows."""
        clock_ms = _clock_ms()
        urgent = not all(each.can_wait for each in received)
        if not urgent and not (
            self._lost_fronts or self._roomy_fronts or self._new_peers or self._stale
        ):
            if received and not self._lazy:
                self._lazy_due_ms = clock_ms + LAZY_MS
            self._lazy += received
            if not self._lazy or (clock_ms < self._lazy_due_ms and not self._stopping):
                return
            received = []
        received, self._lazy = self._lazy + received, []
        if self._shard.refusal:
            received = self._refuse_sends(received)
        with self._store.writing() as batch:
            self._shard.begin(batch, now_ms=_now_ms())
            self._decide(received)
            effects = self._shard.end()
        self._send(effects)
        self._batches += 1
        self._store.fold()
        if self._unchecked_bytes >= CHECK_EVERY_BYTES or (
            self._store.refusal and not self._shard.refusal
        ):
            self._check_room()

    def _decide(self, received: list[_Received]) -> None:
        shard = self._shard
        self._lost_fronts = {each for each in self._lost_fronts if not shard.front_lost(each)}
        for front in self._roomy_fronts:
            shard.front_has_room(front)
        self._roomy_fronts.clear()
        for peer in self._new_peers:
            shard.peer_connected(peer)
        self._new_peers.clear()
        for front, stale in self._stale:
            if front in self._fronts:  # a stranger knows no answer, and a peer sends it again
                for item in stale:
                    shard.refuse_stale(front, item)
        self._stale.clear()
        for origin, index, items, applied in received:
            for item in items:
                self._decide_on(origin, index, item)
            for each in applied:
                assert index is not None, "only workers confirm an outbox"
                shard.applied(index, each)

    def _decide_on(self, origin: Identity, peer: int | None, item: ToWorker) -> None:
        if self._mishaps.has_suspects and self._mishaps.is_poison(item):
            self._set_aside(origin, peer, item)
            return
        try:
            if type(item) is Durable:
                assert peer is not None, "only workers have an outbox"
                self._shard.apply(origin, peer, item)
            else:
                self._shard.handle(origin, item)
        except Exception:
            self._note_crash(item)
            raise

    def _refuse_sends(self, received: list[_Received]) -> list[_Received]:
        """Answer the sends while none can be stored; return the rest, which may need a write.

        That write may fail. So the sends go ahead, and nothing is confirmed with their answers.
        """
        sends: list[tuple[Identity, ToWorker]] = []
        rest: list[_Received] = []
        for each in received:
            kept: list[ToWorker] = []
            for item in each.items:
                if isinstance(item, SendToUser | SendToGroup):
                    sends.append((each.origin, item))
                else:
                    kept.append(item)
            rest.append(each._replace(items=kept))
        if sends:
            with self._store.reading() as batch:
                self._shard.begin(batch, now_ms=_now_ms())
                for origin, item in sends:
                    self._decide_on(origin, None, item)
                effects = self._shard.end()
            self._send(effects, confirms=False)
        return rest

    def _note_crash(self, stanza: ToWorker) -> None:
        """Leave word for the next incarnation of what this one dies of."""
        try:
            self._mishaps.note_crash(stanza)
        except DiskError as error:
            self._log.error("mishap.not_noted", reason=str(error))

    def _set_aside(self, origin: Identity, peer: int | None, stanza: ToWorker) -> None:
        """Keep what crashed the worker too often in a file for whoever mends the bug (I7)."""
        path = self._place.data_dir / "set-aside" / f"{fingerprint(stanza)}.msgpack"
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            replace_file(path, msgspec.msgpack.encode(stanza))
        except (DiskError, OSError) as error:
            self._log.error("stanza.not_kept", reason=str(error))
        self._log.error("stanza.set_aside", kind=type(stanza).__name__, file=str(path))
        self._shard.set_aside(origin, peer, stanza)

    def _send(self, effects: Effects, *, confirms: bool = True) -> None:
        if confirms and not self._lazy:  # what waits there is not stored yet
            for origin in self._heard:
                effects.to_fronts[origin]  # an empty batch confirms what was received
            self._heard.clear()
        for front, items in effects.to_fronts.items():
            link = self._fronts.get(front)
            if link is None:
                continue  # it died in this very turn
            received = link.incoming.report() if confirms else link.incoming.reported
            payload = envelopes.encode(FrontBatch(link.outgoing.next_number, received, items))
            if not self._route(front, payload):
                self._unreachable_fronts.add(front)
                self._lose(front)
                continue
            link.outgoing.sent(len(payload))
            if link.outgoing.is_full:
                self._shard.front_full(front)
        for index, entries in effects.to_peers.items():
            peer = self._peers.get(index)
            if peer is None:
                self._shard.counters["stray_acks_dropped"] += len(entries)
                continue
            peer.number += 1
            peer.socket.send(
                envelopes.encode(
                    WorkerBatch(
                        peer.address.incarnation, peer.number, 0, len(entries), list(entries)
                    )
                ),
                zmq.DONTWAIT,
            )
        for origin, applied in effects.applied.items():
            # A peer that died meanwhile sends its entries again.
            self._route(origin, envelopes.encode(PeerBatch([applied])))

    def _route(self, receiver: Identity, payload: bytes) -> bool:
        """Send through the ROUTER; False where the receiver has no connection any more."""
        try:
            self._router.send_multipart((receiver, payload), zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True

    def _lose(self, front: Identity) -> None:
        if self._fronts.pop(front, None) is not None:
            self._lost_fronts.add(front)

    def _is_dead(self, front: Identity) -> bool:
        if front in self._unreachable_fronts:
            return True
        _, _, incarnation = _parse_identity(front)
        return incarnation <= self._newest_front and front.decode() not in self._topology.fronts

    # -------------------------------------------------------------------------------- control

    def _read_control(self) -> None:
        for message in self._place.control.receive():
            match message:
                case TopologyChanged():
                    self._follow(message.topology)
                case SettingsChanged():
                    self._adopt(self._place.read_settings())
                case GroupsChanged():
                    self._load_groups()
                case Stop() | PeerGone():
                    self._stopping = True

    def _adopt(self, settings: Settings) -> None:
        """Go by other settings from the next batch on."""
        self._settings = settings
        self._shard.adopt(settings)
        self._store.adopt(max_map_bytes=settings.store.max_map_bytes)
        self._check_room()
        # At once, because the supervisor may already expect it sooner.
        self._heartbeat_due_ms = _clock_ms()

    def _load_groups(self) -> None:
        # The supervisor has checked it. Groups that it keeps may be larger than the limit is now.
        groups = load_groups(self._place.run_dir / "groups.json", max_members=sys.maxsize)
        self._shard.provision(groups)

    def _follow(self, topology: Topology) -> None:
        """Connect to new peers, let go of dead ones, and end the sessions of dead fronts."""
        for front in set(self._topology.fronts) - set(topology.fronts):
            self._unreachable_fronts.discard(front.encode())
            self._lose(front.encode())
        present = {address.index: address for address in topology.workers}
        for index, peer in list(self._peers.items()):
            if present.get(index) != peer.address:
                self._poller.unregister(peer.socket)
                peer.socket.close()
                del self._peers[index]
                self._new_peers.discard(index)
                self._shard.peer_lost(index)
        for index, address in present.items():
            if index != self._place.index and index not in self._peers:
                socket = connect_dealer(self._context, address.endpoint, identity=self._identity)
                self._poller.register(socket, zmq.POLLIN)
                self._peers[index] = _Peer(address, socket)
                self._new_peers.add(index)
        for front in topology.fronts:
            _, _, incarnation = _parse_identity(front.encode())
            self._newest_front = max(self._newest_front, incarnation)
        self._topology = topology

    # ----------------------------------------------------------------------------------- time

    def _tick(self) -> None:
        clock_ms = _clock_ms()
        if clock_ms >= self._heartbeat_due_ms:
            self._place.control.send(Heartbeat())
            self._heartbeat_due_ms = clock_ms + int(self._settings.supervisor.heartbeat_s * 1000)
        if clock_ms >= self._sweep_due_ms:
            self._sweep_due_ms = clock_ms + SWEEP_MS
            self._sweep()
        if clock_ms >= self._room_due_ms:
            self._check_room()
        if clock_ms >= self._counters_due_ms:
            self._counters_due_ms = clock_ms + COUNTERS_MS
            self._log_counters()

    def _check_room(self) -> None:
        """Refuse sends while there is no room for them, and take them again when there is."""
        self._unchecked_bytes = 0
        self._room_due_ms = _clock_ms() + CHECK_EVERY_MS
        lack = lack_of_room(
            self._store, self._directory, self._settings.store
        ) or self._mishaps.write_refusal(now_ms=_now_ms())
        if lack and not self._shard.refusal:
            self._log.error("store.refuses_sends", reason=lack)
        elif self._shard.refusal and not lack:
            self._log.info("store.takes_sends_again")
        self._shard.refusal = lack
        if lack:
            self._store.seek_room()

    def _sweep(self) -> None:
        with self._store.writing() as batch:
            self._shard.begin(batch, now_ms=_now_ms())
            self._swept_to = self._shard.sweep(self._swept_to, max_boxes=SWEPT_BOXES)
            effects = self._shard.end()
        self._send(effects)
        self._store.fold()

    def _log_counters(self) -> None:
        if self._shard.counters != self._counters_logged:
            self._counters_logged = dict(self._shard.counters)
            self._log.info("worker.counters", **self._counters_logged)


def _parse_identity(identity: Identity) -> tuple[bytes, int, int]:
    """Return (role, index, incarnation) of a peer on the bus."""
    role, index, incarnation = identity.split(b"-")
    return role, int(index), int(incarnation)


def _clock_ms() -> int:
    """A time that never jumps, for deadlines."""
    return time.monotonic_ns() // 1_000_000


def _now_ms() -> int:
    """The time since 1970, for what is stored and told."""
    return time.time_ns() // 1_000_000
