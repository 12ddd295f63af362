"""The log of a range whose owner this process is: `writer`, carried out."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Final

from relay import log
from relay.clock import clock_ms
from relay.cluster.jetstream import Stored
from relay.cluster.natswire import WireLost
from workers.log.parts import HEAD_BYTES, MOST_PARTS, split
from workers.log.record import Kind, encode_handed
from workers.log.stream import Acked, Fill, Last, Refused, Stream
from workers.log.writer import NOTHING, Ask, Found, Publish, Step, Writer, look_at

# While a commit waits, somebody is asked that often whether it may go on to.
_LOOK_UP_S: Final = 0.1
# How often an owner without work looks after its connection, and whether the range is still its.
_TICK_MS: Final = 500
_IDLE_S: Final = 2.0
# How often it looks how full the log is. What comes meanwhile is far less than what is kept for
# that which frees room: acks, confirmations, expiry.
_LOOK_S: Final = 5.0
_KEPT_SHARE: Final = 1 / 8
# What the socket has not taken is tried again so soon, while the worker does other things.
_UNSENT_MS: Final = 1
# Between two rounds of engines that let nobody in.
_CONNECT_AGAIN_S: Final = 0.1

_now_s: Final = time.monotonic


class OwnedLog:
    """What `workers.rangelog.RangeLog` says, over connections that come and go."""

    def __init__(self, stream: Stream, writer: Writer) -> None:
        """Write on with `writer`, over a `stream` that is the log's from here on."""
        self.on_wait: Callable[[], None] = _nothing
        self.refusal = ""
        self._stream = stream
        self._writer = writer
        stream.epoch = writer.epoch
        self._due_ms = clock_ms()
        self._heard_s = _now_s()  # when the range was known to be ours
        self._looks_s = _now_s()  # when to look how full the log is
        self._full: tuple[str, ...] = ()  # hosts with a full disk, as was heard last
        self._refused_s: float | None = None  # since when it takes nothing
        # Whoever waits for a connection waits for this: it is the same for all of them, and lets go
        # of each that is closed.
        self._ear = select.epoll()
        self.descriptor = self._ear.fileno()
        self._listen()

    @property
    def epoch(self) -> int:
        """The number of the record by which the range is this process's."""
        return self._writer.epoch

    @property
    def most_bytes(self) -> int:
        """How large a record may be that is to be committed."""
        return MOST_PARTS * (self._stream.most_bytes - HEAD_BYTES)

    @property
    def due_ms(self) -> int:
        """When `tick` is to be called next."""
        due_ms, wakes_s, stream = self._due_ms, self._writer.wakes_s, self._stream
        if wakes_s is not None:
            due_ms = min(due_ms, 1 + int(1000 * wakes_s))
        if stream.is_connected:
            if stream.has_input:  # which no descriptor shows
                due_ms = 0
            elif stream.has_unsent:
                due_ms = min(due_ms, clock_ms() + _UNSENT_MS)
        return due_ms

    @property
    def confirmed(self) -> int:
        """Up to which number the records are synced by a majority, and ours."""
        return self._writer.committed

    @property
    def has_room(self) -> bool:
        """Whether another record may be appended now."""
        return self._writer.has_room

    def append(self, number: int, payload: bytes) -> int:
        """Have a record on its way, for which there must be room; return its last number.

        Of one in parts all are on their way then: it waits until there is room for each.
        """
        for body in split(payload, self._stream.most_bytes):
            while not self.has_room:
                self.wait()
            self._append(number, body, Kind.DATA)
            number += 1
        return number - 1

    def hand_over(self, number: int, to: str) -> None:
        """Append that the range goes to host `to`; a majority has synced it when this returns."""
        self._append(number, encode_handed(to), Kind.HANDED)
        while self.confirmed < number:
            self.wait()

    def look(self, most_s: float = 0.0) -> None:
        """Take what has come, waiting for it at most so long."""
        self._turn(most_s)

    def wait(self) -> None:
        """Wait a little for what may come, and ask whether to go on where nothing has."""
        if not self._turn(_LOOK_UP_S):
            self.on_wait()

    def tick(self, clock_ms: int) -> None:
        """Keep the connection; look whether the range is still ours, if nothing has told so."""
        self._due_ms = clock_ms + _TICK_MS
        self._turn(0.0)
        if self._waits and not self._stream.is_connected:
            self._due_ms = clock_ms + int(1000 * _CONNECT_AGAIN_S)
        if _now_s() - self._heard_s >= _IDLE_S:
            self._heard_s = _now_s()
            self._do(self._writer.suspect(_now_s()))
        if _now_s() >= self._looks_s and self._stream.is_connected:
            self._looks_s = _now_s() + _LOOK_S
            self._look_for_room()

    def _look_for_room(self) -> None:
        try:
            fill = self._stream.fill()
            if fill is not None:
                full = self._stream.hosts_without_room()
                self._full = self._full if full is None else full
        except WireLost:
            self._lose()
            return
        if fill is not None:
            self.refusal = _lack_in(fill, self._full)

    def close(self) -> None:
        """Let the connection go."""
        self._stream.lose()
        self._ear.close()

    def _append(self, number: int, body: bytes, kind: Kind) -> None:
        writer = self._writer
        assert number == writer.last_number + 1, f"{number} behind {writer.last_number}"
        self._do(writer.append(body, _now_s(), kind))

    @property
    def _waits(self) -> bool:
        return self._writer.committed < self._writer.last_number

    def _listen(self) -> None:
        if self._stream.is_connected:
            self._ear.register(self._stream.fileno(), select.EPOLLIN)

    def _turn(self, most_s: float) -> bool:
        """Take what has come, waiting for it at most so long, and do what is due."""
        if not self._stream.is_connected:
            if not self._stream.connect():
                time.sleep(min(most_s, _CONNECT_AGAIN_S))
                return False
            self._listen()
            self._do(self._writer.connected(_now_s()))
        wakes_s = self._writer.wakes_s
        if wakes_s is not None:
            most_s = max(0.0, min(most_s, wakes_s - _now_s()))
        try:
            heard = self._stream.receive(most_s)
        except WireLost:
            self._lose()
            return False
        for each in heard:
            match each:
                case Acked(number):
                    self._heard_s = _now_s()
                    if self._refused_s is not None:
                        self._note_goes_on(number)
                    self._do(self._writer.acked(number, _now_s()))
                case Last(record):
                    self._learn(record)
                case Refused(number):
                    self._note_refused(number)
                    self._do(self._writer.refused(number, _now_s()))
                case _:
                    pass  # of the tail, which it followed as a standby
        self._do(self._writer.woken(_now_s()))
        return bool(heard)

    def _do(self, steps: Iterable[Step]) -> None:
        todo = deque(steps)
        try:
            while todo:
                step = todo.popleft()
                match step:
                    case Publish():
                        self._stream.publish(step)
                    case Ask(0):
                        self._stream.ask_last()
                    case Ask(number):
                        found = self._find(number)
                        if found is None:
                            self._writer.unanswered(_now_s())
                        else:
                            todo.extend(self._writer.found(found, _now_s()))
        except WireLost:
            self._lose()

    def _note_refused(self, number: int) -> None:
        if self._refused_s is None:
            self._refused_s = _now_s()
            log.get_logger().debug("log.refuses", number=number)

    def _note_goes_on(self, number: int) -> None:
        after_s = round(_now_s() - (self._refused_s or 0.0), 2)
        self._refused_s = None
        log.get_logger().debug("log.goes_on", number=number, after_s=after_s)

    def _learn(self, last: Stored | None) -> None:
        """Take what the leader has last, None: nobody leads."""
        if last is None:
            self._writer.unanswered(_now_s())
            return
        found = look_at(last.sequence, last.payload) if last.payload else NOTHING
        self._do(self._writer.found(found, _now_s()))

    def _find(self, number: int) -> Found | None:
        """Return the record `number`; None: nobody answers."""
        records = self._stream.read(number, 1)
        if records is None:
            return None
        if not records or records[0].sequence != number:
            return NOTHING
        return look_at(number, records[0].payload)

    def _lose(self) -> None:
        self._stream.lose()
        self._writer.connection_lost()


def _lack_in(fill: Fill, hosts: Collection[str]) -> str:
    """Return why a log takes no more that asks for room, where the disks of `hosts` are full."""
    used, most, copies = fill
    kept = int(most * _KEPT_SHARE)
    if 0 < most < used + kept:
        return f"the log is full: {used} bytes used of {most}, {kept} are kept"
    full = sorted(host for host in copies if host in hosts)
    if 2 * len(full) >= len(copies) > 0:
        # What is left there is for what frees room. Without it no majority could write even that.
        return f"the disks of hosts {' and '.join(full)} are full, which have copies of the log"
    return ""


def _nothing() -> None:
    pass
