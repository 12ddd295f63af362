"""The front's links to the workers: batches out once a loop turn at most, batches in as they come.

A link outlives the incarnations of its worker. What must not be lost is kept until the worker
confirms it, is gathered while the worker is away, and goes to its successor after the sessions have
been announced to it (I9). A worker of another host is away, too, while it is not reached; when it
is again everything goes as to a successor.
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
    VOID,
    Acked,
    AckedByMany,
    Confirmed,
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
from relay.bus.gathering import MOST_RIDERS, MOST_TOGETHER, Gathering, Totals
from relay.bus.identity import connected_as
from relay.bus.lifeline import Lifeline, Stage, reach
from relay.bus.link import Incoming, Outgoing
from relay.bus.remote import REACH_AGAIN_S, Remote
from relay.bus.sockets import connect_dealer, has_input, make_context
from relay.bus.topology import Topology, WorkerAddress
from relay.errors import NoDescriptor
from relay.process.demand import Demand
from relay.process.traffic import Stopwatch, Traffic
from relay.protocol.slots import SLOT_COUNT, Slot

# How long the envelopes of one link may take before other work gets its turn. By time and not by
# number, because an envelope is work for 5 us or for 5 ms: an answer may set 16 held frames free.
_MAX_READ_S = 0.001
# Until the next try to connect to a worker, where there was no descriptor.
CONNECT_AGAIN_S = 0.1
# The same where a worker has taken nothing of what it was told, at most: each try announces all
# sessions, and what has to change is what hosts know of each other.
_TAKEN_BY_S = 8.0
# The envelope of a group may be for thousands of sessions: so many are served between two looks at
# the clock. One for more is that of a large group (`DeliverToSome`).
_PIECE = 64
# What one batch may ask for, so that no worker is busy with it for long: some 10 ms of decisions,
# or 1 MiB of messages.
_MAX_WORK = 500
_MAX_FRAME_BYTES = 1024 * 1024
# Timers count whole milliseconds: what is due sooner leaves at the end of the turn.
_TIMER_S = 0.0005
# For what was sent last when the front ends. A worker that is there takes it in a moment.
_LINGER_MS = 200


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
    """An incarnation of a worker: where it listens, and the socket to there.

    That to another host has a `lifeline`.
    """

    address: WorkerAddress
    socket: zmq.Socket[bytes]
    lifeline: Lifeline | None = None


class WorkerLink:
    """The link with the worker of one shard, whichever incarnation serves it.

    Over 15 fields, because both directions of a link are one state.
    """

    def __init__(self, links: Links, index: int, max_bytes: int) -> None:
        self._links = links
        self.index = index
        self.target: WorkerAddress | None = None  # that it is, or is to be, connected to
        self._worker: _Worker | None = None  # while it is there
        self._reaching: _Worker | None = None  # while it is not reached yet, on another host
        self._again: asyncio.TimerHandle | None = None  # until the next try to reach it
        self._again_s = REACH_AGAIN_S
        # Of the worker that it was connected to last, how many connections have ended.
        self._life = 0
        self._ended = 0
        self._incoming = Incoming()
        self._unread: Iterator[FromWorker] = iter(())  # of the batch that came last
        self._reads_soon = False
        self._outgoing: Outgoing[ToWorker] = Outgoing(max_bytes)
        self._items: list[ToWorker] = []
        self._kept: list[ToWorker | None] = []  # the same, but None for what is not durable
        # Of the items, what several say of one group message, while others may join them.
        self._joint: dict[tuple[str, int, str, str], AckedByMany] = {}
        self._last_ack: Acked | None = None  # of the items, the last of 1-1 messages
        self._work = 0
        self._riders = 0  # of the items
        self._joined = 0  # what is told with one of them
        self._frame_bytes = 0
        self.is_dirty = False
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
        """Send with the next batch; if `durable` also to the next incarnation, if need be."""
        self._items.append(envelope)
        self._kept.append(envelope if durable else None)
        links = self._links
        rides = False
        if type(envelope) is SendToUser:
            links.direct_messages += 1
            self._frame_bytes += len(envelope.frame)
            self._work += 1
        elif type(envelope) is SendToGroup:
            links.group_messages += 1
            self._frame_bytes += len(envelope.frame)
            self._work += 1
        elif type(envelope) is Acked:
            self._work += len(envelope.message_ids)
            self._riders += 1
            rides = self._work < MOST_RIDERS
            if envelope.chat_is_group:
                if len(envelope.message_ids) == 1:
                    self._join(envelope)
            elif (last := self._last_ack) is not None and last.acker == envelope.acker:
                self._join_own(envelope, last)
            else:
                self._last_ack = envelope
        elif type(envelope) is AckedByMany:  # it comes again
            self._work += len(envelope.ackers)
        else:
            self._work += 1
            if type(envelope) is Confirmed:
                self._riders += 1
                rides = True
        if self._work >= _MAX_WORK or self._frame_bytes >= _MAX_FRAME_BYTES:
            self.flush()
        elif not (links.leaves and self.is_dirty):
            links.plan(self, rides=rides)

    def _join(self, acked: Acked) -> None:
        """Have the last item, an ack in a group, told with those of others of the same message.

        So it goes ahead of what its client has said since the first of them. Nothing of that needs
        to be before an ack: levels only rise, and an ack is its user's, not its session's.
        """
        message_id = acked.message_ids[0]
        said = message_id, acked.level, acked.author, acked.chat
        joint = self._joint.get(said)
        if joint is not None and len(joint.ackers) < MOST_TOGETHER:
            del self._items[-1], self._kept[-1]
            self._riders -= 1
            self._joined += 1
        else:
            joint = self._joint[said] = AckedByMany(*said, [], [])
            self._items[-1] = self._kept[-1] = joint
        joint.ackers.append(acked.acker)
        joint.times_s.append(acked.time_s)

    def _join_own(self, acked: Acked, last: Acked) -> None:
        """Have the last item, an ack of a user, told with the one that he sent before.

        If they are alike; he may have said something in between, as above.
        """
        is_like = (
            (acked.level, acked.time_s, acked.author, acked.author_is_group, acked.chat)
            == (last.level, last.time_s, last.author, last.author_is_group, last.chat)
        )  # fmt: skip
        if is_like and len(last.message_ids) < MOST_TOGETHER and len(acked.message_ids) == 1:
            del self._items[-1], self._kept[-1]
            self._riders -= 1
            self._joined += 1
            last.message_ids.append(acked.message_ids[0])
        else:
            self._last_ack = acked

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

    def is_older(self, address: WorkerAddress) -> bool:
        """Whether the range has had a newer owner (C6)."""
        return bool(address.host) and address.life < self._life

    def connect(self, address: WorkerAddress) -> None:
        """Begin with a new incarnation: announce the sessions, then repeat what is unconfirmed.

        With one on another host, as soon as it is reached.

        Raises:
            NoDescriptor: nothing has begun.
        """
        self.disconnect()
        links, remote = self._links, self._links.remote
        ended = self._ended + 1 if address.life == self._life else 0
        identity = connected_as(links.identity, ended)
        endpoint = address.endpoint_from(links.host)
        if remote is None or address.host == links.host:
            worker = _Worker(address, connect_dealer(links.context, endpoint, identity=identity))
        else:
            worker = _Worker(
                address, *reach(links.context, endpoint, identity=identity, remote=remote)
            )
        self.target, self._life, self._ended = address, address.life, ended
        if worker.lifeline is None:
            self._begin(worker)
        else:
            self._reaching = worker
            links.loop.add_reader(worker.lifeline.socket.fileno(), self._look)
            self._look()

    def _look(self) -> None:
        """See how the connection to another host fares."""
        worker = self._reaching or self._worker
        if worker is None or worker.lifeline is None:
            return
        stage = worker.lifeline.look()
        if stage is Stage.OVER:
            self._end()
        elif stage is Stage.UP and self._reaching is not None:
            self._reaching = None
            self._begin(worker)

    def _begin(self, worker: _Worker) -> None:
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
        self._joint.clear()
        self._last_ack = None
        self._work = self._riders = self._joined = self._frame_bytes = 0
        self._outgoing.restart()
        self._stopwatch.restart()
        self.is_full = False
        self._incoming.restart()
        self._worker = worker
        self._links.loop.add_reader(worker.socket.fileno(), self._readable)
        self._links.announce(self)
        self.flush()
        for envelope in repeated:
            self.request(envelope, durable=True)
        # What they wait for has other numbers now, of which the last covers all.
        last = self._last_batch
        self._to_be_told = deque((last, done) for _, done in self._to_be_told)
        if not self.is_full:
            self._links.has_room(self)

    def _end(self) -> None:
        """Begin anew with the same worker in a while: the connection is over, or void."""
        target, was_up = self.target, self._worker is not None
        assert target is not None, "a link that ends has begun"
        if was_up:
            log.get_logger().info("link.over", worker=self.index, host=target.host)
        if not was_up or self._incoming.received:
            self._again_s = REACH_AGAIN_S
        else:
            self._again_s = min(2 * self._again_s, _TAKEN_BY_S)
        self.disconnect()
        self.target = target
        self._again = self._links.loop.call_later(self._again_s, self._try_again)

    def _try_again(self) -> None:
        target, self._again = self.target, None
        assert target is not None, "it was let go of"
        try:
            self.connect(target)
        except NoDescriptor:
            self.target = target
            self._again = self._links.loop.call_later(REACH_AGAIN_S, self._try_again)

    def disconnect(self, *, linger_ms: int = 0) -> None:
        """Let go of the worker; requests are gathered for its successor.

        What was sent to it last and has not left is lost, unless that does so in `linger_ms`.
        """
        # What they answer was confirmed with them, and is not asked again.
        self._links.receive(self._unread, math.inf)
        for worker in (self._worker, self._reaching):
            if worker is not None:
                self._links.loop.remove_reader(worker.socket.fileno())
                if worker.lifeline is not None:
                    self._links.loop.remove_reader(worker.lifeline.socket.fileno())
                    worker.lifeline.close()
                worker.socket.close(linger_ms)
        self._worker = self._reaching = self.target = None
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def flush(self) -> None:
        """Send what was gathered as one batch."""
        self.is_dirty = False
        items, kept = self._items, tuple(self._kept)
        self._items, self._kept = [], []
        self._joint.clear()
        self._last_ack = None
        work, self._work = self._work, 0
        self._links.work += work
        self._links.asked += len(items) - self._riders
        self._links.rode += self._riders + self._joined
        self._riders = self._joined = 0
        frame_bytes, self._frame_bytes = self._frame_bytes, 0
        worker = self._worker
        if worker is None:
            # The rest is told anew when the sessions are announced.
            items = [item for item in kept if item is not None]
            if not items:
                return
            kept = tuple(items)
        life = self._life if worker else 0
        payload = envelopes.encode(
            WorkerBatch(life, self._outgoing.next_number, self._incoming.report(), work, items)
        )
        self._links.traffic.bytes_sent += len(payload)
        if frame_bytes and worker is not None and not self._stopwatch.number:
            self._stopwatch.left(self._outgoing.next_number)
        # An empty batch only confirms, and is not confirmed itself.
        self._outgoing.sent(len(payload) if items else 0, kept)
        self.is_full = self._outgoing.is_full
        if worker is not None:
            try:
                worker.socket.send(payload, zmq.DONTWAIT)
            except zmq.Again:
                if worker.lifeline is None:
                    raise
                return  # the connection is over, of which it is about to hear
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
            if batch.number == VOID:
                self._end()
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
            self._links.plan(self, rides=False)

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
        gathering: Gathering | None = None,
        remote: Remote | None = None,
    ) -> None:
        """Connect to nothing yet.

        `receive` takes envelopes of any worker until none is left, and returns True, or until
        `time.perf_counter()` is past its second argument. Without `gathering` what a loop turn has
        leaves at its end.
        """
        self.identity = identity
        self.loop = loop
        self.context = make_context(remote)
        self.receive = receive
        self.has_room = has_room
        self.direct_messages = 0  # 1-1 messages that clients have sent
        self.group_messages = 0  # the same to groups
        self.traffic = Traffic()  # whose round trips are those of batches with messages
        self.announce = announce
        self.remote = remote
        self.host = remote.host if remote is not None else ""
        self.max_link_bytes = max_link_bytes
        self.confirm_every = max_link_bytes // 8  # bytes; then a link owes a confirmation
        self._by_index: dict[int, WorkerLink] = {}
        self._by_slot: list[WorkerLink | None] = [None] * SLOT_COUNT
        # All links are flushed together: so what one of them waits for is company for the others.
        self._gathering = gathering or Gathering()
        self._demand = Demand()
        self._dirty: list[WorkerLink] = []
        self._departure: asyncio.TimerHandle | None = None  # of what waits, or of what rides
        self.leaves = False  # whether it is settled when what was gathered leaves: it does not ride
        self._waits = False  # whether it is later than at the end of a turn
        # Of all batches that have left: decisions, envelopes that do not ride, and that may.
        self.work = self.asked = self.rode = 0
        self._topology = Topology(0)  # the latest
        self._whole_s = loop.time()  # when every slot had an owner that was connected to
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
            address = present.get(index)
            if address is not None and link.is_older(address):
                address = None
                del present[index]
            if link.target is not None and link.target != address:
                link.disconnect()
        for index, address in present.items():
            if index not in self._by_index:
                link = self._by_index[index] = WorkerLink(self, index, self.max_link_bytes)
                for slot in range(address.first_slot, address.last_slot + 1):
                    self._by_slot[slot] = link
        for index, address in present.items():
            link = self._by_index[index]
            if link.target is None:
                link.connect(address)

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

    def lacking_s(self) -> float:
        """Return for how long some slot has had no connected owner, to whoever asks often."""
        now_s = self.loop.time()
        if self.is_whole:
            self._whole_s = now_s
        return now_s - self._whole_s

    def link_of(self, slot: Slot) -> WorkerLink:
        """Return the link with the owner of `slot`; known once a complete topology was seen."""
        link = self._by_slot[slot]
        assert link is not None, f"slot {slot} never had an owner"
        return link

    def plan(self, link: WorkerLink, *, rides: bool) -> None:
        """Flush `link` when what the front has gathered leaves: at the end of this turn, or later.

        What came last either `rides`, or somebody waits for it.
        """
        if not link.is_dirty:
            link.is_dirty = True
            self._dirty.append(link)
        if self.leaves:
            return
        now_s = time.perf_counter()
        gathering = self._gathering
        if gathering.is_to_measure(now_s):
            links = max(1, len(self._by_index))
            done = Totals(self._demand.runnable_s(), self.work, self.asked, links)
            gathering.measure(now_s, done)
        if rides:
            if self._departure is not None:
                return
            ride_s = gathering.ride_s(now_s)
            if ride_s:
                self._departure = self.loop.call_later(ride_s, self._end_ride)
                return
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
            gathering.rode(now_s, found=True)
        self.leaves = True
        wait_s = gathering.due_s(now_s) - now_s
        self._waits = wait_s >= _TIMER_S
        if self._waits:
            self._departure = self.loop.call_later(wait_s, self._leave)
        else:
            self.loop.call_soon(self._leave)

    def _end_ride(self) -> None:
        self._gathering.rode(time.perf_counter(), found=False)
        self._leave()

    def _leave(self) -> None:
        """Send what was gathered."""
        asked, rode = self.asked, self.rode
        self._flush()
        together = self.asked - asked or self.rode - rode
        self._gathering.left(time.perf_counter(), waited=self._waits, together=together)
        self._waits = False

    def _flush(self) -> None:
        self.leaves, self._departure = False, None
        dirty, self._dirty = self._dirty, []
        for link in dirty:
            if link.is_dirty:  # else it was full, and has left
                link.flush()

    def adopt(self, *, gather_s: float, ride_s: float) -> None:
        """Gather for that long at most from here on."""
        self._gathering.adopt(gather_s, ride_s)

    def close(self) -> None:
        """Send what is gathered and close every link."""
        for timer in (self._again, self._departure):
            if timer is not None:
                timer.cancel()
        self._flush()
        for link in self._by_index.values():
            link.disconnect(linger_ms=_LINGER_MS)
        self._demand.close()
        self.context.term()
