"""The worker's loop: wait, drain, decide, commit once, send.

Synchronous on purpose: between two batches nothing runs, so the state that a batch sees is what the
one before left. While a batch is being committed the next one gathers in the ROUTER's queue, and a
busy worker lets it gather a little longer (rhythm). So batches grow with the load, and under light
load each message is committed at once.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence

from relay import log
from relay.bus.envelopes import AckedByMany, Ask, Durable, SendToGroup, SendToUser, ToWorker
from relay.clock import clock_ms, now_ms
from relay.errors import DiskError, NotConfirmed, StoreWriteError
from relay.extensions.registry import Registry
from relay.inquiries.contract import handlers_of
from relay.inquiries.reception import Reception
from relay.process.control import (
    AccordWanted,
    ChildReady,
    GroupsChanged,
    HandOver,
    Heartbeat,
    HostState,
    Isolated,
    KeysChanged,
    Outcome,
    PeerGone,
    Promote,
    SettingsChanged,
    Stop,
    TopologyChanged,
)
from relay.process.duties import Duties
from relay.process.place import Place, read_groups
from relay.process.run import settle
from relay.protocol.slots import ShardMap
from relay.settings.tables import Settings
from workers.calendar import Calendar
from workers.gate import Gate
from workers.inbox import Haste, Inbox, Received
from workers.insight import Insight
from workers.links import Links, Ready
from workers.measures import Measures
from workers.mishaps import Mishaps, keep
from workers.opening import directory_of, open_store
from workers.operator import Operator
from workers.orders import Orders
from workers.patience import Patience
from workers.rangelog import Promotion, RangeLog
from workers.rhythm import Rhythm
from workers.schedule import Schedule
from workers.shard.dates import latest_day_us
from workers.shard.effects import Effects, Identity
from workers.shard.shard import NO_EXTENSIONS, Shard
from workers.tracing import Tracing
from workers.unconfirmed import Unconfirmed

SWEPT_BOXES = 200
# Of each second, for what an operator has ordered: the traffic waits for as long.
ORDERS_MS = 50
# How long a batch is decided, whatever is in it: so long others wait for its end. By time and not
# by number, because an envelope is work for 3 us or for 5 ms. Enough for what a link's fair traffic
# brings at a time, so that only floods are cut.
MAX_DECIDING_S = 0.02
# Of what a record may have in a range's log: with so much no more is decided, and as much may a
# piece add to it. The rest is for what is not counted, such as the entries of mailboxes.
LOG_SHARE = 1 / 4


class Worker:
    """One worker process.

    Over 15 fields and over 25 methods, since these are the parts that a worker is made of, and what
    it does with each.
    """

    def __init__(
        self,
        place: Place,
        registry: Registry = NO_EXTENSIONS,
        *,
        promotion: Promotion | None = None,
    ) -> None:
        """Open the store and bind the ROUTER.

        In a cluster the worker owns the range of its `promotion`, and what comes with it.

        Raises:
            BootError: that cannot be, or an extension cannot be used as it says.
        """
        self._place = place
        settings = place.settings
        directory = directory_of(place)
        self._counters: Counter[str] = Counter()
        self._shard = Shard(
            place.index,
            ShardMap(settings.server.workers),
            settings,
            registry=registry,
            counters=self._counters,
        )
        self._log: RangeLog | None = None
        if promotion is None:
            self._store = open_store(place, registry, settings.store.durability)
        else:
            self._log, self._store = promotion.log, promotion.store
            self._store.follow(promotion.log)
        with self._store.reading() as batch:
            known_us = latest_day_us(batch.day_us(), batch.last_seq())
        self._calendar = Calendar(now_ms=now_ms(), clock_ms=clock_ms(), known_ms=known_us // 1000)
        self._mishaps = Mishaps(place.run_dir, place.index)
        self._orders = Orders(place.data_dir, place.index)
        self._gate = Gate(self._store, directory, settings.store, self._mishaps)
        if place.groups is not None:
            self._shard.provision(read_groups(place.groups))
        self._links = Links(place, self._counters, epoch=self._log.epoch if self._log else 0)
        self._links.watch(place.control.fileno())
        self._measures = Measures()
        self._tracing = Tracing(self._shard.readers)
        self._operator = Operator()
        insight = Insight(
            *(place, self._shard, self._store, self._gate, self._links),
            *(self._counters, self._measures, self._tracing, self._operator),
        )
        self._reception = Reception(
            self._links.context,
            handlers_of("workers.inquiries", insight),
            run_dir=place.run_dir,
            incarnation=place.incarnation,
        )
        self._reception.listen()
        self._links.watch(self._reception.descriptor)
        self._is_asked = False  # an inquiry waits
        self._duties = Duties(
            "worker",
            place.control,
            self._counters,
            heartbeat_s=settings.supervisor.heartbeat_s,
            heartbeat=lambda: Heartbeat(synced=self._store.synced_number),
        )
        self._patience = Patience(place.control, self._duties)
        if promotion is not None:
            self._patience.put(promotion.heard)
            promotion.log.on_wait = self._patience.live_on
        self._schedule = Schedule(clock_ms())
        # What nobody may hear before a majority has its record.
        self._unconfirmed: Unconfirmed | None = None
        if self._log is not None:
            self._unconfirmed = Unconfirmed(self._log, self._store, self._links, self._hear)
            self._links.watch(self._unconfirmed.descriptor)
        self._rhythm = Rhythm(
            settings.flow, None if self._unconfirmed is None else self._unconfirmed.rest
        )
        self._inbox = Inbox()
        _bound(self._shard, self._inbox, self._log, settings)
        self._stopping = False
        self._heir = ""  # the host that the range goes to when it has stopped
        self._batches = 0
        self._swept_to = b""

    def run(self) -> None:
        """Serve until the supervisor says stop or is gone."""
        self._check_room()
        epoch = self._log.epoch if self._log else 0
        self._place.control.send(ChildReady(self._links.endpoint, self._links.tcp, epoch))
        settle()
        log.get_logger().info("worker.started", sessions=0)
        in_order = False
        control = self._place.control.fileno()
        try:
            while not self._stopping:
                if self._has_more:
                    ready = self._links.wait(0)
                else:
                    self._rhythm.pause()
                    ready = self._links.wait(self._wait_ms())
                if control in ready or self._patience.came:
                    self._read_control()
                if self._unconfirmed is not None and self._unconfirmed.descriptor in ready:
                    self._unconfirmed.look()
                self._turn(self._drain(ready))
                self._tick()
                if self._is_asked or self._reception.descriptor in ready:
                    self._finish()  # what is answered tells of all that is decided
                    self._reception.answer_one()  # the next one behind the next batch
                    if self._operator.has_sent:
                        sent = self._operator.take()
                        self._gate.count(sent.size)
                        self._turn([sent])
                    # The descriptor is edge-triggered, and sending may have consumed an edge.
                    self._is_asked = self._reception.has_input
            # What reached the inbox before the stop is still answered.
            self._turn(self._drain(self._links.wait(0)))
            while self._inbox.is_behind:
                self._turn([])
            self._finish()
            self._hand_over()
            in_order = True
        except NotConfirmed as error:
            log.get_logger().warning("worker.stopped_unconfirmed", reason=str(error))
        except StoreWriteError as error:
            self._note_write_error(str(error))
            raise
        finally:
            self._duties.log_counters()
            log.get_logger().info("worker.stopped", batches=self._batches)
            self._reception.close()
            self._links.close()
            self._rhythm.close()
            if self._log is not None:
                self._log.close()
            try:
                self._store.close(seals=in_order)
            except (DiskError, OSError) as error:
                # Without it the next start takes this stop for a kill.
                log.get_logger().warning("store.not_sealed", reason=str(error))

    def _hand_over(self) -> None:
        """Say in the log, as the last word, who is to own the range, if that is somebody else."""
        if self._log is None or not self._heir:
            return
        number = self._store.last_number + 1
        self._log.hand_over(number, self._heir)
        self._store.apply(number, b"")
        log.get_logger().info("range.handed_over", to=self._heir, number=number)

    @property
    def _has_more(self) -> bool:
        """Whether a batch must follow at once, even if nothing comes."""
        has_more = self._inbox.is_behind or self._links.has_news or self._shard.is_behind
        return has_more or self._is_asked or bool(self._patience.came)

    def _wait_ms(self) -> int:
        due_ms = self._duties.due_ms
        if self._unconfirmed is not None:
            due_ms = min(due_ms, self._unconfirmed.due_ms)
        return self._schedule.wait_ms(
            clock_ms(),
            duties_due_ms=due_ms,
            refuses_sends=bool(self._gate.refusal),
        )

    def _drain(self, ready: Ready) -> list[Received]:
        received, size = self._links.drain(ready, waiting_bytes=self._inbox.size)
        self._gate.count(size)
        return received

    # ---------------------------------------------------------------------------------- batch

    def _turn(self, received: list[Received]) -> None:
        """Decide on what was received as one batch, commit it, then send what follows.

        What that takes too long for is left for the next turn.
        """
        if self._tracing.users and received:
            self._tracing.took(received)
        is_due = self._is_due(received)
        if self._gate.refusal:
            received = self._refuse_sends(received)
        if not is_due:
            self._inbox.add(received)
            return
        clock_s, measures = time.perf_counter, self._measures
        begun_s = clock_s()
        self._rhythm.begun(begun_s, len(self._links.fronts.links))
        with self._store.writing() as batch:
            self._shard.begin(batch, now_ms=now_ms(), refusal=self._gate.refusal)
            self._decide(received)
            effects = self._shard.end()
            decided_s = clock_s()
        committed_s = clock_s()
        self._send(effects)
        if self._unconfirmed is not None:
            self._unconfirmed.make_way()
            committed_s = clock_s()  # or at least the log takes the next one
        self._batches += 1
        if received and measures.is_due(begun_s):
            measures.add(
                begun_s,
                self._links.drained_work,
                deciding_s=decided_s - begun_s,
                commit_s=committed_s - decided_s,
                sync_s=self._store.last_sync_s,
            )
        if self._store.fold():
            measures.fold_s.add(clock_s() - committed_s)
        if self._gate.must_check:
            self._check_room()

    def _is_due(self, received: list[Received]) -> bool:
        """Tell whether to decide now, or whether what waits and what was received can wait on."""
        haste = self._rhythm.haste(received, self._links.drained_work if received else 0)
        if self._has_more or haste is Haste.NOW:
            self._schedule.end_wait()
            return True
        now = clock_ms()
        if haste is Haste.RIDES:
            self._schedule.begin_to_wait(now, self._rhythm.begin_ride())
        elif received:
            self._schedule.begin_to_wait(now)
        if (received or self._inbox) and (self._stopping or self._schedule.has_waited(now)):
            self._schedule.end_wait()
            return True
        return False

    def _decide(self, received: list[Received]) -> None:
        """Decide on what was received, and on what waits, until the time for a batch is over."""
        if self._links.has_news:
            self._decide_on_news()
        ends_s = time.perf_counter() + MAX_DECIDING_S
        inbox = self._inbox
        if inbox:
            inbox.add(received)
            while inbox:
                self._decide_on_piece(inbox.take(), math.inf)
                if time.perf_counter() >= ends_s or self._shard.is_large:
                    break
        else:
            # As it came: nobody waits yet, and pieces cost each message half a microsecond.
            for index, each in enumerate(received, start=1):
                left = self._decide_on_piece(each, ends_s)
                if left is not None or time.perf_counter() >= ends_s or self._shard.is_large:
                    inbox.add([left] if left is not None else [])
                    inbox.add(received[index:])
                    break
        inbox.is_behind = bool(inbox)
        if inbox.is_behind:
            self._counters["batches_cut"] += 1

    def _decide_on_piece(self, piece: Received, ends_s: float) -> Received | None:
        """Decide on it until `time.perf_counter()` is past `ends_s`; return what is left."""
        origin, peer, items = piece.origin, piece.peer, piece.items
        count, total, step = 0, len(items), self._inbox.piece
        while count < total:
            some = items[count : count + step]
            if peer is None and not self._mishaps.has_suspects:
                self._decide_on_all(origin, some)
            else:
                for item in some:
                    self._decide_on(origin, peer, item)
            count += step
            if count < total and (time.perf_counter() >= ends_s or self._shard.is_large):
                if peer is None:
                    self._links.fronts.decided(origin, piece.number, count, False)
                return piece.behind(count)
        if peer is None:
            self._links.fronts.decided(origin, piece.number, total, piece.ends)
        for applied in piece.applied:
            assert peer is not None, "only workers confirm an outbox"
            self._shard.applied(peer, applied)
        return None

    def _decide_on_news(self) -> None:
        """Tell the shard what no envelope says."""
        shard, links = self._shard, self._links
        fronts = links.fronts
        for front in fronts.lost:
            dropped = self._inbox.forget(front)
            if dropped:
                self._counters["batches_of_dead_fronts_dropped"] += dropped
        fronts.lost = {each for each in fronts.lost if not shard.front_lost(each)}
        for front in fronts.roomy:
            shard.front_has_room(front)
        fronts.roomy.clear()
        for peer in links.lost_peers:
            shard.peer_lost(peer)
        links.lost_peers.clear()
        for peer in links.new_peers:
            shard.peer_connected(peer)
        links.new_peers.clear()
        for front, stale in links.stale:
            if front in fronts.links:  # a stranger knows no answer, and a peer sends it again
                for item in stale:
                    shard.refuse_stale(front, item)
        links.stale.clear()

    def _decide_on_all(self, front: Identity, items: Sequence[ToWorker]) -> None:
        """Decide on what a front sent, as `_decide_on` does of each; it is the way of messages."""
        handle = self._shard.handle
        for item in items:
            try:
                handle(front, item)
            except Exception:
                self._note_crash(item)
                raise

    def _decide_on(self, origin: Identity, peer: int | None, item: ToWorker) -> None:
        if type(item) is AckedByMany:  # of which one may be at fault
            for each in item.singly():
                self._decide_on(origin, peer, each)
            return
        if self._mishaps.has_suspects and self._mishaps.is_poison(item):
            self._set_aside(origin, peer, item)
            return
        if type(item) is Durable and not self._shard.knows(item.content):
            # Of an extension that is loaded no more: kept for whoever loads it again.
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

    def _refuse_sends(self, received: list[Received]) -> list[Received]:
        """Answer what asks for room while there is none; return the rest, which may need a write.

        That write may fail. So the sends go ahead, and are not confirmed with their answers.
        """
        sends: list[tuple[Identity, ToWorker]] = []
        rest: list[Received] = []
        for each in received:
            kept: list[ToWorker] = []
            for item in each.items:
                if isinstance(item, SendToUser | SendToGroup) or (
                    isinstance(item, Ask) and not item.only_reads
                ):
                    sends.append((each.origin, item))
                else:
                    kept.append(item)
            rest.append(each._replace(items=kept))
        if sends:
            with self._store.reading() as batch:
                self._shard.begin(batch, now_ms=now_ms(), refusal=self._gate.refusal)
                for origin, item in sends:
                    self._decide_on(origin, None, item)
                effects = self._shard.end(stores=False)
            self._send(effects)
        return rest

    def _sweep(self) -> None:
        day_ms = self._look_at_calendar()
        with self._store.writing() as batch:
            self._shard.begin(batch, now_ms=now_ms(), refusal=self._gate.refusal)
            self._swept_to = self._shard.sweep(
                self._swept_to,
                max_boxes=SWEPT_BOXES,
                day_ms=day_ms,
                moved_ms=self._calendar.moved_ms,
            )
            effects = self._shard.end()
        self._send(effects)
        self._fold()
        self._carry_out_orders(day_ms)

    def _carry_out_orders(self, day_ms: int) -> None:
        """Do what an operator has ordered, for a little while."""
        until_ms = clock_ms() + ORDERS_MS
        while (purging := self._orders.current()) is not None:
            with self._store.writing() as batch:
                self._shard.begin(batch, now_ms=now_ms(), refusal=self._gate.refusal)
                self._shard.purge(purging, day_ms=day_ms)
                effects = self._shard.end()
            self._send(effects)
            self._fold()
            if purging.is_done or clock_ms() >= until_ms:
                self._finish()
                self._orders.note(purging)
            if clock_ms() >= until_ms:
                return

    def _look_at_calendar(self) -> int:
        """Return the day by which things expire; say when the clock is doubted, or no more."""
        calendar = self._calendar
        doubted_ms = calendar.doubt_ms
        day_ms = calendar.look(now_ms=now_ms(), clock_ms=clock_ms())
        if calendar.moved_ms:
            log.get_logger().warning("clock.believed", moved_s=calendar.moved_ms // 1000)
        elif bool(doubted_ms) != bool(calendar.doubt_ms):
            event = "clock.doubted" if calendar.doubt_ms else "clock.fits"
            log.get_logger().warning(event, ahead_s=(calendar.doubt_ms or doubted_ms) // 1000)
        return day_ms

    def _send(self, effects: Effects) -> None:
        """Send what a batch has to say, which is committed, or of which nothing is to be stored.

        In a cluster it leaves when all that is committed is confirmed.
        """
        if self._unconfirmed is not None:
            full = self._unconfirmed.put(effects)
        else:
            if self._tracing.users or self._operator.waits:
                self._hear(effects)
            full = self._links.send(effects)
        for front in full:
            self._shard.front_full(front)

    def _hear(self, effects: Effects) -> None:
        """Take notice of what is said, for those who hear it in this process."""
        if self._tracing.users:
            self._tracing.said(effects)
        if self._operator.waits:
            self._operator.hear(effects)
            self._is_asked = self._reception.has_input  # to answer, too, may consume an edge

    def _finish(self) -> None:
        """Wait until all that was decided is confirmed, and said."""
        if self._unconfirmed is not None:
            self._unconfirmed.finish()

    def _fold(self) -> None:
        if self._unconfirmed is not None:
            self._unconfirmed.make_way()
        self._store.fold()

    # --------------------------------------------------------------------------------- mishaps

    def _note_crash(self, stanza: ToWorker) -> None:
        """Leave word for the next incarnation of what this one dies of."""
        try:
            self._mishaps.note_crash(stanza)
        except DiskError as error:
            log.get_logger().error("mishap.not_noted", reason=str(error))

    def _note_write_error(self, error: str) -> None:
        try:
            self._mishaps.note_write_error(error, now_ms=now_ms())
        except DiskError as unnoted:
            log.get_logger().error("mishap.not_noted", reason=str(unnoted))

    def _set_aside(self, origin: Identity, peer: int | None, stanza: ToWorker) -> None:
        """Keep what crashed the worker too often in a file for whoever mends the bug (I7)."""
        path = ""
        try:
            path = str(keep(self._place.data_dir / "set-aside", stanza))
        except DiskError as error:
            log.get_logger().error("stanza.not_kept", reason=str(error))
        log.get_logger().error("stanza.set_aside", kind=type(stanza).__name__, file=path)
        self._shard.set_aside(origin, peer, stanza)

    # -------------------------------------------------------------------------------- control

    def _read_control(self) -> None:
        for message in self._patience.take():
            match message:
                case TopologyChanged():
                    for peer in self._links.follow(message.topology):
                        self._shard.peer_lost(peer)
                case SettingsChanged(settings):
                    self._adopt(self._place.taken(settings))
                case KeysChanged():
                    pass  # the fronts' business
                case GroupsChanged():
                    self._shard.provision(read_groups(self._place.control.take_descriptor()))
                case Stop() | PeerGone():
                    self._stopping = True
                case HandOver(to):
                    self._heir, self._stopping = to, True
                case Promote() | Isolated() | HostState() | Outcome() | AccordWanted():
                    pass  # the business of others

    def _adopt(self, settings: Settings) -> None:
        """Go by other settings from the next batch on."""
        self._shard.adopt(settings)
        _bound(self._shard, self._inbox, self._log, settings)
        self._store.adopt(max_map_bytes=settings.store.max_map_bytes)
        self._gate.adopt(settings.store)
        self._check_room()
        self._duties.adopt(heartbeat_s=settings.supervisor.heartbeat_s)
        self._rhythm.adopt(settings.flow)

    # ----------------------------------------------------------------------------------- time

    def _tick(self) -> None:
        now = clock_ms()
        self._duties.tick(now)
        if self._unconfirmed is not None and now >= self._unconfirmed.due_ms:
            self._unconfirmed.tick(now)
        if self._schedule.sweep_is_due(now):
            self._links.keep_endpoint()
            self._links.reach_again()
            self._reception.keep()
            self._is_asked = self._reception.has_input  # binding, too, may consume an edge
            self._tracing.tick()
            self._sweep()
        if self._schedule.room_is_due(now):
            self._check_room()

    def _check_room(self) -> None:
        if self._gate.refusal:
            self._finish()  # to make room is to fold
        self._schedule.looked_for_room(clock_ms())
        self._gate.check(now_ms=now_ms())


def _bound(shard: Shard, inbox: Inbox, log_: RangeLog | None, settings: Settings) -> None:
    """Have no batch become a record that is too large for the range's log, if there is one."""
    if log_ is not None:
        shard.most_bulk_bytes = int(log_.most_bytes * LOG_SHARE)
        one = settings.limits.message_bytes * settings.cluster.ranges  # to a group, at worst
        inbox.most_items = max(1, shard.most_bulk_bytes // one)
