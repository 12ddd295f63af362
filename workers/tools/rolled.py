"""A copy of a range's store that is brought forward, by records of the range's log."""

from __future__ import annotations

from pathlib import Path

from relay.bus.envelopes import Seq
from relay.cluster.jetstream import Stored
from relay.errors import LogLostData, RelayError
from workers.log.parts import Joiner
from workers.log.reader import LogReader
from workers.store.journalfile import checksum_of
from workers.store.store import Store


class TooOld(RelayError):
    """The log begins behind the record that would be next."""


class Rolled:
    """One copy. It has all up to `number`, and `take` is given record after record from `next`."""

    def __init__(
        self, directory: Path, *, begins_behind: int, map_bytes: int, max_map_bytes: int
    ) -> None:
        """Open the copy in `directory`, of a range whose log begins behind that record.

        Raises:
            BootError: it is no whole store of a range.
        """
        self._store = Store(
            directory, durability="log", map_bytes=map_bytes, max_map_bytes=max_map_bytes
        )
        self._reader = LogReader(self._store.last_number, begins_behind=begins_behind)
        self._joiner = Joiner()
        # The last records that it has are read again: they say in which epoch it is.
        self._learnt = self._reader.first - 1

    @property
    def number(self) -> int:
        """The last record that it has."""
        return self._reader.number

    @property
    def next(self) -> int:
        """The record to be taken next."""
        return self._learnt + 1

    @property
    def epoch(self) -> int:
        """Whose range it is behind that record; 0: nobody's, as nothing is behind a backup yet."""
        return self._reader.epoch

    def take(self, record: Stored) -> None:
        """Take a record, from `next` on.

        Raises:
            TooOld: it is a later one.
            LogLostData: the last one that the copy has is another in the log.
            LogDamaged, StoreDamaged, StoreWriteError: it is none, or cannot be written.
        """
        number = record.sequence
        if number != self.next:
            raise TooOld(f"the log begins with record {number}, and {self.next} would be next")
        if self._learnt == self._reader.number:
            payload = self._joiner.take(self._reader.take(number, record.payload))
            self._store.apply(number, payload)
        else:
            payload = self._joiner.take(self._reader.learn(number, record.payload))
            known = self._store.last.checksum
            # It is empty there if it is a part of a larger one, or void.
            ours = [checksum_of(number, each) for each in (payload, b"")]
            if number == self._reader.number and known and known not in ours:
                raise LogLostData(number, number)
        self._learnt = number

    def fold(self) -> None:
        """Bring the pages up to date by as much as it is time for; call it now and then."""
        self._store.fold()

    def last_seq(self) -> Seq:
        """Return the highest sequence number that was given out."""
        with self._store.reading() as batch:
            return batch.last_seq()

    def applied(self, peer: int) -> Seq:
        """Return up to which entry of a peer's outbox everything is stored here."""
        with self._store.reading() as batch:
            return batch.applied(peer)

    def confirmed(self, peer: int) -> Seq:
        """Return up to which entry of the outbox for a peer that peer has confirmed."""
        with self._store.reading() as batch:
            return batch.confirmed(peer)

    def close(self) -> None:
        """Let the store go."""
        self._store.close()
