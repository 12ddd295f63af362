"""How a log is read: which of its records are void, and whose it is behind each of them.

A writer has several records on their way, each with the number that it must get. When another
claims the range, his epoch record takes the number of one of them. That one is refused; but the
next is not, if it comes right behind. Its writer never counts it as committed (`writer`), and to
all who read it is *void*: like an epoch record it takes a number and changes nothing. The claim
goes on until no such record can come any more (`claim`).
"""

from __future__ import annotations

from collections import deque
from typing import assert_never

from relay.errors import LogDamaged
from workers.log.record import (
    MOST_IN_FLIGHT,
    Claimed,
    Kind,
    LogRecord,
    decode,
    decode_claimed,
    decode_handed,
)


class LogReader:
    """What one who has applied the log up to `number` knows of it.

    It reads from `first` on: what it was told in an earlier life of the process it learns again
    from the last records that it has applied. Those must still be in the log (`trimming` keeps
    them), or before its beginning: behind a backup it knows nothing, and there is nothing to know.
    """

    def __init__(self, applied: int, *, begins_behind: int = 0) -> None:
        """Begin for a store that has all records up to `applied`, 0 for none.

        The log has had none up to `begins_behind`.
        """
        self.number = applied
        self.first = max(begins_behind + 1, applied - MOST_IN_FLIGHT + 1)
        self.epoch = 0  # that is in force behind `number`; 0: none that we know of
        self.owner: Claimed | None = None  # of that epoch, where we have read its record
        self.handed_to = ""  # the host to which that owner has handed the range
        self.voids = 0  # records that were passed over
        self._windows: deque[int] = deque(maxlen=MOST_IN_FLIGHT)

    @property
    def window(self) -> int:
        """How many records a writer whom another claim puts aside may have on their way."""
        return max(self._windows, default=1)

    def learn(self, number: int, data: bytes) -> bytes:
        """Take a record again that is applied already; in order, from `first` on.

        Return what `take` did, if the epoch that it was in is known.

        Raises:
            LogDamaged: it is no record.
        """
        return self._take(number, data)

    def take(self, number: int, data: bytes) -> bytes:
        """Take the next record; return what to apply, which is empty where it changes nothing.

        Raises:
            LogDamaged: it is no record, or not the next one. Nothing was taken.
        """
        if number != self.number + 1:
            raise LogDamaged(f"record {number} of the log came behind record {self.number}")
        payload = self._take(number, data)
        self.number = number
        return payload

    def _take(self, number: int, data: bytes) -> bytes:
        try:
            record = decode(data)
            payload = self._read(number, record)
        except LogDamaged as error:
            raise LogDamaged(f"{error} (record {number})") from None
        self._windows.append(record.window)
        return payload

    def _read(self, number: int, record: LogRecord) -> bytes:
        if record.kind is Kind.EPOCH:
            self.owner = decode_claimed(record.body)
            self.epoch, self.handed_to = number, ""
            return b""
        if record.epoch < self.epoch:
            self.voids += 1
            return b""
        payload = b""
        match record.kind:
            case Kind.HANDED:
                self.handed_to = decode_handed(record.body)
            case Kind.DATA:
                payload = record.body
            case _:
                assert_never(record.kind)
        self.epoch = record.epoch
        return payload
