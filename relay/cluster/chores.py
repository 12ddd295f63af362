"""What of an agent's work may take seconds: making the logs, and moving who leads them.

It is done in a thread of its own with a connection of its own, so that no beat waits for an answer
of the engine.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec

from relay import log
from relay.cluster.beats import EngineFacts
from relay.cluster.jetstream import (
    ApiError,
    NoMajority,
    NoStream,
    StreamConfig,
    StreamDiffers,
    StreamInfo,
    create_stream,
    kv_config,
    kv_get,
    kv_put,
    log_config,
    purge,
    step_down,
    stream_info,
    update_stream,
)
from relay.cluster.line import Line
from relay.cluster.natswire import Wire, WireLost
from relay.cluster.placement import Plan
from relay.cluster.proposals import Proposals
from relay.cluster.requests import (
    Answer,
    Done,
    DrainAsked,
    MoveAsked,
    Placing,
    Refused,
    encode,
    settled,
)
from relay.cluster.shared import PATHS, SharedDamaged, bring_up_to_date, read_kept
from relay.disk.accord import Origin, decode_accord
from relay.disk.files import free_bytes
from relay.errors import DiskError, SettingsError
from relay.process.control import AccordSettled
from relay.settings.clustering import ClusterSettings
from relay.settings.sizes import MIB

# Between two looks at who leads what; an election takes seconds.
LOOK_S: Final = 2.0
ANSWER_S: Final = 2.0
# For what is asked again at once: the engines begin, and may not answer what came too early.
FOUND_S: Final = 0.5
# What is refused as often as that in a row is refused for good.
REFUSED_ROUNDS: Final = 10
# Making a stream is a decision of a majority, and its first election another one.
MADE_S: Final = 5.0
# Whoever is asked leads within a second, or the facts are known to be others by then.
MOVE_AGAIN_S: Final = 5.0
# A log has as many copies as decide by majority when one is lost, on as many servers.
MOST_REPLICAS: Final = 3
# For what all hosts know alike: groups and who is thrown out.
BUCKET_BYTES: Final = 64 * MIB
# The key of what operators have settled of who is to own what.
PLACING: Final = "placing"
# A disk that was full is not any more when it has so many times what is kept free.
_ROOM_AGAIN: Final = 2
# Of what an engine may keep, the share that logs set aside: it needs some beside them.
LOGS_SHARE: Final = 0.9


class Found(msgspec.Struct, frozen=True):
    """What is known of the logs."""

    has_logs: bool = False  # each range has one
    engine: EngineFacts = EngineFacts()
    placing: Placing = Placing()
    fill: Mapping[int, float] = {}  # how full each log is
    groups: int = 0  # which revision of them is on this host's disk
    accord: Origin = Origin()  # the one that is on this host's disk


class Chores:
    """The thread, and what it is to do; `descriptor` is readable when something was found.

    Over 15 fields and over 25 methods: what each kind of work waits for, does and finds is apart.
    """

    def __init__(self, cluster: ClusterSettings, data: Path, *, min_free_bytes: int) -> None:
        """`data` is where the files are that all hosts have alike, and where the engine is."""
        self.min_free_bytes = min_free_bytes  # with less free the disk of `data` counts as full
        self.without_room: Collection[str] = ()  # hosts whose disk is full, as far as is heard
        self._cluster = cluster
        self._data = data
        self._bucket_seen = 0  # up to which record of it the files are as it says
        self._line = Line(cluster, name=f"{cluster.host_name} chores")
        self._makes_logs = self._knows_logs = False
        self._moves: deque[tuple[int, str]] = deque(maxlen=1)  # who is to lead which log
        self._moved_s: dict[int, float] = {}  # when that was asked for last
        self._found = Found()
        self._trims: deque[Mapping[int, int]] = deque(maxlen=1)
        self._requests: deque[tuple[DrainAsked | MoveAsked, str]] = deque()
        self._proposals = Proposals(cluster.name, data)
        self._wake = threading.Event()
        self._ends = False
        self._trouble = ""  # what the engine refuses
        self._rounds = 0  # for so many it has
        self._failure: BaseException | None = None
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def make_logs(self, is_ours: bool) -> None:
        """Make what is missing of the logs, or leave that to another host."""
        self._makes_logs = is_ours

    def know_logs(self) -> None:
        """Ask no engine whether there are logs: a range that has a worker has one."""
        self._knows_logs = True

    def move_leader(self, range_: int, to: str) -> None:
        """Have the engine of `to` lead the log of a range; it may be asked for again and again."""
        now_s = time.monotonic()
        if now_s - self._moved_s.get(range_, -MOVE_AGAIN_S) >= MOVE_AGAIN_S:
            self._moved_s[range_] = now_s
            self._moves.append((range_, to))
            self._wake.set()

    def trim(self, up_to: Mapping[int, int]) -> None:
        """Remove the records of logs, by range, up to and with those numbers."""
        self._trims.append(up_to)

    def settle(self, request: DrainAsked | MoveAsked, reply: str) -> None:
        """Have what an operator asks for hold for all hosts, and answer it at `reply`."""
        self._requests.append((request, reply))
        self._wake.set()

    def share(self, number: int, before: Origin, content: bytes) -> None:
        """Have an accord be that of all hosts, if `before` is so far; `settled` tells the end."""
        self._proposals.put(number, before, content)
        self._wake.set()

    def settled(self) -> list[AccordSettled]:
        """Return what became of those, since this was asked last."""
        return self._proposals.settled()

    def take(self) -> Found:
        """Return what is known; the descriptor is readable again when that has changed.

        What has ended the thread escapes here.
        """
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            pass
        if self._failure is not None:
            raise self._failure
        return self._found

    def close(self) -> None:
        """End the thread soon; it is not waited for, as it may be waiting for the engine."""
        self._ends = True
        self._wake.set()

    # ------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        try:
            while not self._ends:
                self._round()
                self._wake.wait(LOOK_S if self._found.has_logs else LOOK_S / 4)
                self._wake.clear()
        except BaseException as error:
            self._failure = error
            os.eventfd_write(self.descriptor, 1)
        finally:
            self._line.close()

    def _round(self) -> None:
        self._look_for_room()  # first: where there is none, it may be that no engine answers
        self._line.keep(time.monotonic())
        wire = self._line.wire
        if wire is None:
            self._proposals.give_up_late("no engine can be reached")
            return
        trouble = ""
        try:
            if not self._found.has_logs:
                self._make_logs(wire)
            else:
                if (origin := self._proposals.share(wire)) is not None:
                    self._tell(msgspec.structs.replace(self._found, accord=origin))
                while self._requests:
                    self._settle(wire, *self._requests.popleft())
                if self._moves:
                    self._move(wire, *self._moves.popleft())
                trouble = self._read_placing(wire)
                self._read_bucket(wire)
                self._look(wire)
                if self._trims:
                    self._trim(wire, self._trims.popleft())
        except WireLost as error:
            self._proposals.give_up_late(str(error))
            self._line.drop(error, time.monotonic())
        except (TimeoutError, NoMajority, NoStream) as error:
            # No majority yet, or an election: the next round asks again.
            self._proposals.give_up_late(str(error))
            log.get_logger().debug("engine.busy", reason=str(error))
        except ApiError as error:
            self._proposals.give_up_late(str(error))
            self._note(str(error))
        else:
            self._note(trouble)
        if self._proposals.has_settled:
            os.eventfd_write(self.descriptor, 1)

    def _note(self, trouble: str) -> None:
        """Say what the engine refuses, where that is not over at once, as before all are there."""
        self._rounds = self._rounds + 1 if trouble == self._trouble else 0
        self._trouble = trouble
        if trouble and self._rounds == REFUSED_ROUNDS:
            log.get_logger().error("engine.refuses", reason=trouble)

    def _tell(self, found: Found) -> None:
        if found != self._found:
            self._found = found
            os.eventfd_write(self.descriptor, 1)

    def _make_logs(self, wire: Wire) -> None:
        makes = self._makes_logs and not self._knows_logs
        for config in configs_of(self._cluster) if not self._knows_logs else ():
            if makes:
                _make(wire, config)
            else:
                require_origin(stream_info(wire, config.name, FOUND_S), config)
        # Nothing is decided before it is known what operators have settled: a drained host would
        # take clients in for a moment.
        self._read_placing(wire)
        log.get_logger().info("logs.ready", ranges=self._cluster.ranges, made_here=makes)
        self._tell(msgspec.structs.replace(self._found, has_logs=True))

    def _move(self, wire: Wire, range_: int, to: str) -> None:
        step_down(wire, f"{self._cluster.name}-{range_}", to, ANSWER_S)
        log.get_logger().info("log.leader_moved", range=range_, to=to)

    def _settle(self, wire: Wire, request: DrainAsked | MoveAsked, reply: str) -> None:
        try:
            placing, revision = self._placing_in(wire)
            after = settled(request, placing, plan_of(self._cluster))
            if isinstance(after, Placing):
                value = msgspec.json.encode(after)
                name = self._cluster.name
                kv_put(wire, name, PLACING, value, expected=revision, timeout_s=ANSWER_S)
                log.get_logger().info("placing.settled", away=after.away, pins=after.pins)
                answer: Answer = Done("it is settled")
            else:
                answer = after
        except msgspec.DecodeError as error:
            answer = Refused(f"what was settled before cannot be read: {error}")
        except (TimeoutError, ApiError) as error:
            answer = Refused(f"the engine did not take it; ask again: {error}")
        if reply:
            wire.publish(reply, encode(answer))
            wire.flush()

    def _trim(self, wire: Wire, up_to: Mapping[int, int]) -> None:
        for range_, number in up_to.items():
            removed = purge(wire, f"{self._cluster.name}-{range_}", number, ANSWER_S)
            log.get_logger().debug("log.trimmed", range=range_, up_to=number, records=removed)

    def _read_placing(self, wire: Wire) -> str:
        """Learn what operators have settled; return why that cannot be, empty if it can.

        It may be of a later version. All agents read it, and none may end for it.
        """
        try:
            placing, _ = self._placing_in(wire)
        except msgspec.DecodeError as error:
            return f"what was settled cannot be read, what was before holds: {error}"
        self._tell(msgspec.structs.replace(self._found, placing=placing))
        return ""

    def _read_bucket(self, wire: Wire) -> None:
        """Take what all hosts are to have alike, where it has changed."""
        last = stream_info(wire, f"KV_{self._cluster.name}", ANSWER_S).state.last_seq
        if last == self._bucket_seen:
            return
        found = self._found
        is_whole = True
        for key, path_in in PATHS.items():
            try:
                kept = read_kept(wire, self._cluster.name, key, ANSWER_S)
                if kept.content is None:
                    continue
                origin = decode_accord(kept.content).origin if key == "accord" else found.accord
                if bring_up_to_date(path_in(self._data), kept.content):
                    log.get_logger().info("shared.taken", file=path_in(self._data).name)
            except (SharedDamaged, SettingsError) as error:
                log.get_logger().error("shared.not_taken", reason=str(error))
                continue
            except DiskError as error:
                log.get_logger().error("shared.not_taken", reason=str(error))
                is_whole = False  # it is tried again
                continue
            found = msgspec.structs.replace(found, accord=origin)
            if key == "groups":
                found = msgspec.structs.replace(found, groups=kept.revision)
        self._bucket_seen = last if is_whole else 0
        self._tell(found)

    def look_soon(self) -> None:
        """Look at what all hosts have alike: somebody has changed it."""
        self._wake.set()

    def _placing_in(self, wire: Wire) -> tuple[Placing, int]:
        """Return what operators have settled, and its revision."""
        entry = kv_get(wire, self._cluster.name, PLACING, ANSWER_S)
        if entry is None:
            return Placing(), 0
        return _decode_placing(entry.value), entry.revision

    def _look_for_room(self) -> None:
        if not self._cluster.has_own_engine:
            return
        try:
            free = free_bytes(self._data)
        except OSError:
            return  # it is there again when it is mounted
        lacked = self._found.engine.lacks_room
        # Whoever moves away for want of room does not come back for a byte of it.
        lacks = free < self.min_free_bytes * (_ROOM_AGAIN if lacked else 1)
        if lacks == lacked:
            return
        if lacks:
            log.get_logger().error("disk.full", free_bytes=free, kept_bytes=self.min_free_bytes)
        else:
            log.get_logger().info("disk.has_room", free_bytes=free)
        engine = msgspec.structs.replace(self._found.engine, lacks_room=lacks)
        self._tell(msgspec.structs.replace(self._found, engine=engine))

    def _give_up_leading(self, infos: Mapping[int, StreamInfo]) -> None:
        """Have engines on disks with room lead what ours does, before it can write no more.

        Where no other has room either it goes on: two would give it to each other without an end.
        """
        me, now_s = self._cluster.host_name, time.monotonic()
        for range_, info in infos.items():
            others = [
                each.name
                for each in info.cluster.replicas
                if each.current and each.name not in self.without_room
            ]
            is_asked = now_s - self._moved_s.get(range_, -MOVE_AGAIN_S) < MOVE_AGAIN_S
            if info.cluster.leader == me and others and not is_asked:
                self.move_leader(range_, others[range_ % len(others)])
                return  # one at a time; the next round comes at once

    def _look(self, wire: Wire) -> None:
        """Find out which logs this host's engine leads, and of which it lacks nothing."""
        if not self._cluster.has_own_engine:
            return
        # All at once: where nobody leads nobody answers, and the others need not wait for that.
        asked = {}
        for range_ in range(self._cluster.ranges):
            asked[inbox := wire.new_inbox()] = range_
            wire.publish(f"$JS.API.STREAM.INFO.{self._cluster.name}-{range_}", b"", reply=inbox)
        infos: dict[int, StreamInfo] = {}
        until_s = time.monotonic() + ANSWER_S
        while len(infos) < len(asked) and (left_s := until_s - time.monotonic()) > 0:
            for message in wire.receive(left_s):
                if message.subject in asked and not message.status:
                    infos[asked[message.subject]] = _decode(message.payload)
        me = self._cluster.host_name
        leads = tuple(sorted(r for r, info in infos.items() if info.cluster.leader == me))
        lacks_room = self._found.engine.lacks_room
        if lacks_room:
            self._give_up_leading(infos)
        current = [r for r, info in infos.items() if _is_current(info, me) and not lacks_room]
        engine = EngineFacts(
            leads=leads,
            current=tuple(sorted(current)),
            behind={r: lag for r, info in infos.items() if (lag := _lag(info, me))},
            last={range_: info.state.last_seq for range_, info in infos.items()},
            lacks_room=lacks_room,
        )
        fill = {range_: _fill(info) for range_, info in infos.items()}
        self._tell(msgspec.structs.replace(self._found, engine=engine, fill=fill))


