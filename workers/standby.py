"""A worker that has all of its range's log, and becomes the owner when it is told to.

It takes the records in their order: what it lacks it asks for, what is stored it is told (the
tail), and where that leaves a gap it asks again. A loop like the owner's, which waits for the wire
and the supervisor at once; nothing in it takes longer than a second.
"""

from __future__ import annotations

import os
import select
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Final

from relay import log
from relay.clock import clock_ms
from relay.cluster.access import login_of, servers_of
from relay.cluster.jetstream import Stored
from relay.cluster.natswire import WireLost
from relay.errors import BootError, DiskError, LogDamaged, LogLostData, StoreDamaged
from relay.extensions.registry import Registry
from relay.process.control import (
    GroupsChanged,
    Heartbeat,
    PeerGone,
    Promote,
    SettingsChanged,
    Standing,
    Stop,
    TopologyChanged,
)
from relay.process.duties import Duties
from relay.process.place import Place
from relay.process.run import settle
from workers.inherited import Inherited
from workers.log.claim import Beaten, CatchUp, Claim, ClaimStep, Won
from workers.log.owned import OwnedLog
from workers.log.parts import Joiner
from workers.log.reader import LogReader
from workers.log.record import Claimed
from workers.log.stream import Acked, Last, Refused, Stream, Tailed
from workers.log.writer import LOST_AFTER_S, Ask, Publish, Writer
from workers.opening import directory_of, mark_of, open_store
from workers.rangelog import Promotion
from workers.store.journalfile import checksum_of
from workers.store.renewal import is_lost, make_empty, set_aside
from workers.store.store import Store
from workers.transfer import NoCopy, Source

# How often it tells how far it is, at most: three processes wake up for it.
TELL_MS: Final = 1000
# A tail tells nothing of what was lost on its way, unless more comes: then it is asked.
_LOOK_S: Final = 2.0
# What is stored so soon behind a record is taken together with what follows: to wake up costs as
# much as a record. Who takes over or is handed the range has that much more to take first.
GATHER_S: Final = 0.05
_CONNECT_AGAIN_S: Final = 0.2
_AGAIN_S: Final = 0.02  # after a server that is behind
_FETCH_AGAIN_S: Final = 1.0
# Who tells it to own the range may not have heard of an owner that is so new: a beat takes a
# quarter of a second.
_NEW_OWNER_S: Final = 1.0

_now_s: Final = time.monotonic


