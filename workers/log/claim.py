"""A standby that is to own its range: it has all that is in the log, then its epoch record is.

Pure, like `writer`. An epoch record is published with the number behind all that was applied. So
where it is stored, its writer had everything before it, and whoever wrote there is fenced: records
that he has on their way have numbers that are taken. One alone may slip in right behind the epoch
record, where he had several on their way (`reader`). So the claim writes further epoch records,
one at a time, until the log is longer than any of those can be numbered. The last one counts.

Of two that claim at once one is first; the other reads it, and stays a standby. A claim that was
given up may still come true, as long as a server may sleep: its epoch record is then stored behind
all others, nobody acts on it, and the next claim ends it.
"""

from __future__ import annotations

from typing import NamedTuple

from relay.errors import LogLostData
from workers.log.reader import LogReader
from workers.log.record import Claimed, Kind, encode, encode_claimed
from workers.log.writer import (
    ASK_AGAIN_S,
    LOST_AFTER_S,
    PATIENCE_S,
    PAUSE_S,
    Ask,
    Publish,
)


class CatchUp(NamedTuple):
    """Have the reader take, and the store apply, all records up to `to`; then call `followed`."""

    to: int


class Beaten(NamedTuple):
    """The range is another's since `epoch`: the claim has ended, and the standby goes on."""

    epoch: int


class Won(NamedTuple):
    """The range is ours: `epoch` is the number of the record that says so, and `data` its bytes.

    All records up to it are applied. `Writer(epoch, data)` goes on from there.
    """

    epoch: int
    data: bytes


ClaimStep = Publish | Ask | CatchUp | Beaten | Won


class Claim:
    """One try to own a range, by the process that has applied what `reader` has taken.

    The caller lets the reader take whatever comes by the tail all the while, and says `followed`.
    Each call returns what to do now; behind Beaten and Won there is nothing more. A claim may be
    given up at any time.
    """

    def __init__(self, reader: LogReader, claimed: Claimed, *, in_flight: int = 1) -> None:
        """Claim for `claimed`, who will write with so many records on their way.

        Whoever owns the range as far as `reader` knows is put aside; a later owner is not.
        """
        self._reader = reader
        self._claimed = claimed
        self._in_flight = in_flight
        self._over = reader.epoch
        self._want = 0  # all records up to it must be applied first
        # Our last epoch record, and behind which number it was published; None: no answer is due.
        self._data = b""
        self._published: int | None = None
        self._refused: int | None = None  # likewise, and the publish was refused
        self._paused: int | None = None  # likewise, and nothing is to be published for a while
        # The first of ours is stored behind `_base`; that which counts has `_seal` at least.
        self._base: int | None = None
        self._seal = 0
        self._asked_s: float | None = None  # since when the leader is asked for its last record
        self._wakes_s: float | None = None
        self._short_since_s: float | None = None  # the log ends before what was applied
        self._has_ended = False

    @property
    def wakes_s(self) -> float | None:
        """When `woken` is to be called; None: only what comes in can change anything."""
        return self._wakes_s

    def begin(self, now_s: float) -> list[ClaimStep]:
        """Begin, or begin again on another connection."""
        self._published = self._short_since_s = self._asked_s = None
        return self._ask(now_s)

    def found(self, number: int, now_s: float) -> list[ClaimStep]:
        """Take it that `number`, 0 for none, is that of the last record of the stream's leader.

        Raises:
            LogLostData: for long it has been less than what was applied here.
        """
        if not self._asked or self._has_ended:
            return []
        self._asked_s = None
        if number < self._reader.number:
            # The leader is none any more, or the log has lost what was stored.
            if self._short_since_s is None:
                self._short_since_s = now_s
            if now_s - self._short_since_s >= LOST_AFTER_S:
                raise LogLostData(self._reader.number, number)
            return self._pause(now_s)
        self._short_since_s = self._published = None
        self._want = max(self._want, number)
        return self._go_on(now_s)

    def unanswered(self, now_s: float) -> None:
        """Take it that nobody is there to answer `Ask`."""
        if self._asked and not self._has_ended:
            self._refused = None
            self._wakes_s = now_s + ASK_AGAIN_S

    def followed(self, now_s: float) -> list[ClaimStep]:
        """Take it that the reader may have taken more, and all of that is applied."""
        return self._beaten() if self._asked else self._go_on(now_s)

    def acked(self, number: int, now_s: float) -> list[ClaimStep]:
        """Take it that a majority has stored our epoch record under that number."""
        self._published = None
        self._want = max(self._want, number)
        return [] if self._asked else self._go_on(now_s)

    def refused(self, number: int, now_s: float) -> list[ClaimStep]:
        """Take it that the publish for that number was not stored, for whatever reason."""
        if self._has_ended or self._asked or self._published != number - 1:
            return []
        self._refused, self._published = self._published, None
        return self._ask(now_s)

    def woken(self, now_s: float) -> list[ClaimStep]:
        """Do what is due, if anything is."""
        if self._wakes_s is None or now_s < self._wakes_s:
            return []
        if self._asked_s is not None:
            self._refused = None  # whoever leads next has not refused anything
            if now_s - self._asked_s >= PATIENCE_S:
                self._short_since_s = None  # only a leader that goes on answering shows a loss
        self._published = self._paused = None
        return self._ask(now_s)

    def _ask(self, now_s: float) -> list[ClaimStep]:
        if self._has_ended:
            return []
        if self._asked_s is None:
            self._asked_s = now_s
        # A leader that is elected meanwhile has not heard of what was asked before.
        self._wakes_s = now_s + ASK_AGAIN_S
        return [Ask()]

    def _pause(self, now_s: float) -> list[ClaimStep]:
        self._paused = self._reader.number
        self._wakes_s = now_s + PAUSE_S
        return []

    @property
    def _asked(self) -> bool:
        return self._asked_s is not None

    @property
    def _is_ours(self) -> bool:
        return self._reader.owner == self._claimed

    @property
    def _is_stored(self) -> bool:
        """Whether an epoch record of this claim is in the log."""
        return self._is_ours and self._base is not None and self._reader.epoch > self._base

    def _beaten(self) -> list[ClaimStep]:
        if self._has_ended or self._is_ours or self._reader.epoch == self._over:
            return []
        return self._end(Beaten(self._reader.epoch))

    def _end(self, how: Beaten | Won) -> list[ClaimStep]:
        self._has_ended, self._asked_s, self._wakes_s = True, None, None
        return [how]

    def _go_on(self, now_s: float) -> list[ClaimStep]:
        """Do what comes next: catch up, publish, or end."""
        if self._has_ended:
            return []
        if beaten := self._beaten():
            return beaten
        reader = self._reader
        if reader.number < self._want:
            self._wakes_s = None
            return [CatchUp(self._want)]
        if self._is_stored and reader.epoch >= self._seal:
            return self._end(Won(reader.epoch, self._data))
        if reader.number in (self._published, self._paused):
            return []  # an answer is due, or the end of the pause
        if self._refused == reader.number:
            # A leader without a majority counts what it has not committed, and may never.
            self._refused = None
            return self._pause(now_s)
        if not self._is_stored:
            self._base = reader.number
            self._seal = reader.number + reader.window
        self._data = encode(
            Kind.EPOCH, reader.epoch, encode_claimed(self._claimed), self._in_flight
        )
        self._published = reader.number
        self._wakes_s = now_s + PATIENCE_S
        return [Publish(reader.number, self._data)]