_decode = msgspec.json.Decoder(StreamInfo).decode
_decode_placing = msgspec.json.Decoder(Placing).decode


def plan_of(cluster: ClusterSettings) -> Plan:
    """Return who is to own what, where no operator has settled anything else."""
    return Plan(
        hosts=cluster.serving,
        ranges=cluster.ranges,
        standbys=cluster.standbys,
        begins=cluster.begins_behind,
    )


def _is_current(info: StreamInfo, host: str) -> bool:
    copies = info.cluster
    return copies.leader == host or any(r.name == host and r.current for r in copies.replicas)


def _fill(info: StreamInfo) -> float:
    return round(info.state.bytes / info.config.max_bytes, 2) if info.config.max_bytes > 0 else 0.0


def _lag(info: StreamInfo, host: str) -> int:
    """Return how much a replica lacks; 0 where it has all, or there is none on the host."""
    return next((each.lag for each in info.cluster.replicas if each.name == host), 0)


def configs_of(cluster: ClusterSettings) -> list[StreamConfig]:
    """Return what every stream of a cluster is: the logs, and what all hosts know alike."""
    replicas = min(MOST_REPLICAS, len(cluster.addresses))
    bucket = min(BUCKET_BYTES, cluster.store_bytes // 16)
    # It is set aside as a whole, on each host that has a copy: up to all of them on one.
    log_bytes = int((cluster.store_bytes - bucket) * LOGS_SHARE) // cluster.ranges
    return [
        kv_config(cluster.name, replicas=replicas, max_bytes=bucket),
        *(
            log_config(
                cluster.name,
                range_,
                replicas=replicas,
                max_bytes=log_bytes,
                begins_behind=cluster.begins(range_),
            )
            for range_ in range(cluster.ranges)
        ),
    ]


def _make(wire: Wire, config: StreamConfig) -> None:
    try:
        create_stream(wire, config, MADE_S)
    except StreamDiffers:  # by other settings than it was made with
        require_origin(stream_info(wire, config.name, MADE_S), config)
        update_stream(wire, config, MADE_S)


def require_origin(info: StreamInfo, config: StreamConfig) -> None:
    """Make sure that a log is the one that goes on behind this file's backup, if it has one.

    Raises:
        StreamDiffers: it is another. Stores go by where it began, so it is left alone.
    """
    if info.config.first_seq != config.first_seq:
        raise StreamDiffers(
            0,
            f"stream {config.name} began with record {max(1, info.config.first_seq)}, and is to"
            f" begin with {max(1, config.first_seq)} by cluster.begins_behind: its hosts have data"
            " of another cluster, or this is not their file",
        )
