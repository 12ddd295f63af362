"""The front's links to the workers: batches out once a loop turn, batches in as they come.

A link outlives the incarnations of its worker. What must not be lost is kept until the worker
confirms it, is gathered while the worker is away, and goes to its successor after the sessions have
been announced to it (I9).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple, final

import zmq

from relay import log
from relay.bus import envelopes
from relay.bus.envelopes import (
    Acked,
    DeliverToMany,
    FrontBatch,
    Refused,
    RequestNumber,
    SendToGroup,
    SendToUser,
    Seq,
    ToFront,
    ToWorker,
    WorkerBatch,
)
from relay.bus.link import Incoming, Outgoing
from relay.bus.sockets import connect_dealer, has_input
from relay.bus.topology import Topology, WorkerAddress
from relay.errors import NoDescriptor
from relay.process.traffic import Stopwatch, Traffic
from relay.protocol.slots import SLOT_COUNT, Slot

# How long the envelopes of one link may take before other work gets its turn. By time and not by
# number, because an envelope is work for 5 us or for 5 ms: an answer may set 16 held frames free.
_MAX_READ_S = 0.001
# Until the next try to connect to a worker, where there was no descriptor.
CONNECT_AGAIN_S = 0.1
# The envelope of a group may be for thousands of sessions: so many are served between two looks at
# the clock. One for more is that of a large group (`DeliverToSome`).
_PIECE = 64
# What one batch may ask for, so that no worker is busy with it for long: some 10 ms of decisions,
# or 1 MiB of messages.
_MAX_WORK = 500
_MAX_FRAME_BYTES = 1024 * 1024


@final
class DeliverToSome(NamedTuple):
    """Some of the sessions of a large group's `DeliverToMany`; the rest come next."""

    sessions: list[int]
    seq: Seq
    frame: bytes


@final
class WorkDone(NamedTuple):
    """Work of a session, of so many units, is confirmed (`WorkerLink.tell_when_done`)."""

    session: int
    units: int


FromWorker = ToFront | DeliverToSome | WorkDone


class _Worker(NamedTuple):
    """An incarnation of a worker: where it listens, and the socket to there."""

    address: WorkerAddress
    socket: zmq.Socket[bytes]


