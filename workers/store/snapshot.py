"""Stores as they were at one moment, read-only, while their workers go on writing.

LMDB gives a reader its own version of the tree and never makes the writer wait; but what is freed
meanwhile cannot be used again, so a store grows for as long as a snapshot of it is kept under load.

Stores of several workers are of one moment if nothing that left one of them is missing in another.
An outbox entry leaves its store once the peer has confirmed it, and both keep count: the sender of
what was confirmed, the receiver of what it has applied. `pin` takes snapshots until the counts fit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import lmdb
import msgspec

from relay.errors import StoreDamaged
from workers.store.journal import FOLDED_NAME, IDENTITY_NAME, open_readers, records_behind, replay
from workers.store.journalfile import JournalReader, Record
from workers.store.keys import unpack_seq
from workers.store.schema import (
    APPLIED_NAME,
    CONFIRMED_NAME,
    FORGOTTEN_NAME,
    MARK_NAME,
    SEQ_NAME,
    TREES,
    Mark,
    decode_mark,
    make_trees,
)
from workers.store.storefile import inspect_store_file
from workers.store.tree import Tree

# Snapshots of all workers take less than a millisecond together, an entry on its way through two
# commits more: the first try is nearly always good.
_PIN_ATTEMPTS: Final = 100
_PIN_PAUSE_S: Final = 0.01

# How often the two files of a journal are read until they fit the pages.
_JOURNAL_ATTEMPTS: Final = 20
_COPY_MAP_BYTES: Final = 64 * 1024 * 1024

# What LMDB says of a file that is not as it left it; its other errors are the machine's.
_DAMAGE: Final = (
    lmdb.BadDbiError,
    lmdb.CorruptedError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.NotFoundError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.ProblemError,
    lmdb.VersionMismatchError,
)


class Snapshot:
    """One store at one moment; the moment is that of the latest `refresh`."""

    def __init__(self, directory: Path) -> None:
        """Open the store in `directory`, which may be in use.

        Raises:
            StoreDamaged: it is no whole store.
            OSError: it is missing or cannot be read.
        """
        inspect_store_file(directory)
        # The lock file tells the writer of its readers. Where there is none, as in a backup, no
        # worker has ever opened the store, and none is left there.
        in_use = (directory / "lock.mdb").exists()
        try:
            self._env = lmdb.open(
                str(directory),
                readonly=True,
                create=False,
                lock=in_use,
                max_dbs=len(TREES),
                subdir=True,
            )
        except lmdb.Error as error:
            raise _as_ours(error) from error
        self._directory = directory
        self._txn: Any = None
        self._readers: list[JournalReader] = []
        self._records: list[Record] = []
        self._replayed: dict[str, Tree] | None = None
        try:
            self._dbs: dict[str, Any] = {}
            for name in TREES:
                self._dbs[name] = self._env.open_db(name.encode(), create=False)
            self.refresh()
            self._check_journal()
        except lmdb.Error as error:
            self.close()
            raise _as_ours(error) from error
        except BaseException:
            self.close()
            raise

    def _open_journal(self) -> None:
        """Open the journal, which a store has once a worker has opened it."""
        identity = self._txn.get(IDENTITY_NAME, db=self._dbs["meta"])
        if identity is not None:
            self._readers = open_readers(self._directory, identity)

    def _check_journal(self) -> None:
        """Make sure that no record can be read behind one that cannot.

        Raises:
            StoreDamaged: one can.
        """
        last = self._records[-1].number if self._records else self._folded(self._txn)
        for reader in self._readers:
            later = reader.find_later(last)
            if later is not None:
                reader.read_on()
                if not reader.records or reader.records[-1].number < later:
                    raise StoreDamaged(
                        f"the journal is damaged: record {later} is behind what cannot be read"
                    )

    def refresh(self) -> None:
        """Move on to this moment.

        Raises:
            StoreDamaged: the journal is not whole.
        """
        self._end()
        self._replayed = None
        for attempt in range(_JOURNAL_ATTEMPTS):
            self._end()
            self._txn = self._begin()
            folded = self._folded(self._txn)
            try:
                if not self._readers:
                    self._open_journal()
                for reader in self._readers:
                    reader.read_on()
                self._records = records_behind(folded, self._readers)
            except StoreDamaged:
                # A record may have come to one file after that was read, and the next to the other.
                if attempt == _JOURNAL_ATTEMPTS - 1:
                    raise
                continue
            now = self._begin()
            is_the_same = self._folded(now) == folded
            now.abort()
            if is_the_same:
                return  # so no file was begun anew that had what these pages lack
        raise StoreDamaged("the journal was folded in faster than it could be read")

    def _begin(self) -> Any:
        """Return a transaction of this moment. The map can only be resized while there is none."""
        while True:
            try:
                return self._env.begin()
            except lmdb.MapResizedError:
                self._end()
                self._env.set_mapsize(0)  # the writer's

    def _folded(self, txn: Any) -> int:
        value = txn.get(FOLDED_NAME, db=self._dbs["meta"])
        return 0 if value is None else unpack_seq(value)

    @property
    def _trees(self) -> dict[str, Tree]:
        """The trees with what the journal adds, which is decoded when it is first asked for.

        Until then snapshots of several stores are taken one right behind the other.
        """
        if self._replayed is None:
            trees = make_trees(self._dbs)
            for tree in trees.values():
                tree.use(self._txn)
            replay(self._records, trees)
            self._replayed = trees
        return self._replayed

    def close(self) -> None:
        """Let the store go."""
        self._end()
        for reader in self._readers:
            reader.close()
        self._env.close()

    def _end(self) -> None:
        if self._txn is not None:
            self._txn.abort()
            self._txn = None

    def items(self, tree: str, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of a tree in order, from the key `first` on."""
        return self._trees[tree].scan(first)

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return one value; None also for what cannot be a key."""
        try:
            return self._trees[tree].get(key)
        except lmdb.BadValsizeError:
            return None

    def count(self, tree: str) -> int:
        """Return how many items a tree has."""
        return self._trees[tree].count()

    def used_bytes(self) -> int:
        """Return the size of all trees and of the journal, without what is free in their files."""
        pages = 0
        for db in self._dbs.values():
            stat = self._txn.stat(db)
            pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        used: int = pages * self._env.stat()["psize"]
        return used + sum(len(record.payload) for record in self._records)

    def copy(self, directory: Path) -> None:
        """Write the store, as of this snapshot's moment and with few free pages, to `directory`.

        What is in the journal is folded in: the copy has none.

        Raises:
            StoreDamaged: it cannot be read whole.
            OSError: it cannot be written.
        """
        try:
            self._env.copy(str(directory), compact=True, txn=self._txn)
            self._fold_into(directory)
        except lmdb.Error as error:
            raise _as_ours(error) from error

    def _fold_into(self, directory: Path) -> None:
        size = 2 * self.used_bytes() + _COPY_MAP_BYTES
        with lmdb.open(str(directory), map_size=size, max_dbs=len(TREES), lock=False) as env:
            dbs = {name: env.open_db(name.encode()) for name in TREES}
            with env.begin(write=True) as txn:
                for name, tree in make_trees(dbs).items():
                    tree.recent.update(self._trees[name].recent)
                    tree.fold(txn, tree.recent.between(b"", b""), max_bytes=sys.maxsize)
                txn.delete(IDENTITY_NAME, db=dbs["meta"])
                txn.delete(FOLDED_NAME, db=dbs["meta"])

    @property
    def unfolded(self) -> int:
        """How many records the journal has that the pages lack."""
        return len(self._records)

    def mark(self) -> Mark | None:
        """Return which store it says to be; None where it does not say."""
        try:
            return decode_mark(self.get("meta", MARK_NAME) or b"")
        except msgspec.DecodeError:
            return None

    def last_seq(self) -> int:
        """Return the highest sequence number that was given out."""
        return self._number(SEQ_NAME)

    def forgotten(self) -> int:
        """Return up to which seq messages have been forgotten."""
        return self._number(FORGOTTEN_NAME)

    def applied(self, peer: int) -> int:
        """Return up to which entry of a peer's outbox everything is stored here."""
        return self._number(APPLIED_NAME % peer)

    def confirmed(self, peer: int) -> int:
        """Return up to which entry of the outbox for a peer that peer has confirmed."""
        return self._number(CONFIRMED_NAME % peer)

    def _number(self, name: bytes) -> int:
        value = self.get("meta", name)
        return 0 if value is None else unpack_seq(value)


