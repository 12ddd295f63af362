"""Who wrote each record of a log: nobody but its newest owner."""

from __future__ import annotations

from collections.abc import Iterator

from workers.log.record import Kind, LogRecord


class Epochs:
    """What one log has said so far, read in order of its sequences."""

    def __init__(self) -> None:
        self.records = 0
        self.owners = 0  # epoch records
        self._number = 0  # of the last one
        self._epoch = 0  # in force; 0 while it is not known
        self._begins = True  # what is read next may begin anywhere: what is old enough is trimmed

    @property
    def follows(self) -> int:
        """The number of the record that is to be read next."""
        return self._number + 1

    def read(self, number: int, record: LogRecord) -> Iterator[str]:
        """Take the next record; yield what is wrong with it."""
        if number != self.follows and not self._begins:
            yield f"record {number} came, and {self.follows} was not read: trimmed, or lost"
            self._epoch, self._begins = 0, True  # the record of an owner may be among them
        if record.kind is Kind.EPOCH:
            if self._epoch and record.epoch != self._epoch:
                yield f"record {number} ends epoch {record.epoch}, and {self._epoch} is in force"
            self.owners += 1
            self._epoch = number
        elif self._begins:
            self._epoch = record.epoch
        elif record.epoch != self._epoch and not self._is_void(number, record):
            yield (
                f"record {number} is of epoch {record.epoch}, when {self._epoch} was the newest:"
                " a stale owner wrote it"
            )
        self._number, self._begins = number, False
        self.records += 1

    def _is_void(self, number: int, record: LogRecord) -> bool:
        """Whether it was on its way when another claimed the range: nobody counts it as stored.

        With one at a time there is no such record.
        """
        return record.epoch < self._epoch < number < self._epoch + record.window