class Standby:
    """The standby of one range.

    Over 15 fields: who reads a log, and who claims it, go by how far the same store is.
    """

    def __init__(self, place: Place, registry: Registry) -> None:
        """Open the store, or begin with an empty one where it is of no use any more.

        Raises:
            BootError: that cannot be.
        """
        self._place = place
        self._registry = registry
        cluster = place.settings.cluster
        self._host = cluster.host_name
        self._in_flight = cluster.in_flight  # records, once it is the owner
        self._stream = Stream(
            servers_of(cluster),
            login_of(cluster),
            cluster.name,
            place.index,
            host=self._host,
            name=f"worker-{self._host}-{place.index}-{place.incarnation}",
            begins_behind=cluster.begins(place.index),
        )
        self._begins_behind = cluster.begins(place.index)  # where a backup has what was before
        self._store = _open(place, registry)
        self._read_anew()
        self._is_behind = True  # as far as it knows
        self._looks_s = _now_s() + _LOOK_S  # when it asks whether it is
        self._room_s = 0.0  # when it may ask a disk again that was full
        self._rests_s = 0.0  # until when it lets records of the tail gather
        self._short_since_s: float | None = None  # the log ends before the store
        self._wants = False  # it is to own the range as soon as it may ask for it
        self._claim: Claim | None = None
        self._claim_to = 0  # how far it must be first
        self._owner_s = -_NEW_OWNER_S  # when it heard of the present owner
        self._tells_s: float | None = None  # when it says again that it stands by
        self._process = f"{place.incarnation}-{os.urandom(8).hex()}"
        self._owned: OwnedLog | None = None  # once the claim is won
        self._inherited = Inherited(place.control)
        self._is_stopping = False
        self._told = -1
        self._told_ms = 0
        self._counters: Counter[str] = Counter()
        self._duties = Duties(
            "worker",
            place.control,
            self._counters,
            heartbeat_s=place.settings.supervisor.heartbeat_s,
            heartbeat=lambda: Heartbeat(synced=self._store.synced_number),
        )

    def run(self) -> Promotion | None:
        """Stand by until told to stop, or until the range is this process's.

        Raises:
            LogLostData: the log has less than what is here, or something else.
            LogDamaged, StoreWriteError, BootError: a record is none, or the disk refuses it.
        """
        log.get_logger().info("standby.started", number=self._store.last_number)
        self._tell()
        settle()  # not only when it is to own the range, and clients wait
        try:
            while self._owned is None and not self._is_stopping:
                self._read_control()
                try:
                    self._turn()
                except WireLost:
                    self._stream.lose()
                self._fold()
                self._tick()
        except BaseException:
            self._close()
            raise
        if self._owned is None:
            log.get_logger().info("standby.stopped", number=self._store.last_number)
            self._close()
            return None
        log.get_logger().info("range.owned", epoch=self._owned.epoch)
        return Promotion(self._owned, self._store, self._inherited.take())

    def _fold(self) -> None:
        """Bring the pages up to date; ask a disk again that has refused it."""
        self._store.fold()
        if self._store.refusal and _now_s() >= self._room_s:
            self._room_s = _now_s() + _LOOK_S
            self._store.seek_room()

    def _read_anew(self) -> None:
        """Read on behind what the store has."""
        self._reader = LogReader(self._store.last_number, begins_behind=self._begins_behind)
        self._joiner = Joiner()
        self._learnt = self._reader.first - 1  # up to which record it knows again what it knew

    def _close(self) -> None:
        self._stream.lose()
        try:
            self._store.close()
        except (DiskError, OSError) as error:
            # The log has what is not here: the next start takes this stop for a kill.
            log.get_logger().warning("store.not_sealed", reason=str(error))

    # ----------------------------------------------------------------------------------- the log

    def _turn(self) -> None:
        """Take what the log has, or wait a little for it."""
        stream = self._stream
        if not stream.is_connected:
            if not stream.connect():
                self._wait(_CONNECT_AGAIN_S)
                return
            stream.follow()  # before it is read, so that nothing comes between
            self._is_behind = True
            if self._claim is not None:
                self._carry_out(self._claim.begin(_now_s()))
        if self._is_behind:
            self._catch_up()
        else:
            self._rest()
            self._wait(self._patience_s())
        self._hear()
        if self._claim is not None:
            self._carry_out(self._claim.woken(_now_s()))
        elif self._owned is None:
            self._claim_if_due()

    def _rest(self) -> None:
        """Let more of the tail come, unless the supervisor has something to say."""
        left_s = self._rests_s - _now_s()
        if left_s > 0 and self._claim is None and not self._wants:
            self._wait(left_s, for_wire=False)

    def _wait(self, most_s: float, *, for_wire: bool = True) -> None:
        """Wait for the supervisor and for the wire, if there is one."""
        poll = select.poll()
        poll.register(self._place.control.fileno(), select.POLLIN)
        if for_wire and self._stream.is_connected:
            if self._stream.has_input:
                return
            poll.register(self._stream.fileno(), select.POLLIN)
        poll.poll(max(0, int(1000 * most_s)))

    def _patience_s(self) -> float:
        """Return for how long there is nothing to do but to listen."""
        now, now_s = clock_ms(), _now_s()
        due_ms = self._duties.due_ms
        if self._told != self._store.last_number:
            due_ms = min(due_ms, self._told_ms + TELL_MS)
        waits = [(due_ms - now) / 1000, self._looks_s - now_s, 0.5]
        if self._claim is not None and self._claim.wakes_s is not None:
            waits.append(self._claim.wakes_s - now_s)
        return max(0.0, min(waits))

    def _hear(self) -> None:
        """Take what the wire has brought."""
        if not self._stream.is_connected:
            return
        for each in self._stream.receive(0.0):
            if self._owned is not None:
                return  # what comes behind its epoch is no standby's business
            match each:
                case Tailed(number, data):
                    self._looks_s = _now_s() + _LOOK_S
                    if number == self._reader.number + 1 and self._has_learnt:
                        self._take(number, data)
                        self._rests_s = _now_s() + GATHER_S
                    elif number > self._reader.number:
                        self._is_behind = True
                case Acked(number):
                    if self._claim is not None:
                        self._carry_out(self._claim.acked(number, _now_s()))
                case Last(None):
                    if self._claim is not None:
                        self._claim.unanswered(_now_s())
                case Last(Stored(sequence)):
                    if self._claim is not None:
                        self._carry_out(self._claim.found(sequence, _now_s()))
                case Refused(number):
                    if self._claim is not None:
                        self._carry_out(self._claim.refused(number, _now_s()))
        if not self._is_behind and _now_s() >= self._looks_s:
            self._is_behind = True

    @property
    def _has_learnt(self) -> bool:
        return self._learnt == self._reader.number

    def _catch_up(self) -> None:
        """Ask for what follows, once; it is behind no more when there is nothing."""
        if self._reader.number < self._begins_behind:
            self._fetch(self._begins_behind + 1)
            return
        records = self._stream.read(self._learnt + 1)
        if records is None:
            self._wait(_CONNECT_AGAIN_S)
            return
        if not records and not self._has_learnt:
            self._look_for_loss()
        for record in records:
            if record.sequence != self._learnt + 1:
                self._fetch(record.sequence)
                return
            self._learn(record)
            if self._owned is not None:
                return
        # A server that is behind says the same as one that has all; then the tail leaves a gap.
        self._is_behind = (
            len(records) > 1 or not self._has_learnt or self._reader.number < self._claim_to
        )
        self._looks_s = _now_s() + _LOOK_S
        if self._is_behind and not records:
            self._wait(_AGAIN_S)

    def _learn(self, record: Stored) -> None:
        """Take a record that was asked for, the next one.

        Raises:
            LogLostData: the last one that is here is another.
        """
        number = record.sequence
        if self._has_learnt:
            self._take(number, record.payload)
            return
        payload = self._joiner.take(self._reader.learn(number, record.payload))
        self._learnt = number
        known = self._store.last.checksum
        # It is empty here if it is a part of a larger one, or void.
        ours = [checksum_of(number, each) for each in (payload, b"")]
        if self._has_learnt and known and known not in ours:
            raise LogLostData(number, number)

    def _take(self, number: int, data: bytes) -> None:
        epoch = self._reader.epoch
        payload = self._joiner.take(self._reader.take(number, data))
        try:
            self._store.apply(number, payload)
        except StoreDamaged as error:
            raise LogDamaged(f"{error}: it is for another version, or not ours") from None
        self._learnt = number
        if self._reader.epoch != epoch:
            self._owner_s = _now_s()
        if self._claim is not None:
            self._carry_out(self._claim.followed(_now_s()))

    def _look_for_loss(self) -> None:
        """The log has nothing at the end of what is here: it has lost that, or is not asked well.

        Raises:
            LogLostData: it has been so for long.
        """
        last = self._stream.last()
        if last is None or last.sequence >= self._reader.number:
            self._short_since_s = None
            return
        if self._short_since_s is None:
            self._short_since_s = _now_s()
        elif _now_s() - self._short_since_s >= LOST_AFTER_S:
            raise LogLostData(self._reader.number, last.sequence)

    def _fetch(self, begins: int) -> None:
        """Have a copy of another host's store, since the log begins behind what is here."""
        number = self._store.last_number
        waits = number < self._begins_behind  # for who hands out a backup, or has read it
        event = "store.waits_for_backup" if waits else "store.too_old"
        log.get_logger().warning(event, number=number, log_begins=begins)
        self._store.close()
        self._claim, self._claim_to = None, 0
        self._stream.unfollow()  # what comes meanwhile is in the log, and would only be kept
        source = Source(
            self._stream.ask,
            cluster=self._place.settings.cluster.name,
            range_=self._place.index,
            host=self._host,
            on_wait=self._live_on,
        )
        try:
            source.fetch(directory_of(self._place))
        except NoCopy as error:
            log.get_logger().warning("store.not_fetched", reason=str(error))
            self._wait(_FETCH_AGAIN_S)
        except OSError as error:
            raise BootError(f"a store cannot be written: {error.strerror}") from error
        finally:
            self._stream.lose()
            self._store = _open(self._place, self._registry)
            self._read_anew()

    def _live_on(self) -> None:
        self._duties.tick(clock_ms())
        self._read_control()
        if self._is_stopping:
            raise NoCopy("this process has to stop")

    # --------------------------------------------------------------------------------- the claim

    def _claim_if_due(self) -> None:
        """Ask for the range, if that is wanted, and this process has what the log has."""
        if not self._has_learnt or self._is_behind:
            return
        if not self._wants and self._reader.handed_to != self._host:
            return
        if self._wants and _now_s() < self._owner_s + _NEW_OWNER_S:
            self._wants, self._tells_s = False, self._owner_s + _NEW_OWNER_S
            log.get_logger().info("range.not_claimed", epoch=self._reader.epoch)
            return
        self._wants = False
        place = self._place
        claimed = Claimed(
            self._host,
            place.incarnation >> 24,  # the supervisor's start (relay.supervision)
            self._process,
            "",  # where it listens it tells its supervisor
        )
        log.get_logger().info("range.claimed", number=self._store.last_number)
        self._claim = Claim(self._reader, claimed, in_flight=self._in_flight)
        self._carry_out(self._claim.begin(_now_s()))

    def _carry_out(self, steps: Iterable[ClaimStep]) -> None:
        todo = deque(steps)
        while todo and self._claim is not None:
            step = todo.popleft()
            match step:
                case Publish():
                    self._stream.publish(step)
                case Ask():
                    self._stream.ask_last()
                case CatchUp(to):
                    self._claim_to, self._is_behind = to, True
                case Beaten(epoch):
                    self._claim, self._claim_to = None, 0
                    self._owner_s = _now_s()
                    self._tells_s = self._owner_s + _NEW_OWNER_S
                    log.get_logger().info("range.not_won", epoch=epoch)
                case Won(epoch, data):
                    self._claim = None
                    self._stream.unfollow()
                    writer = Writer(epoch, data, in_flight=self._in_flight)
                    self._owned = OwnedLog(self._stream, writer)

    # ------------------------------------------------------------------------------- the supervisor

    def _read_control(self) -> None:
        for message in self._place.control.receive():
            match message:
                case Promote():
                    self._wants = self._claim is None
                case Stop() | PeerGone():
                    self._is_stopping = True
                case SettingsChanged(settings):
                    self._place.taken(settings)
                    self._duties.adopt(heartbeat_s=settings.supervisor.heartbeat_s)
                    self._inherited.put(message)
                case TopologyChanged() | GroupsChanged():
                    self._inherited.put(message)
                case _:
                    pass  # the business of others

    def _tick(self) -> None:
        now = clock_ms()
        self._duties.tick(now)
        is_further = self._store.last_number != self._told
        if self._tells_s is not None:  # until then it is not told again to own the range
            if _now_s() >= self._tells_s:
                self._tell()
        elif is_further and now >= self._told_ms + TELL_MS:
            self._tell()

    def _tell(self) -> None:
        self._tells_s = None
        self._told, self._told_ms = self._store.last_number, clock_ms()
        self._place.control.send(Standing(self._told))


def _open(place: Place, registry: Registry) -> Store:
    directory = directory_of(place)
    if not directory.exists():
        return _replace(place, registry, "it is missing")
    try:
        return open_store(place, registry, "log")
    except BootError as error:
        if not is_lost(error):
            raise
        return _replace(place, registry, str(error))


def _replace(place: Place, registry: Registry, reason: str) -> Store:
    """Return an empty store in place of one that is set aside."""
    directory = directory_of(place)
    try:
        aside = str(set_aside(directory)) if directory.exists() else ""
        make_empty(directory, mark_of(place), map_bytes=place.settings.store.map_bytes)
    except OSError as error:
        raise BootError(f"{directory} cannot be made anew: {error.strerror}") from None
    log.get_logger().warning("store.begun_anew", reason=reason, aside=aside)
    return open_store(place, registry, "log")
