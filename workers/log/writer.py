"""The one writer of a range's log: what is on its way, what is committed, and what became of it.

Pure: the caller sends what it is told to, and tells what came back, with a clock that only grows.

A record is published with the number that it must get. So it is stored there once, or never: to
publish the same bytes for the same number again does no harm, and that is all a writer does where
it does not know. It does not know often: a publish that timed out may be stored as long as a
server may sleep, and a leader without a majority refuses by what it has not committed itself. Then
the writer *resolves*: it asks the stream's leader for its last record, and reads each behind what
it knows to be committed. Those that it wrote are committed; where it finds another's epoch it is
fenced; what is missing it sends again, after a pause.

No leader answers while the engines have elected nobody to lead them all, though he would take a
record. So where nobody answers for long the first record is sent again, and its ack is an answer.

An acked record is committed only with all before it. The one behind a refused one may be stored
all the same, right behind the epoch record of who took over (`reader`).
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from relay.errors import Fenced, LogLostData
from workers.log.record import MOST_IN_FLIGHT, Kind, checksum_of, decode, encode

# An ack takes milliseconds, and 10 where disks are busy. What takes so long was probably lost, or
# the leader was: a new one is there after 4 to 9 s.
PATIENCE_S: Final = 1.0
PAUSE_S: Final = 0.2
# Where nobody leads a stream nobody is there to be asked, which is said at once, or not at all
# while those that are left have yet to notice. Who is told to lead it does so within some 50 ms.
ASK_AGAIN_S: Final = 0.1
# A stream's former leader may answer for some seconds after it has lost its majority, with less
# than what was acked since. No longer than so: it follows again 17 s after it is healed.
LOST_AFTER_S: Final = 30.0


class Publish(NamedTuple):
    """Publish `data` with `expected` as the stream's last sequence; tell `acked` or `refused`."""

    expected: int
    data: bytes

    @property
    def number(self) -> int:
        """The number that the record gets, if it is stored."""
        return self.expected + 1


class Ask(NamedTuple):
    """Ask the stream's leader for record `number`, 0 for its last one; tell `found`."""

    number: int = 0


class Found(NamedTuple):
    """A record that the leader has: `epoch` is the one that it speaks for."""

    number: int
    epoch: int
    checksum: int


NOTHING: Final = Found(0, 0, 0)
Step = Publish | Ask


def look_at(number: int, data: bytes) -> Found:
    """Return what `Writer.found` is told of a record.

    Raises:
        LogDamaged: it is none.
    """
    record = decode(data)
    return Found(number, record.epoch_at(number), record.checksum)


class _Sent(NamedTuple):
    number: int
    data: bytes
    at_s: float


