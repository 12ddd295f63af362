"""What was committed and is not in the trees' pages yet: written in order, folded in later.

A batch touches as many pages as it has mailboxes and messages, and LMDB writes each of them anew
and syncs twice. So a commit writes what changed as one record into a file (journalfile) and
syncs that once; the changes stay in memory (tree). A *pass* writes them into the trees'
pages, key by key in order, a stretch at a time: what lay in a mailbox for a moment is gone by then
and costs no page at all, and neighbours share one.

Every change is in a file until it is in a page, and a record states values, not differences. So
after a crash the records are read again, and it does no harm that some were folded in. There are
four files, each for the records between the beginnings of two passes: while a pass makes the
records of the oldest good, the next ones go to another.

Where a store follows a log that others keep, its records are the log's, by number and content, and
each is in the log before it is here. So none is synced: what a power cut leaves is read up to the
first that is missing, and the log has the rest. Only before a stretch of a pass all are, so that
the pages are never ahead of the files. What is on its way to the log is in memory alone, beside
what is confirmed; so nothing is folded while anything is.

What waits in a mailbox is mostly gone within seconds, but not at once: a receipt stays until its
author's client has shown that it has it (PROTOCOL R7). To write such an entry into a page and take
it out again costs many times what it costs to keep it. So a pass *spares* the young ones: their
records stay in the two files before the one that is written, and a later pass finds most of them
gone.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from relay import log
from relay.disk.files import free_bytes, sync
from relay.errors import StoreDamaged
from workers.store.journalfile import (
    IDENTITY_BYTES,
    JournalFile,
    JournalReader,
    Record,
    adopt_journal_file,
    checksum_of,
    create_journal_file,
)
from workers.store.keys import SEQ_BYTES, pack_seq, unpack_seq
from workers.store.meta import SEQ_NAME
from workers.store.seal import break_seal, check_seal, seal
from workers.store.tree import MAX_KEY_BYTES, Layer, Tree, Value

FILE_NAMES: Final = ("journal-0", "journal-1", "journal-2", "journal-3")
_EARLIER_NAMES: Final = FILE_NAMES[:2]  # those of an earlier version, before it was opened by ours
# Keys of the tree `meta`, which only pages have: whose the files are, and up to which record
# everything is in the pages.
IDENTITY_NAME: Final = b"journal"
FOLDED_NAME: Final = b"folded"
# And of a store that follows a log: that it does, up to which record pages may have something, and
# the checksum of the record `FOLDED_NAME`.
LOG_NAME: Final = b"log"
PASS_NAME: Final = b"pass"
TAIL_NAME: Final = b"tail"
# All of them, and how long their values are.
OF_JOURNAL: Final[Mapping[bytes, int]] = {
    IDENTITY_NAME: IDENTITY_BYTES,
    FOLDED_NAME: SEQ_BYTES,
    LOG_NAME: 0,
    PASS_NAME: SEQ_BYTES,
    TAIL_NAME: SEQ_BYTES,
}

# "fsync", "os": of the operator's setting. "log": others have each record before it is here.
Durability = Literal["fsync", "os", "log"]

# A pass begins when a file has this much, or this share of the largest map, or the last pass is so
# long ago. In memory it takes some times as much; the more there is, the more keys share a page.
_FOLD_BYTES: Final = 4 * 1024 * 1024
_FOLD_SHARE: Final = 1 / 64
_FOLD_AGE_S: Final = 5.0
_STRETCH_AGE_S: Final = 0.5  # how long a pass stands still when nothing comes
# A stretch is a transaction of its own, with two syncs: as many keys as make that a small part of
# it, and few enough to hold nobody up for long.
_STRETCH_KEYS: Final = 2000
_STRETCH_BYTES: Final = 1024 * 1024
# What a file keeps besides what begins a pass: as much as may come meanwhile, and its reserve.
_SLACK_BYTES: Final = 3 * 1024 * 1024
_PAGE_BYTES: Final = 4096
# Where the map is nearly full a stretch may be too much. The next is of fewer keys, down to these.
_LEAST_KEYS: Final = 8
# For each key, or byte, that is added two are folded in: a pass ends when half as much has come.
_PACE: Final = 2
# A key of a tree that grows is young for so long, or until the second pass from then has begun. A
# receipt is confirmed 1.0 to some 1.7 s after it was written.
_YOUNG_S: Final = 2.0
# What a pass spares is in so many files besides the one that is written; one more is free then.
_SPARED_FILES: Final = 2
# So that these have what has come in the time for which a key is young, passes begin no sooner,
_GAP_S: Final = _YOUNG_S / _SPARED_FILES
# unless a file has this much, or this share of the largest map: it is read again at a start, and
# what the pages lack must find its room there.
_MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_SHARE: Final = 1 / 256
# Where changes are larger than so many bytes on average, as in a flood of long messages, nothing is
# spared: what is in memory for that would be much, and receipts are little of it.
_BULKY_BYTES: Final = 1024
# Sparing lets files take more room, and pages lag behind by as much. So it is left where the disk
# has less free than this: far more than the reserve of sends and what the journals of all workers
# may take.
_PLENTY_BYTES: Final = 1024 * 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, dict[bytes, Value]]).decode


class Tail(NamedTuple):
    """The last record that a store has."""

    number: int
    checksum: int  # workers.store.journalfile.checksum_of


class Log(Protocol):
    """What has each record before this store does."""

    refusal: str  # why what asks for room should be refused; empty while there is enough

    @property
    def confirmed(self) -> int:
        """Up to which number the records are durable."""

    def append(self, number: int, payload: bytes) -> int:
        """Have the record of that number, the next one, on its way; there must be room for it.

        Return the number that it got: where it is higher, those between are empty records here.
        Nothing may be said of it until it is `confirmed`; whatever is raised, it may be yet.
        """


def open_readers(directory: Path, identity: bytes) -> list[JournalReader]:
    """Open the files of the store in `directory`: two, as long as it is of an earlier version.

    Raises:
        StoreDamaged: one is missing or not whole.
        OSError: one cannot be read.
    """
    readers: list[JournalReader] = []
    try:
        for name in FILE_NAMES:
            if name not in _EARLIER_NAMES and any(reader.is_earlier for reader in readers):
                break
            readers.append(JournalReader(directory / name, identity))
    except BaseException:
        for reader in readers:
            reader.close()
        raise
    return readers


def records_behind(
    folded: int, readers: Iterable[JournalReader], *, follows_log: bool = False
) -> list[Record]:
    """Return the records that are not in the pages, in order.

    Where the store follows a log, those up to the first that is missing.

    Raises:
        StoreDamaged: one is missing.
    """
    records = sorted(
        record for reader in readers for record in reader.records if record.number > folded
    )
    for expected, record in enumerate(records, start=folded + 1):
        if record.number != expected:
            if follows_log:
                return records[: expected - folded - 1]
            raise StoreDamaged(
                f"the journal is damaged: record {expected} is missing before {record.number}"
            )
    return records


def replay(
    records: Iterable[Record], trees: Mapping[str, Tree], add_tree: Callable[[str], Tree]
) -> None:
    """Put what the records say into the trees' memory.

    A tree that only they name, as pages may have lost it to a power cut and its extension be loaded
    no more, comes from `add_tree`, which raises StoreDamaged where there can be none of that name.

    Raises:
        StoreDamaged: one says what none was written to say.
    """
    for record in records:
        for tree, values in _changes(record, trees, add_tree):
            tree.recent.update(values)


def _changes(
    record: Record, trees: Mapping[str, Tree], add_tree: Callable[[str], Tree]
) -> list[tuple[Tree, dict[bytes, Value]]]:
    """Return what a record says; one of a log may be empty, as it says something of the log."""
    if not record.payload:
        return []
    changes = []
    try:
        for name, values in _decode(record.payload).items():
            tree = trees[name] if name in trees else add_tree(name)
            if not all(0 < len(key) <= MAX_KEY_BYTES for key in values):
                raise StoreDamaged(f"no page can have a key that `{name}` has there")
            changes.append((tree, values))
    except (msgspec.DecodeError, UnicodeDecodeError, StoreDamaged) as error:
        raise StoreDamaged(f"record {record.number} of the journal is damaged: {error}") from None
    return changes


class _Begun(NamedTuple):
    """A pass that has begun: when, the last sequence number given out and the last record then."""

    at_s: float
    seq: bytes
    tail: Tail


class Journal:
    """The files of one store, and the passes over them.

    Over 15 fields and over 25 methods, because both are one state: a pass makes good what a file
    has, and which file is written, and when the next pass begins, follows from how far the last one
    got.
    """

    def __init__(
        self,
        directory: Path,
        env: Any,
        meta: Any,
        trees: Mapping[str, Tree],
        add_tree: Callable[[str], Tree],
        *,
        durability: Durability,
        max_map_bytes: int,
    ) -> None:
        """Open the files of the store in `directory`, or make them for one that is new.

        `meta` is that tree's database. What the pages lack is in memory then. `add_tree` adds to
        `trees` one that only records name, and returns it.

        Raises:
            StoreDamaged: a file is not whole.
            OSError, lmdb.Error: one cannot be read, or made.
        """
        self._directory = directory
        self._env = env
        self._meta = meta
        self._trees = trees
        self._add_tree = add_tree
        self._follows_log = durability == "log"
        self._given_s = self._confirmed_in_s = 0.0  # when the log was given a record, and how long
        self._log: Log | None = None  # once it is this store that has records for it
        self._unconfirmed: deque[bytes] = deque()  # the records behind the last that it may lack
        self.adopt(max_map_bytes=max_map_bytes)
        # The pass: it is one while it is to make records good, up to this; and the keys that are
        # still to be folded in, in order.
        self._pass_to = 0
        # Behind that only what is young is left in memory alone.
        self._folds_to = Tail(0, 0)
        self._waiting: list[tuple[str, list[bytes]]] = []
        # How many keys, or bytes, it may go on by.
        self._earned_keys = self._earned_bytes = 0
        self._named_keys = 0  # keys that the records of the active file name
        self._due_s = time.monotonic() + _FOLD_AGE_S  # when it begins for age, or goes on by itself
        self.refusal = ""  # why the pages take no more
        with env.begin() as txn:
            identity = txn.get(IDENTITY_NAME, db=meta)
            folded = txn.get(FOLDED_NAME, db=meta)
            passing, tail = (txn.get(name, db=meta) for name in (PASS_NAME, TAIL_NAME))
        if identity is None:
            identity = self._create(directory)
        self._identity = identity
        self._folded = 0 if folded is None else unpack_seq(folded)
        # Where not each record is, by itself. What a process that was killed has written may be in
        # the kernel's memory alone.
        self._synced_to = self._folded
        self._files: list[JournalFile] = []
        if self._follows_log:
            self._renew_files()
        readers = open_readers(directory, identity)
        try:
            for reader in readers:
                reader.read_on()
            records = records_behind(self._folded, readers, follows_log=self._follows_log)
            self._last = records[-1].number if records else self._folded
            # Of the last record.
            self._tail = checksum_of(*records[-1]) if records else unpack_seq(tail) if tail else 0
            if self._follows_log:
                uncut = [reader.forget_behind(self._last) for reader in readers]
                if passing is not None and unpack_seq(passing) > self._last:
                    raise StoreDamaged(
                        f"its pages have some of up to record {unpack_seq(passing)}, but its"
                        f" journal ends with {self._last}"
                    )
            else:
                uncut = []
                _check_ends(readers, self._last)
                check_seal(directory, identity=identity, last=self._last, folded=self._folded)
            replay(records, trees, add_tree)
            if any(reader.is_earlier for reader in readers):
                _adopt_files(directory, identity)
                readers += [
                    JournalReader(directory / name, identity) for name in FILE_NAMES[len(readers) :]
                ]
            # By number: the last record of each file.
            self._lasts = [reader.records[-1].number if reader.records else 0 for reader in readers]
            synced = durability == "fsync"
            for reader, name in zip(readers, FILE_NAMES, strict=True):
                file = JournalFile(directory / name, reader.end, synced=synced)
                self._files.append(file)
                if synced and records:
                    file.sync_again(reader.written())
            for file, is_uncut in zip(self._files, uncut, strict=False):
                if is_uncut:
                    file.cut()
        except BaseException:
            self.close()
            raise
        finally:
            for reader in readers:
                reader.close()
        self._active = self._lasts.index(max(self._lasts))
        if self._lasts[self._active] <= self._folded:
            self._files[self._active].begin_anew()
        self._begun: list[_Begun] = []  # the last passes

    def _create(self, directory: Path) -> bytes:
        identity = os.urandom(IDENTITY_BYTES)
        for name in FILE_NAMES:
            create_journal_file(directory / name, identity)
        sync(directory)
        with self._env.begin(write=True) as txn:
            txn.put(IDENTITY_NAME, identity, db=self._meta)
        return identity

    def _renew_files(self) -> None:
        """Make those anew that are no journal of this store: the log has what they should."""
        for name in FILE_NAMES:
            path = self._directory / name
            try:
                JournalReader(path, self._identity).close()
            except StoreDamaged as error:
                log.get_logger().warning("journal.made_anew", reason=str(error))
                create_journal_file(path, self._identity)
                sync(self._directory)

    def begin_behind(self, number: bytes) -> None:
        """Take it that the pages have no sequence number over that, and none up to it is young."""
        for tree in self._trees.values():
            tree.stored_up_to = number
        self._begun = [_Begun(-math.inf, number, self.last)]

    def close(self) -> None:
        """Let the files go."""
        for file in self._files:
            file.close()

    def seal(self, directory: Path) -> None:
        """Note in `directory` how the files are left, once they are closed.

        What the log has needs no such note.

        Raises:
            DiskError, OSError: it cannot be noted.
        """
        if self._follows_log:
            return
        seal(directory, FILE_NAMES, identity=self._identity, last=self._last)

    def adopt(self, *, max_map_bytes: int) -> None:
        """Begin passes by what a store of that size should have in its journal."""
        share = int(max_map_bytes * _FOLD_SHARE)
        self._fold_bytes = min(_FOLD_BYTES, share)
        self._most_bytes = max(self._fold_bytes, min(_MOST_BYTES, int(max_map_bytes * _MOST_SHARE)))
        # Each key may have LMDB write a page anew before the old one is free.
        self._most_keys = self._stretch_keys = min(_STRETCH_KEYS, share // _PAGE_BYTES)

    @property
    def last(self) -> Tail:
        """The last record, or if there is none what is known of the one before."""
        return Tail(self._last, self._tail)

    @property
    def synced_number(self) -> int:
        """Up to which record a power cut would leave all; 0 where the store follows no log."""
        return self._synced_to if self._follows_log else 0

    @property
    def has_unfolded(self) -> bool:
        """Whether there is a record that the pages lack."""
        return self._last > self._folded

    @property
    def last_sync_s(self) -> float:
        """How long it took until the last record was durable, here or in a log; 0: none was."""
        if self._follows_log:
            return self._confirmed_in_s
        return self._files[self._active].last_sync_s

    @property
    def lack_of_room(self) -> str:
        """Why the disk takes no more, or the log; empty while they do."""
        lack = self.refusal or self._files[self._active].refusal
        if lack:
            return f"the store cannot be written: {lack}"
        return self._log.refusal if self._log is not None else ""

    # ------------------------------------------------------------------------------- the batch

    def follow(self, log: Log) -> None:
        """Append each record that is made here to the log; when that confirms it, it is here."""
        assert self._follows_log, "the store was not opened to follow one"
        self._log = log

    def commit(self) -> None:
        """Make what is `fresh` in the trees durable, as one record.

        Where this store follows a log it is on its way there; call `confirm` until it is durable.

        Raises:
            StoreWriteError: it may be stored or not; `abort` it, and open the store anew. The same
                of whatever a log raises.
        """
        changed = {name: tree.fresh for name, tree in self._trees.items() if tree.fresh}
        if not changed:
            self._files[self._active].last_sync_s = self._confirmed_in_s = 0.0
            return
        record = _encode(changed)
        if self._follows_log:
            assert self._log is not None, "a standby has no records of its own"
            self._given_s = time.perf_counter()
            number = self._log.append(self.given + 1, record)
            while self.given + 1 < number:
                self._unconfirmed.append(b"")
            self._unconfirmed.append(record)
        else:
            self._append(record)
        for name in changed:
            tree = self._trees[name]
            self._earned_keys += _PACE * len(tree.fresh)
            self._named_keys += len(tree.fresh)
            tree.keep()

    @property
    def given(self) -> int:
        """The number of the last record, be it confirmed or on its way."""
        return self._last + len(self._unconfirmed)

    def confirm(self) -> None:
        """Have the records here that the log has confirmed.

        Raises:
            StoreWriteError: one may be here or not; open the store anew.
        """
        confirmed = 0 if self._log is None else self._log.confirmed
        while self._unconfirmed and self._last < confirmed:
            self._append(self._unconfirmed[0])
            self._unconfirmed.popleft()
            if not self._unconfirmed:
                self._confirmed_in_s = time.perf_counter() - self._given_s

    def _append(self, record: bytes) -> None:
        self._tail = self._files[self._active].append(self._last + 1, record)
        self._earned_bytes += _PACE * len(record)
        self._last += 1
        self._lasts[self._active] = self._last

    def apply(self, number: int, payload: bytes) -> None:
        """Take the record of that number, the next one, from the log.

        Raises:
            StoreDamaged: it says what none was written to say. Nothing has changed.
            StoreWriteError: it may be here or not; open the store anew.
        """
        assert number == self._last + 1, f"record {number} does not follow {self._last}"
        changes = _changes(Record(number, payload), self._trees, self._add_tree)
        self._append(payload)
        for tree, values in changes:
            self._earned_keys += _PACE * len(values)
            self._named_keys += len(values)
            tree.fresh.update(values)
            tree.keep()

    def abort(self) -> None:
        """Forget what is `fresh`."""
        for tree in self._trees.values():
            tree.fresh.empty()

    # -------------------------------------------------------------------------------- the pass

    def fold(self, begin: Callable[[], Any], *, at_once: bool = False) -> bool:
        """Bring the pages up to date by a stretch, if it is time for one; tell whether it was.

        With `at_once` it is, whatever there is, and nothing is too young. While a record is not
        confirmed it never is. `begin` gives a transaction that writes them.

        Raises:
            lmdb.Error: the pages take no more. They are as before, and the records stay.
        """
        if self._unconfirmed or not (self._pass_to or self.has_unfolded):
            return False
        is_due = self._has_earned_a_stretch if self._pass_to else self._has_enough_for_a_pass
        if not (is_due or at_once or time.monotonic() >= self._due_s):
            return False
        if not self._pass_to:
            self._begin_pass(spares=is_due and not at_once and self._may_spare)
        elif at_once and self._folds_to.number < self._pass_to:
            self._begin_pass(spares=False)
        self._due_s = time.monotonic() + _STRETCH_AGE_S
        self._fold_stretch(begin)
        self._earned_keys = max(0, self._earned_keys - self._stretch_keys)
        self._earned_bytes = max(0, self._earned_bytes - _STRETCH_BYTES)
        return True

    @property
    def is_time_to_fold(self) -> bool:
        """Whether `fold` would, were everything confirmed."""
        if not (self._pass_to or self.has_unfolded):
            return False
        is_due = self._has_earned_a_stretch if self._pass_to else self._has_enough_for_a_pass
        return is_due or time.monotonic() >= self._due_s

    @property
    def _has_enough_for_a_pass(self) -> bool:
        used = self._files[self._active].used_bytes
        if used < self._fold_bytes:
            return False
        is_much = used >= self._most_bytes
        return is_much or time.monotonic() >= self._begun[-1].at_s + _GAP_S or not self._may_spare

    @property
    def _may_spare(self) -> bool:
        is_bulky = self._files[self._active].used_bytes > _BULKY_BYTES * self._named_keys
        return not is_bulky and free_bytes(self._directory) >= _PLENTY_BYTES

    @property
    def _has_earned_a_stretch(self) -> bool:
        return self._earned_keys >= self._stretch_keys or self._earned_bytes >= _STRETCH_BYTES

    def _begin_pass(self, *, spares: bool) -> None:
        self._pass_to = self._last
        self._earned_keys = self._earned_bytes = 0
        free = [each for each, last in enumerate(self._lasts) if last <= self._folded]
        if free and self._files[self._active].used_bytes:
            self._active = free[0]
            self._files[self._active].begin_anew()
            self._named_keys = 0
            kept = self._most_bytes if spares else self._fold_bytes
            self._files[self._active].give_back(kept + _SLACK_BYTES)
        seq = self._trees["meta"].get(SEQ_NAME) or b""
        self._begun.append(_Begun(time.monotonic(), seq, self.last))
        spared = self._spared() if spares and free else None
        self._folds_to = spared.tail if spared else self.last
        self._waiting = []
        for name, tree in self._trees.items():
            if tree.fleeting and spared:
                keys = _old(tree.recent, spared.seq)
            else:
                keys = tree.recent.between(b"", b"")
            if keys:
                self._waiting.append((name, keys))

    def _spared(self) -> _Begun:
        """Return the pass behind whose beginning keys are young.

        The files have what has come since: it is the last but so many of them, or a later one.
        """
        begun = self._begun
        del begun[: -1 - _SPARED_FILES]
        long_ago_s = begun[-1].at_s - _YOUNG_S
        old = [each for each in begun[1:] if each.at_s <= long_ago_s]
        return old[-1] if old else begun[0]

    def _fold_stretch(self, begin: Callable[[], Any]) -> None:
        if self._follows_log:
            self._sync()
        done: list[tuple[Tree, list[bytes]]] = []
        keys_left, bytes_left = self._stretch_keys, _STRETCH_BYTES
        try:
            with begin() as txn:
                while self._waiting and keys_left > 0 and bytes_left > 0:
                    name, keys = self._waiting[-1]
                    tree = self._trees[name]
                    count, size = tree.fold(txn, keys[:keys_left], max_bytes=bytes_left)
                    done.append((tree, keys[:count]))
                    del keys[:count]
                    if not keys:
                        self._waiting.pop()
                    keys_left -= count
                    bytes_left -= size
                is_last = not self._waiting
                if self._follows_log:
                    txn.put(PASS_NAME, pack_seq(self._last), db=self._meta)
                if is_last:
                    txn.put(FOLDED_NAME, pack_seq(self._folds_to.number), db=self._meta)
                    if self._follows_log:
                        txn.put(TAIL_NAME, pack_seq(self._folds_to.checksum), db=self._meta)
        except BaseException:
            self._waiting.clear()
            self._pass_to = 0
            self._stretch_keys = max(_LEAST_KEYS, self._stretch_keys // 2)
            raise
        self._stretch_keys = min(self._most_keys, 2 * self._stretch_keys)
        for tree, keys in done:
            tree.recent.forget_run(keys)
        if is_last:
            self._folded, self._pass_to = self._folds_to.number, 0
            self._due_s = time.monotonic() + _FOLD_AGE_S

    def _sync(self) -> None:
        """Have durable what is going to be in pages: of a key the last value, whenever it came."""
        for file, last in zip(self._files, self._lasts, strict=True):
            if last > self._synced_to:
                file.sync()
        self._synced_to = self._last

    def make_room(self) -> None:
        """Give the disk back what is not needed, and ask it again for what it refused."""
        for each, last in enumerate(self._lasts):
            if each != self._active and last <= self._folded:
                self._files[each].give_back(0)
        self._files[self._active].make_room()


def _adopt_files(directory: Path, identity: bytes) -> None:
    """Make four files of the two that a store of an earlier version has.

    Killed before the end, this begins anew: those that are added are empty until then.
    """
    break_seal(directory)
    for name in FILE_NAMES[len(_EARLIER_NAMES) :]:
        create_journal_file(directory / name, identity)
    sync(directory)
    for name in _EARLIER_NAMES:
        adopt_journal_file(directory / name)


def _check_ends(readers: list[JournalReader], last: int) -> None:
    """Make sure that no file has a record behind one that cannot be read."""
    for reader, name in zip(readers, FILE_NAMES, strict=False):
        later = reader.find_later(last)
        if later is not None:
            raise StoreDamaged(
                f"{name} is damaged at byte {reader.end}: record {later} is behind it"
            )


def _old(recent: Layer, young_from: bytes) -> list[bytes]:
    """Return the keys of a tree that grows which are to be folded in, in order.

    They came in the order of their numbers, nearly: one that came late may be taken for young. Its
    record is no older than those of the young ones before it.
    """
    keys = []
    for key in recent:
        if key[-SEQ_BYTES:] > young_from:
            break
        keys.append(key)
    keys.sort()
    return keys