class Gap(NamedTuple):
    """Two stores that are not of one moment: one is older than what the other knows of it."""

    sender: int
    receiver: int
    older: int
    why: str


def pin(snapshots: Mapping[int, Snapshot], *, attempts: int = _PIN_ATTEMPTS) -> list[Gap]:
    """Bring the snapshots of several workers to one moment; return what stays in the way.

    There is nothing in the way unless a store has lost what it had: it was put back to an earlier
    state, or written with durability "os" and then the power failed.
    """
    for attempt in range(attempts):
        if attempt:
            time.sleep(_PIN_PAUSE_S)
        for snapshot in snapshots.values():
            snapshot.refresh()
        gaps = list(find_gaps(snapshots))
        if not gaps:
            break
    return gaps


def find_gaps(snapshots: Mapping[int, Snapshot]) -> Iterator[Gap]:
    """Yield every pair of stores that are not of one moment."""
    for sender, sent in snapshots.items():
        last = sent.last_seq()
        for receiver, received in snapshots.items():
            if receiver == sender:
                continue
            applied, confirmed = received.applied(sender), sent.confirmed(receiver)
            if confirmed > applied:
                why = (
                    f"worker {sender} was told that everything up to {confirmed} is stored here,"
                    f" but only what is up to {applied} is"
                )
                yield Gap(sender, receiver, receiver, why)
            if applied > last:
                why = (
                    f"worker {receiver} has stored the entry {applied} of worker {sender}, which"
                    f" has got no further than {last}"
                )
                yield Gap(sender, receiver, sender, why)


def _as_ours(error: lmdb.Error) -> Exception:
    return StoreDamaged(str(error)) if isinstance(error, _DAMAGE) else OSError(0, str(error))