class WorkerLink:
    """The link with the worker of one shard, whichever incarnation serves it.

    Over 15 fields, because both directions of a link are one state.
    """

    def __init__(self, links: Links, index: int, max_bytes: int) -> None:
        self._links = links
        self.index = index
        self._worker: _Worker | None = None  # while it is there
        self._incoming = Incoming()
        self._unread: Iterator[FromWorker] = iter(())  # of the batch that came last
        self._reads_soon = False
        self._outgoing: Outgoing[ToWorker] = Outgoing(max_bytes)
        self._items: list[ToWorker] = []
        self._kept: list[ToWorker | None] = []  # the same, but None for what is not durable
        self._work = 0
        self._frame_bytes = 0
        self._is_dirty = False
        # Who is to hear when a batch is confirmed, and of which: in the order of the batches.
        self._to_be_told: deque[tuple[int, WorkDone]] = deque()
        # Sends that were refused ahead of the confirmation of their batch: not to be repeated.
        self._refused: set[RequestNumber] = set()
        # Whether the worker is behind, so that what feeds it should not be read (I6).
        self.is_full = False
        self._stopwatch = Stopwatch(links.traffic)

    @property
    def address(self) -> WorkerAddress | None:
        """Where the worker listens, None while it is away."""
        return self._worker.address if self._worker else None

    def request(self, envelope: ToWorker, *, durable: bool) -> None:
        """Send with this turn's batch; if `durable` also to the next incarnation, if need be."""
        self._items.append(envelope)
        self._kept.append(envelope if durable else None)
        if type(envelope) is SendToUser:
            self._links.direct_messages += 1
            self._frame_bytes += len(envelope.frame)
            self._work += 1
        elif type(envelope) is SendToGroup:
            self._links.group_messages += 1
            self._frame_bytes += len(envelope.frame)
            self._work += 1
        elif type(envelope) is Acked:
            self._work += len(envelope.message_ids)
        else:
            self._work += 1
        if self._work >= _MAX_WORK or self._frame_bytes >= _MAX_FRAME_BYTES:
            self.flush()
        elif not self._is_dirty:
            self._mark()

    def tell_when_done(self, session: int, units: int) -> None:
        """Tell the session once everything that was requested up to here is confirmed."""
        self._to_be_told.append((self._last_batch, WorkDone(session, units)))

    @property
    def unconfirmed_bytes(self) -> int:
        """What the worker has not confirmed."""
        return self._outgoing.unconfirmed_bytes

    @property
    def _last_batch(self) -> int:
        """The number of the batch that has, or will have, what was requested last."""
        return self._outgoing.next_number - (not self._items)

    def connect(self, address: WorkerAddress, announce: Callable[[WorkerLink], None]) -> None:
        """Begin with a new incarnation: announce the sessions, then repeat what is unconfirmed.

        Raises:
            NoDescriptor: nothing has begun.
        """
        self.disconnect()
        socket = connect_dealer(
            self._links.context, address.endpoint, identity=self._links.identity
        )
        repeated = [
            envelope
            for envelope in (*self._outgoing.unconfirmed(), *self._kept)
            if envelope is not None
            and not (
                isinstance(envelope, SendToUser | SendToGroup) and envelope.request in self._refused
            )
        ]
        self._refused.clear()
        self._items, self._kept = [], []
        self._outgoing.restart()
        self._stopwatch.restart()
        self.is_full = False
        self._incoming.restart()
        self._worker = _Worker(address, socket)
        self._links.loop.add_reader(socket.fileno(), self._readable)
        announce(self)
        self.flush()
        for envelope in repeated:
            self.request(envelope, durable=True)
        # What they wait for has other numbers now, of which the last covers all.
        last = self._last_batch
        self._to_be_told = deque((last, done) for _, done in self._to_be_told)
        if not self.is_full:
            self._links.has_room(self)

    def disconnect(self) -> None:
        """Let go of the worker; requests are gathered for its successor."""
        # What they answer was confirmed with them, and is not asked again.
        self._links.receive(self._unread, math.inf)
        if self._worker is not None:
            self._links.loop.remove_reader(self._worker.socket.fileno())
            self._worker.socket.close()
            self._worker = None

    def flush(self) -> None:
        """Send what was gathered as one batch."""
        self._is_dirty = False
        items, kept = self._items, tuple(self._kept)
        self._items, self._kept = [], []
        work, self._work = self._work, 0
        frame_bytes, self._frame_bytes = self._frame_bytes, 0
        worker = self._worker
        if worker is None:
            # The rest is told anew when the sessions are announced.
            items = [item for item in kept if item is not None]
            if not items:
                return
            kept = tuple(items)
        incarnation = worker.address.incarnation if worker else 0
        payload = envelopes.encode(
            WorkerBatch(
                incarnation, self._outgoing.next_number, self._incoming.report(), work, items
            )
        )
        self._links.traffic.bytes_sent += len(payload)
        if frame_bytes and worker is not None and not self._stopwatch.number:
            self._stopwatch.left(self._outgoing.next_number)
        # An empty batch only confirms, and is not confirmed itself.
        self._outgoing.sent(len(payload) if items else 0, kept)
        self.is_full = self._outgoing.is_full
        if worker is not None:
            worker.socket.send(payload, zmq.DONTWAIT)
            # FD is edge-triggered, and sending may have consumed the edge of what came meanwhile.
            if has_input(worker.socket):
                self._read_soon()

    def _note_refusals(self, batch: FrontBatch) -> None:
        """Remember what is answered for good, though its batch is not confirmed yet (R29)."""
        if self._outgoing.unconfirmed_bytes:
            self._refused.update(i.request for i in batch.items if isinstance(i, Refused))

    def _forget_refusals(self, confirmed: list[tuple[ToWorker | None, ...]]) -> None:
        for envelope in chain.from_iterable(confirmed):
            if isinstance(envelope, SendToUser | SendToGroup):
                self._refused.discard(envelope.request)

    def _mark(self) -> None:
        if not self._is_dirty:
            self._is_dirty = True
            self._links.flush_soon(self)

    def _readable(self) -> None:
        if not self._reads_soon:  # once a turn
            self._read()

    def _read_soon(self) -> None:
        if not self._reads_soon:
            self._reads_soon = True
            self._links.loop.call_soon(self._read)

    def _read(self) -> None:
        """Take what has come, as much as one turn may; the rest in the next turn."""
        self._reads_soon = False
        ends_s = time.perf_counter() + _MAX_READ_S
        while self._links.receive(self._unread, ends_s):
            if self._worker is None or not has_input(self._worker.socket):
                return
            self._take(self._worker.socket.recv(zmq.DONTWAIT))
            if time.perf_counter() >= ends_s:  # batches may be empty
                break
        self._read_soon()

    def _take(self, payload: bytes) -> None:
        """Take what a batch confirms; its envelopes are to be read next."""
        batch = envelopes.decode_front_batch(payload)
        self._links.traffic.bytes_received += len(payload)
        if 0 < self._stopwatch.number <= batch.received:
            self._stopwatch.confirmed()
        if not self._incoming.accept(batch.number, len(payload)):
            return
        was_full = self.is_full
        confirmed = self._outgoing.confirm(batch.received, batch.begun)
        self.is_full = self._outgoing.is_full
        if not confirmed:
            self._note_refusals(batch)
        elif self._refused:
            self._forget_refusals(confirmed)
        self._unread = _in_pieces(batch.items)
        if self._to_be_told:
            self._unread = chain(self._done(batch.received), self._unread)
        if was_full and not self.is_full:
            self._links.has_room(self)
        if self._incoming.owes(self._links.confirm_every):
            self._mark()

    def _done(self, received: int) -> list[WorkDone]:
        """Return whom a confirmation up to a batch is for, once."""
        done = []
        while self._to_be_told and self._to_be_told[0][0] <= received:
            done.append(self._to_be_told.popleft()[1])
        return done