class Writer:
    """The writer of one epoch of one range, from its epoch record on.

    Whatever it is told returns what to do now, in order. Fenced and LogLostData may come from each
    call: then it has ended, and `committed` is the last word.
    """

    def __init__(self, epoch: int, epoch_data: bytes, *, in_flight: int = 1) -> None:
        """Begin behind the epoch record of this process, which was acked or read.

        `epoch` is its number and `epoch_data` its bytes. `in_flight` is from 1 to MOST_IN_FLIGHT.
        """
        assert 1 <= in_flight <= MOST_IN_FLIGHT, f"{in_flight} in flight"
        self.epoch = epoch
        self.committed = epoch  # every record up to it is stored by a majority, and is ours
        self._in_flight = in_flight
        self._checksum = checksum_of(epoch_data)  # of the record `committed`
        self._window: deque[_Sent] = deque()  # what is behind it, in order
        self._acked: set[int] = set()  # numbers of the window that came before their turn
        self._asked: Ask | None = None  # until it is answered
        self._asked_s = 0.0  # since when something is asked
        self._up_to = 0  # the last record that the leader has; 0: it is not known
        self._is_connected = True
        self._wakes_s: float | None = None  # when patience or a pause ends
        self._is_paused = False  # what waits for that is to send again
        self._is_sent_again = False  # in vain, since anything changed
        self._short_since_s: float | None = None  # the log ends before what was acked

    # ------------------------------------------------------------------------------- what is asked

    @property
    def last_number(self) -> int:
        """The number of the last record that was appended."""
        return self._window[-1].number if self._window else self.committed

    @property
    def has_room(self) -> bool:
        """Whether another record may be appended now."""
        return len(self._window) < self._in_flight

    @property
    def wakes_s(self) -> float | None:
        """When `woken` is to be called, None: nothing is waited for that time would change."""
        return self._wakes_s

    # ------------------------------------------------------------------------------- what happens

    def append(self, body: bytes, now_s: float, kind: Kind = Kind.DATA) -> list[Step]:
        """Take the record that gets the number `last_number` + 1; there must be room."""
        assert self.has_room, f"{len(self._window)} records are in flight"
        data = encode(kind, self.epoch, body, self._in_flight)
        sent = _Sent(self.last_number + 1, data, now_s)
        self._window.append(sent)
        if not self._is_sending:
            return []  # it goes with the rest, when that is sent again
        self._wait_for_acks()
        return [Publish(sent.number - 1, data)]

    def acked(self, number: int, now_s: float) -> list[Step]:
        """Take it that a majority has stored a record of ours under that number."""
        if number > self.last_number:
            return self.suspect(now_s)  # the log did not keep to the number that it was told
        if number > self.committed:
            self._acked.add(number)
        before = self.committed
        while self._window and self._window[0].number in self._acked:
            self._commit_first()
        self._short_since_s = None
        if self._asked is not None and self.committed > before:
            self._asked = None  # the leader has spoken, if not of this
            return self._send_again(now_s)
        if self._asked is not None or self._is_paused:
            return []
        self._wait_for_acks()
        return []

    def refused(self, number: int, now_s: float) -> list[Step]:
        """Take it that the publish for that number was not stored, for whatever reason.

        That may be of an earlier publish of the same record, of which another one is stored.
        """
        return self.suspect(now_s) if number > self.committed else []

    def suspect(self, now_s: float) -> list[Step]:
        """Look at what the log has: after a sleep, or when an epoch of another was heard of."""
        if not self._is_sending:
            return []  # we are at it
        return self._ask(0, now_s)

    def connection_lost(self) -> None:
        """Take it that nothing that was sent is answered any more."""
        self._is_connected = False
        self._asked, self._is_paused, self._wakes_s = None, False, None
        self._short_since_s = None

    def connected(self, now_s: float) -> list[Step]:
        """Take it that there is a connection again."""
        self._is_connected = True
        return self._ask(0, now_s)

    def found(self, record: Found, now_s: float) -> list[Step]:
        """Take the answer to the last `Ask`: that record, or NOTHING where there is none.

        An answer to an earlier one does no harm.
        """
        if self._asked is None:
            return []
        if record.epoch > self.epoch:
            raise Fenced(record.epoch)
        if self._asked.number == 0:
            return self._found_last(record, now_s)
        if record.number != self._asked.number:
            return self._pause(now_s)  # the leader lacks it: it is no leader any more
        self._take(record)
        return self._look_on(now_s)

    def unanswered(self, now_s: float) -> None:
        """Take it that nobody is there to answer `Ask`, which matters where a record waits."""
        if self._asked is not None and self._window:
            self._is_sent_again = False
            self._wakes_s = now_s + ASK_AGAIN_S

    def woken(self, now_s: float) -> list[Step]:
        """Do what is due, if anything is."""
        if self._wakes_s is None or now_s < self._wakes_s:
            return []
        if self._asked is not None:
            self._is_sent_again = False
            if now_s - self._asked_s >= PATIENCE_S:
                self._short_since_s = None  # only a leader that goes on answering shows a loss
                return [*self._ask(0, now_s), *self._try_first(now_s)]
        sends_again = self._is_paused and self._short_since_s is None
        self._is_paused = False
        return self._send_again(now_s) if sends_again else self._ask(0, now_s)

    # ---------------------------------------------------------------------------------- resolving

    @property
    def _is_sending(self) -> bool:
        return self._is_connected and self._asked is None and not self._is_paused

    def _ask(self, number: int, now_s: float) -> list[Step]:
        if self._asked is None:
            self._asked_s = now_s
        self._asked = Ask(number)
        # A leader that is elected meanwhile has not heard of what was asked before.
        self._wakes_s = now_s + (ASK_AGAIN_S if self._window else PATIENCE_S)
        return [self._asked]

    def _found_last(self, last: Found, now_s: float) -> list[Step]:
        if last.number < self.committed:
            if self._short_since_s is None:
                self._short_since_s = now_s
            if now_s - self._short_since_s >= LOST_AFTER_S:
                raise LogLostData(self.committed, last.number)
            return self._pause(now_s)
        self._short_since_s = None
        if last.number == self.committed:
            if last.checksum != self._checksum:
                raise LogLostData(self.committed, last.number)
            if not self._window:
                return self._rest()
            if self._is_sent_again:
                return self._pause(now_s)
            self._asked, self._is_sent_again = None, True
            return self._send_again(now_s)
        self._up_to = last.number
        if last.number == self.committed + 1:
            self._take(last)
        return self._look_on(now_s)

    def _look_on(self, now_s: float) -> list[Step]:
        """Read the next record that the leader has, or send what it lacks."""
        if self.committed < self._up_to:
            return self._ask(self.committed + 1, now_s)
        self._asked = None
        return self._send_again(now_s)

    def _take(self, record: Found) -> None:
        """Take the record behind what is committed: it is ours, or the log is not."""
        if record.number <= self.committed:
            return  # its ack came meanwhile
        ours = self._window[0] if self._window else None
        if ours is None or record.epoch != self.epoch or record.checksum != checksum_of(ours.data):
            raise LogLostData(self.committed, record.number)
        self._commit_first()

    def _commit_first(self) -> None:
        sent = self._window.popleft()
        self._acked.discard(sent.number)
        self._is_sent_again = False
        self.committed = sent.number
        self._checksum = checksum_of(sent.data)

    def _pause(self, now_s: float) -> list[Step]:
        self._asked, self._is_paused = None, True
        self._wakes_s = now_s + PAUSE_S
        return []

    def _rest(self) -> list[Step]:
        self._asked, self._wakes_s = None, None
        return []

    def _try_first(self, now_s: float) -> list[Step]:
        """Send the first record again, if that was not done for a while: somebody may take it."""
        if not self._window or now_s - self._window[0].at_s < PATIENCE_S:
            return []
        self._window[0] = first = self._window[0]._replace(at_s=now_s)
        return [Publish(first.number - 1, first.data)]

    def _send_again(self, now_s: float) -> list[Step]:
        self._window = deque(sent._replace(at_s=now_s) for sent in self._window)
        self._wait_for_acks()
        return [Publish(sent.number - 1, sent.data) for sent in self._window]

    def _wait_for_acks(self) -> None:
        self._wakes_s = self._window[0].at_s + PATIENCE_S if self._window else None
