"""A store as it was at one moment, read-only, while its worker goes on writing.

LMDB gives a reader its own version of the tree and never makes the writer wait; but what is freed
meanwhile cannot be used again, so a store grows for as long as a snapshot of it is kept under load.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import lmdb
import msgspec

from relay.bus.envelopes import NO_SEQ, Seq
from relay.errors import StoreDamaged
from workers.store.environment import open_environment, tree_bytes
from workers.store.journal import (
    FILE_NAMES,
    FOLDED_NAME,
    IDENTITY_NAME,
    LOG_NAME,
    PASS_NAME,
    TAIL_NAME,
    Tail,
    open_readers,
    records_behind,
    replay,
)
from workers.store.journalfile import JournalReader, Record, checksum_of
from workers.store.keys import pack_seq, unpack_seq
from workers.store.meta import (
    APPLIED_NAME,
    CONFIRMED_NAME,
    FORGOTTEN_NAME,
    MARK_NAME,
    SEQ_NAME,
    Mark,
    decode_mark,
)
from workers.store.schema import MAX_TREES, ROWS, TreeRow, names_in, row_of
from workers.store.seal import check_seal
from workers.store.storefile import inspect_store_file
from workers.store.tree import Tree

# How often the two files of a journal are read until they fit the pages.
_JOURNAL_ATTEMPTS: Final = 20
_COPY_MAP_BYTES: Final = 64 * 1024 * 1024

# What LMDB says of a file that is not as it left it; its other errors are the machine's.
DAMAGE: Final = (
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


class _NoPages:
    """Stands for a transaction where a tree is read that only the journal names."""

    def get(self, key: bytes, *, db: Any) -> None:
        return None

    def stat(self, db: Any) -> dict[str, int]:
        return {"entries": 0}

    @contextmanager
    def cursor(self, db: Any) -> Iterator[_NoPages]:
        yield self

    def first(self) -> bool:
        return False

    def set_range(self, first: bytes) -> bool:
        return False


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
            self._env = open_environment(
                directory, readonly=True, create=False, lock=in_use, max_dbs=MAX_TREES
            )
        except lmdb.Error as error:
            raise _as_ours(error) from error
        self._directory = directory
        self._txn: Any = None
        self._readers: list[JournalReader] = []
        self._records: list[Record] = []
        self.follows_log = False  # whether it is that of a range of a cluster
        self._replayed: dict[str, Tree] | None = None
        try:
            self._dbs: dict[str, Any] = {}
            for row in ROWS:
                self._dbs[row.name] = self._env.open_db(row.name.encode(), create=False)
            self.refresh()
            self._check_journal()
        except lmdb.Error as error:
            self.close()
            raise _as_ours(error) from error
        except BaseException:
            self.close()
            raise

    def _open_journal(self) -> None:
        """Open the journal, which a store has once a worker has opened it.

        That of an earlier version gets more files then: it is looked at anew.
        """
        for reader in self._readers:
            reader.close()
        self._readers = []
        identity = self._txn.get(IDENTITY_NAME, db=self._dbs["meta"])
        if identity is not None:
            self._readers = open_readers(self._directory, identity)

    def _check_journal(self) -> None:
        """Make sure that no record can be read behind one that cannot, nor is lost since a stop.

        Raises:
            StoreDamaged: one can, or an orderly stop left the files otherwise.
        """
        if self.follows_log:
            return  # which has what is lost here
        last = self._records[-1].number if self._records else _folded(self._txn, self._dbs)
        for reader in self._readers:
            later = reader.find_later(last)
            if later is not None:
                reader.read_on()
                if not reader.records or reader.records[-1].number < later:
                    raise StoreDamaged(
                        f"the journal is damaged: record {later} is behind what cannot be read"
                    )
        identity = self._txn.get(IDENTITY_NAME, db=self._dbs["meta"])
        if identity is not None:
            folded = _folded(self._txn, self._dbs)
            check_seal(self._directory, identity=identity, last=last, folded=folded)

    def refresh(self) -> None:
        """Move on to this moment.

        Raises:
            StoreDamaged: the journal is not whole.
        """
        self._end()
        self._replayed = None
        for attempt in range(_JOURNAL_ATTEMPTS):
            self._end()
            self._txn = self._begin_with_all_trees()
            folded = _folded(self._txn, self._dbs)
            self.follows_log = self._txn.get(LOG_NAME, db=self._dbs["meta"]) is not None
            try:
                if len(self._readers) < len(FILE_NAMES):
                    self._open_journal()
                for reader in self._readers:
                    reader.read_on()
                self._records = records_behind(folded, self._readers, follows_log=self.follows_log)
            except StoreDamaged:
                # A record may have come to one file after that was read, and the next to the other.
                if attempt == _JOURNAL_ATTEMPTS - 1:
                    raise
                continue
            now = self._begin()
            is_the_same = _folded(now, self._dbs) == folded
            now.abort()
            if is_the_same and self._txn is not None:  # which ends where the map was resized
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

    def _begin_with_all_trees(self) -> Any:
        """Return a transaction of this moment, in which every tree that it has is open."""
        while True:
            txn = self._begin()
            new = [row_of(name) for name in names_in(txn) if name not in self._dbs]
            if not new:
                return txn
            # A transaction sees only what was opened before it began.
            txn.abort()
            for row in new:
                self._dbs[row.name] = self._env.open_db(row.name.encode(), create=False)

    @property
    def _trees(self) -> dict[str, Tree]:
        """The trees with what the journal adds, which is decoded when it is first asked for.

        Until then snapshots of several stores are taken one right behind the other.
        """
        if self._replayed is None:
            # Whether one grows matters to its writer alone.
            trees = {name: Tree(db, grows=False) for name, db in self._dbs.items()}
            for tree in trees.values():
                tree.use(self._txn)

            def add_tree(name: str) -> Tree:
                tree = trees[row_of(name).name] = Tree(None, grows=False)
                tree.use(_NoPages())
                return tree

            replay(self._records, trees, add_tree)
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

    @property
    def rows(self) -> tuple[TreeRow, ...]:
        """The trees that the store has: its own, then those of extensions, by name."""
        own = {row.name for row in ROWS}
        return (*ROWS, *(row_of(name) for name in sorted(self._trees.keys() - own)))

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
        used = tree_bytes(self._env, self._txn, self._dbs.values())
        return used + sum(len(record.payload) for record in self._records)

    def live_bytes(self) -> int:
        """Return about what the trees take once the journal is folded in; looks at all it has."""
        live = tree_bytes(self._env, self._txn, self._dbs.values())
        for name, tree in self._trees.items():
            db = self._dbs.get(name)
            for key, value in tree.recent.items():
                before = None if db is None else self._txn.get(key, db=db)
                live += len(value or b"") - len(before or b"")
                live += len(key) * ((value is not None) - (before is not None))
        return max(live, 0)

    def copy(self, directory: Path) -> None:
        """Write the store, as of this snapshot's moment and with few free pages, to `directory`.

        What is in the journal is folded in: the copy has none. That of a store that follows a log
        goes on behind the same record.

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
        with open_environment(directory, map_size=size, max_dbs=MAX_TREES, lock=False) as env:
            dbs = {name: env.open_db(name.encode()) for name in self._trees}
            with env.begin(write=True) as txn:
                for name, ours in self._trees.items():
                    tree = Tree(dbs[name], grows=False)
                    tree.recent.update(ours.recent)
                    tree.fold(txn, tree.recent.between(b"", b""), max_bytes=sys.maxsize)
                for key in (IDENTITY_NAME, FOLDED_NAME, PASS_NAME, TAIL_NAME):
                    txn.delete(key, db=dbs["meta"])
                if self.follows_log:
                    txn.put(FOLDED_NAME, pack_seq(self.last.number), db=dbs["meta"])
                    txn.put(TAIL_NAME, pack_seq(self.last.checksum), db=dbs["meta"])

    @property
    def last(self) -> Tail:
        """The last record that it has; its checksum is 0 where only a log's would be known."""
        if self._records:
            record = self._records[-1]
            return Tail(record.number, checksum_of(*record))
        tail = self._txn.get(TAIL_NAME, db=self._dbs["meta"])
        return Tail(_folded(self._txn, self._dbs), 0 if tail is None else unpack_seq(tail))

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

    def last_seq(self) -> Seq:
        """Return the highest sequence number that was given out."""
        return self.number(SEQ_NAME)

    def forgotten(self) -> Seq:
        """Return up to which seq messages have been forgotten."""
        return self.number(FORGOTTEN_NAME)

    def applied(self, peer: int) -> Seq:
        """Return up to which entry of a peer's outbox everything is stored here."""
        return self.number(APPLIED_NAME % peer)

    def confirmed(self, peer: int) -> Seq:
        """Return up to which entry of the outbox for a peer that peer has confirmed."""
        return self.number(CONFIRMED_NAME % peer)

    def number(self, name: bytes) -> Seq:
        """Return one of the counters that a store keeps of itself (workers.store.meta)."""
        value = self.get("meta", name)
        return NO_SEQ if value is None else unpack_seq(value)


def _folded(txn: Any, dbs: Mapping[str, Any]) -> int:
    """Return up to which record everything is in the pages."""
    value = txn.get(FOLDED_NAME, db=dbs["meta"])
    return 0 if value is None else unpack_seq(value)


def _as_ours(error: lmdb.Error) -> Exception:
    return StoreDamaged(str(error)) if isinstance(error, DAMAGE) else OSError(0, str(error))
