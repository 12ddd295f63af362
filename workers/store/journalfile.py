"""A file of records, written one behind the other and made durable one by one.

Its bytes are there before they are needed (zeros, by the MiB), because a sync that changes neither
the file's size nor its place on the disk costs a third. When all records are done with, the next
one is written over the first. So a file holds a run of consecutive numbers and behind it, perhaps,
older records or the beginning of one whose write was cut short. What is cut short was never acked.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from struct import Struct
from time import perf_counter
from typing import Final, NamedTuple
from zlib import crc32

from relay.errors import StoreDamaged, StoreWriteError

STEP: Final = 1024 * 1024
# This much is kept ahead of the next record. When the disk refuses more, there is still room for
# what frees some: acks, confirmations, expiry.
RESERVE: Final = 256 * 1024
IDENTITY_BYTES: Final = 16

_FILE_MAGIC: Final = b"RELAYJN4"
# Of the two files that a store of an earlier version has. Such a version would not look at the
# others: from its point of view these are no journals.
_EARLIER_MAGIC: Final = b"RELAYJNL"
_HEAD_BYTES: Final = len(_FILE_MAGIC) + IDENTITY_BYTES
# Behind a sector of its own for the head, which is never written again.
FIRST_RECORD: Final = 512
# Magic, checksum of what follows it, length of the payload, number.
_RECORD: Final = Struct("<4sIIQ")
_SUMMED: Final = Struct("<IQ")
_MAGIC: Final = b"\xff\xfeJR"  # no part of any text
# A write that returns when it is durable: a call less than to write and to sync, and up to a
# quarter less time. 0: this system has none. Else a kernel or file system may refuse it, or what
# confines the process (EPERM: a filter of calls that does not know this one).
_THROUGH: Final = getattr(os, "RWF_DSYNC", 0)
_REFUSALS: Final = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM)


class Record(NamedTuple):
    """One record; numbers begin at 1 and grow by 1."""

    number: int
    payload: bytes


def create_journal_file(path: Path, identity: bytes) -> None:
    """Make an empty file that belongs to the store of that identity, and sync it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(descriptor, (_FILE_MAGIC + identity).ljust(STEP, b"\0"), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def adopt_journal_file(path: Path) -> None:
    """Take over a file of an earlier version, durably; its records are as they were."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        _write(descriptor, _FILE_MAGIC, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class JournalReader:
    """Reads a file that its writer may be appending to."""

    def __init__(self, path: Path, identity: bytes) -> None:
        """Open the file.

        Raises:
            StoreDamaged: it is missing, cut off, or no journal of that store.
            OSError: it cannot be read.
        """
        self.records: list[Record] = []
        self.end = FIRST_RECORD  # where the next record begins
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise StoreDamaged(f"{path.name} is missing") from None
        try:
            self._check_head(identity)
        except BaseException:
            self.close()
            raise

    @property
    def is_earlier(self) -> bool:
        """Whether the file is of a version that had two of them."""
        return os.pread(self._descriptor, len(_FILE_MAGIC), 0) == _EARLIER_MAGIC

    def _check_head(self, identity: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        if size == 0 or size % STEP:
            raise StoreDamaged(f"{self._path.name} is cut off at {size} bytes")
        head = os.pread(self._descriptor, _HEAD_BYTES, 0)
        if not head.startswith((_FILE_MAGIC, _EARLIER_MAGIC)):
            raise StoreDamaged(f"{self._path.name} is no journal")
        if head[len(_FILE_MAGIC) :] != identity:
            raise StoreDamaged(f"{self._path.name} is the journal of another store")

    def close(self) -> None:
        """Let the file go."""
        os.close(self._descriptor)

    def read_on(self) -> None:
        """Take what was written since the last time, or all where the file was begun anew."""
        if self.records and self._number_at(FIRST_RECORD) != self.records[0].number:
            self.records.clear()
            self.end = FIRST_RECORD
        size = os.fstat(self._descriptor).st_size
        while self._take(os.pread(self._descriptor, STEP, self.end), size):
            pass

    def _number_at(self, offset: int) -> int:
        head = os.pread(self._descriptor, _RECORD.size, offset)
        number: int = _RECORD.unpack(head)[3] if len(head) == _RECORD.size else 0
        return number

    def _take(self, data: bytes, size: int) -> bool:
        """Take the records that `data`, from `end` on, has whole; tell whether to look further."""
        at = 0
        while len(data) - at >= _RECORD.size:
            magic, checksum, length, number = _RECORD.unpack_from(data, at)
            start = at + _RECORD.size
            if magic != _MAGIC or (self.records and number != self.records[-1].number + 1):
                return False
            if start + length > len(data):
                if at:
                    return True
                if self.end + start + length > size:
                    return False
                data = os.pread(self._descriptor, start + length, self.end)
                if len(data) < start + length:
                    return False
            payload = data[start : start + length]
            if checksum != checksum_of(number, payload):
                return False
            self.records.append(Record(number, payload))
            at = start + length
            self.end += _RECORD.size + length
        return at > 0

    def find_later(self, number: int) -> int | None:
        """Return the number of a record behind the end that is higher than `number`, if any.

        Each record is durable before the next is written: there is none unless one is damaged.
        """
        rest = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, self.end)
        at = rest.find(_MAGIC)
        while 0 <= at <= len(rest) - _RECORD.size:
            _, checksum, length, later = _RECORD.unpack_from(rest, at)
            start = at + _RECORD.size
            if later > number and checksum == checksum_of(later, rest[start : start + length]):
                return int(later)
            at = rest.find(_MAGIC, at + 1)
        return None

    def forget_behind(self, number: int) -> bool:
        """Let go of the records behind `number`; tell whether the file has any, read or not."""
        kept = [record for record in self.records if record.number <= number]
        has_more = len(kept) < len(self.records)
        self.end -= sum(_RECORD.size + len(each.payload) for each in self.records[len(kept) :])
        self.records = kept
        return has_more or self.find_later(number) is not None

    def written(self) -> bytes:
        """Return all records as they are in the file."""
        return os.pread(self._descriptor, self.end - FIRST_RECORD, FIRST_RECORD)


class JournalFile:
    """The writing side of a file that `create_journal_file` made."""

    def __init__(self, path: Path, end: int, *, synced: bool) -> None:
        """Open the file, whose next record begins at `end`."""
        self.refusal = ""  # why the disk gives it no more room
        self.last_sync_s = 0.0  # how long it took, with its write; 0: there was none
        self._path = path
        self._end = end
        self._is_synced = synced
        self._writes_through = bool(_THROUGH)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._size = os.fstat(self._descriptor).st_size

    @property
    def used_bytes(self) -> int:
        """How much its records take."""
        return self._end - FIRST_RECORD

    def close(self) -> None:
        """Let the file go; what is not synced yet is now."""
        if not self._is_synced:
            os.fsync(self._descriptor)
        os.close(self._descriptor)

    def begin_anew(self) -> None:
        """Write the next record over the first one."""
        self._end = FIRST_RECORD
        self.refusal = ""

    def give_back(self, keep_bytes: int) -> None:
        """Cut the file down to about `keep_bytes`, when none of its records is needed any more."""
        size = -(-max(keep_bytes, FIRST_RECORD + RESERVE) // STEP) * STEP
        if self._size > size:
            os.ftruncate(self._descriptor, size)
            self._size = size

    def sync_again(self, records: bytes) -> None:
        """Write the `records` that are there once more.

        A write that the last process could not sync may be in the kernel's memory only, and no
        later sync would tell.
        """
        self._put(records, FIRST_RECORD)

    def sync(self) -> None:
        """Have durable all that was written.

        Raises:
            StoreWriteError: it may not be.
        """
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise StoreWriteError(f"{self._path} cannot be synced: {error.strerror}") from error

    def cut(self) -> None:
        """Have nothing behind the last record that looks like another, durably.

        Raises:
            OSError: it cannot be written.
        """
        for at in range(self._end, self._size, STEP):
            _write(self._descriptor, bytes(min(STEP, self._size - at)), at)
        os.fdatasync(self._descriptor)

    def append(self, number: int, payload: bytes) -> int:
        """Write a record and return its checksum; the record is durable then, if any is synced.

        Raises:
            StoreWriteError: it could not be written or synced. A reader may find it or not; it
                finds those before it.
        """
        checksum = checksum_of(number, payload)
        record = _RECORD.pack(_MAGIC, checksum, len(payload), number) + payload
        end = self._end + len(record)
        if end + RESERVE > self._size and (end > self._size or not self.refusal):
            self.make_room(len(record))
        if end > self._size:
            raise StoreWriteError(f"{self._path} cannot be written: {self.refusal}")
        try:
            self._put(record, self._end)
        except OSError as error:
            raise StoreWriteError(f"{self._path} cannot be written: {error.strerror}") from error
        self._end = end
        return checksum

    def make_room(self, length: int = 0) -> None:
        """Have room for as much and the reserve; where that cannot be, `refusal` says why."""
        needed = self._end + length + RESERVE
        self.refusal = ""
        if needed <= self._size:
            return
        size = -(-needed // STEP) * STEP
        try:
            # The size first, so that it is never but a multiple.
            os.ftruncate(self._descriptor, size)
            for at in range(self._size, size, STEP):
                _write(self._descriptor, bytes(STEP), at)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            self.refusal = str(error.strerror)
        else:
            self._size = size

    def _put(self, content: bytes, offset: int) -> None:
        """Write it there, durably if the file is synced at all."""
        if not self._is_synced:
            _write(self._descriptor, content, offset)
            return
        begun_s = perf_counter()
        if not (self._writes_through and self._write_through(content, offset)):
            _write(self._descriptor, content, offset)
            os.fdatasync(self._descriptor)
        self.last_sync_s = perf_counter() - begun_s

    def _write_through(self, content: bytes, offset: int) -> bool:
        """Write it there durably; False where that cannot be done in one, and nothing is said."""
        view = memoryview(content)
        try:
            while view:
                written = os.pwritev(self._descriptor, (view,), offset, _THROUGH)
                view, offset = view[written:], offset + written
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            self._writes_through = False
            return False
        return True


def checksum_of(number: int, payload: bytes) -> int:
    """Return the checksum of a record, which says its number too."""
    return crc32(payload, crc32(_SUMMED.pack(len(payload), number)))


def _write(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