def _in_pieces(items: list[ToFront]) -> Iterator[FromWorker]:
    """Yield the envelopes in order, each with few sessions."""
    for item in items:
        if type(item) is DeliverToMany and len(item.sessions) > _PIECE:
            for start in range(0, len(item.sessions), _PIECE):
                yield DeliverToSome(item.sessions[start : start + _PIECE], item.seq, item.frame)
        else:
            yield item


class Links:
    """All links of one front.

    Over 15 fields, since it is all that they share.
    """

    def __init__(
        self,
        identity: str,
        *,
        loop: asyncio.AbstractEventLoop,
        max_link_bytes: int,
        receive: Callable[[Iterator[FromWorker], float], bool],
        announce: Callable[[WorkerLink], None],
        has_room: Callable[[WorkerLink], None],
    ) -> None:
        """Connect to nothing yet.

        `receive` takes envelopes of any worker until none is left, and returns True, or until
        `time.perf_counter()` is past its second argument.
        """
        self.identity = identity
        self.loop = loop
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.receive = receive
        self.has_room = has_room
        self.direct_messages = 0  # 1-1 messages that clients have sent
        self.group_messages = 0  # the same to groups
        self.traffic = Traffic()  # whose round trips are those of batches with messages
        self._announce = announce
        self.max_link_bytes = max_link_bytes
        self.confirm_every = max_link_bytes // 8  # bytes; then a link owes a confirmation
        self._by_index: dict[int, WorkerLink] = {}
        self._by_slot: list[WorkerLink | None] = [None] * SLOT_COUNT
        self._dirty: list[WorkerLink] = []
        self._topology = Topology(0)  # the latest
        self._again: asyncio.TimerHandle | None = None  # while there is no descriptor for one

    def follow(self, topology: Topology) -> None:
        """Connect to the workers that are new and let go of those that are gone.

        Where there is no descriptor for that, try again in a while: their sessions wait, as they
        do for a worker that is away.
        """
        self._topology = topology
        try:
            self._connect()
        except NoDescriptor as error:
            if self._again is None:
                log.get_logger().error("link.no_descriptor", reason=str(error))
                self._again = self.loop.call_later(CONNECT_AGAIN_S, self._connect_again)

    def _connect_again(self) -> None:
        self._again = None
        try:
            self._connect()
        except NoDescriptor:
            self._again = self.loop.call_later(CONNECT_AGAIN_S, self._connect_again)

    def _connect(self) -> None:
        present = {address.index: address for address in self._topology.workers}
        for index, link in self._by_index.items():
            if link.address is not None and present.get(index) != link.address:
                link.disconnect()
        for index, address in present.items():
            if index not in self._by_index:
                link = self._by_index[index] = WorkerLink(self, index, self.max_link_bytes)
                for slot in range(address.first_slot, address.last_slot + 1):
                    self._by_slot[slot] = link
        for index, address in present.items():
            link = self._by_index[index]
            if link.address is None:
                link.connect(address, self._announce)

    @property
    def unconfirmed_bytes(self) -> int:
        """What no worker has confirmed, of all links."""
        return sum(link.unconfirmed_bytes for link in self._by_index.values())

    @property
    def is_whole(self) -> bool:
        """Whether every slot has an owner that is connected to."""
        return self._topology.is_complete and all(
            link.address is not None for link in self._by_index.values()
        )

    def link_of(self, slot: Slot) -> WorkerLink:
        """Return the link with the owner of `slot`; known once a complete topology was seen."""
        link = self._by_slot[slot]
        assert link is not None, f"slot {slot} never had an owner"
        return link

    def flush_soon(self, link: WorkerLink) -> None:
        """Flush `link` at the end of this loop turn."""
        if not self._dirty:
            self.loop.call_soon(self._flush)
        self._dirty.append(link)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for link in dirty:
            link.flush()

    def close(self) -> None:
        """Send what is gathered and close every link."""
        if self._again is not None:
            self._again.cancel()
        self._flush()
        for link in self._by_index.values():
            link.disconnect()
        self.context.term()
