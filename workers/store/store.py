"""The durable state of one worker: an LMDB environment and a journal, written a batch at a time.

Everything that a drained inbox changes is one record of the journal, fsynced by `commit` before any
effect of it may leave the process (I1). LMDB's pages are brought up to date from there later
(workers.store.journal). In a cluster a majority of the hosts has the record first, and what is here
is a copy that is always a beginning of that log. Trees, by what they hold (workers.store.schema):

    mail      box + seq           -> a queued entry (workers.shard.mailbox)
    boxes     box                 -> totals of an absent user's mailbox
    receipts  box + id, acker     -> seq of an absent author's receipt, to replace it
    messages  id, author, ...     -> what is known of a message towards one recipient
    expiry    seq                 -> the keys of `messages` that one batch added
    bodies    seq                 -> one group message, however many mailboxes hold it
    holders   seq                 -> how many mailboxes do
    outbox    worker + seq        -> what a peer has not yet stored
    meta      name                -> counters of the worker itself, and which store this is

And those of extensions, each named EXTENSION.TREE (workers.store.owned). The trees of an extension
that is loaded no more are kept as they are, and what the journal says of them is still folded in.

`python -m workers.store` are the operator's tools for it (`workers.tools`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import lmdb
import msgspec

from relay.disk.files import take_lock
from relay.errors import BootError, StoreDamaged, StoreForeign
from relay.settings.sizes import KIB
from workers.store.batch import Batch
from workers.store.environment import inner_bytes, open_environment, tree_bytes
from workers.store.journal import IDENTITY_NAME, LOG_NAME, Durability, Journal, Log, Tail
from workers.store.keys import pack_seq
from workers.store.meta import MARK_NAME, SEQ_NAME, Mark, decode_mark
from workers.store.owned import OwnedTree
from workers.store.schema import MAX_TREES, ROWS, TreeRow, names_in, row_of
from workers.store.seal import break_seal
from workers.store.storefile import FILE_NAME, inspect_store_file
from workers.store.tree import Tree

# A store may still be held by a process of a supervisor that was killed: as it stops, or even as it
# starts, which on a busy machine and disk takes seconds before it looks whom it serves.
LOCK_WAIT_S: Final = 15.0
# A disk with less may have refused one of LMDB's writes, which are of 256 KiB at most.
_FULL_BELOW_BYTES: Final = 256 * KIB
# Where a copy is made that is to replace the store (workers.tools.compact); it does not count.
UNFINISHED: Final = "compacted"


class Held(NamedTuple):
    """How much a tree holds."""

    entries: int
    size: int  # bytes of its pages, and of what they lack


class Writing:
    """A batch that is being written. By hand: `contextmanager` takes twice as long."""

    __slots__ = ("_batch",)

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __enter__(self) -> Batch:
        return self._batch

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._batch.abort()
            return
        try:
            self._batch.commit()
        except BaseException:
            self._batch.abort()
            raise


class Store:
    """One worker's LMDB environment and the lock that keeps every other process out (I8).

    Over 25 methods: batches, passes and records are one state, and each has its few questions.
    """

    def __init__(
        self,
        directory: Path,
        *,
        durability: Durability,
        map_bytes: int,
        max_map_bytes: int,
        lock_wait_s: float = 0,
        mark: Mark | None = None,
        owned: Iterable[TreeRow] = (),
    ) -> None:
        """Open the store in `directory`, waiting that long for another's lock on it.

        With a `mark` it must be there and bear it. Without, it is created if it is missing. `owned`
        are the trees of the extensions that are loaded (`workers.store.schema.rows_of`). With the
        durability "log" it takes records by `apply` alone, until it is to `follow` a log.

        Raises:
            BootError: another process holds it, or it cannot be read or written, or it is not
                whole, or not the one that is asked for. Nothing changed.
        """
        self._directory = directory
        self._max_map_bytes = max_map_bytes
        self._durability: Durability = durability
        self._is_synced = durability != "os"
        self._lock_file = lock_store(directory, wait_s=lock_wait_s, create=mark is None)
        try:
            shutil.rmtree(directory / UNFINISHED, ignore_errors=True)
            self._open(directory, map_bytes, mark, owned)
        except BaseException:
            os.close(self._lock_file)
            raise

    def _open(
        self, directory: Path, map_bytes: int, mark: Mark | None, owned: Iterable[TreeRow]
    ) -> None:
        try:
            try:
                inspect_store_file(directory)
            except FileNotFoundError:
                if mark is not None:
                    raise
            self._env = open_environment(
                directory,
                map_size=map_bytes,
                max_dbs=MAX_TREES,
                sync=self._is_synced,
                metasync=self._is_synced,
            )
        except (lmdb.Error, StoreDamaged, OSError) as error:
            raise unusable(directory, error) from error
        try:
            self._open_trees(owned)
            self._open_journal(directory, mark)
        except (lmdb.Error, StoreDamaged, OSError) as error:
            self._env.close()
            raise unusable(directory, error) from error
        except BaseException:
            self._env.close()
            raise

    def _open_trees(self, owned: Iterable[TreeRow]) -> None:
        """Open the trees that a store has, those of `owned`, and what else is in the pages."""
        self._dbs: dict[str, Any] = {}
        self._trees: dict[str, Tree] = {}
        for row in ROWS:
            self._add_tree(row)
        # By name, for batches; those of an extension that is loaded no more are nobody's.
        self._owned = {row.name: OwnedTree(row.name, self._add_tree(row)) for row in owned}
        with self._env.begin() as txn:
            found = names_in(txn)
        for name in found:
            if name not in self._trees:
                self._add_tree(row_of(name))

    def _add_tree(self, row: TreeRow) -> Tree:
        self._dbs[row.name] = self._env.open_db(row.name.encode())
        tree = self._trees[row.name] = Tree(
            self._dbs[row.name], grows=row.grows, fleeting=row.fleeting
        )
        return tree

    def _add_missing_tree(self, name: str) -> Tree:
        tree = self._add_tree(row_of(name))
        self._renew()  # a transaction sees only what was opened before it began
        return tree

    def _open_journal(self, directory: Path, mark: Mark | None) -> None:
        if self._is_synced:
            # An earlier process may have died, or been told to trust the kernel, before this was on
            # the disk; the journal of what is in it may be written over from here on.
            self._env.sync(True)
        self._read: Any = None
        self._renew()
        if mark is not None:
            self._check_mark(directory, mark)
        self._check_log(directory)
        self._journal = Journal(
            directory,
            self._env,
            self._dbs["meta"],
            self._trees,
            self._add_missing_tree,
            durability=self._durability,
            max_map_bytes=self._max_map_bytes,
        )
        # One for all: to make it takes as long as to store a message.
        self._batch = Batch(self._trees, self._owned, self._journal)
        try:
            self._journal.begin_behind(pack_seq(self.begin().last_seq()))
            self.grow()
            break_seal(directory)
        except BaseException:
            self._journal.close()
            raise

    def _renew(self) -> None:
        """Read the pages as they are now."""
        if self._read is not None:
            self._read.abort()
        self._read = self._env.begin()
        for tree in self._trees.values():
            tree.use(self._read)

    def _check_mark(self, directory: Path, wanted: Mark) -> None:
        try:
            found = decode_mark(self._trees["meta"].get(MARK_NAME) or b"")
        except msgspec.DecodeError:
            raise unusable(directory, "it does not say whose store it is") from None
        if found.format != wanted.format:
            raise unusable(directory, StoreForeign(f"it has {found.format}, not {wanted.format}"))
        if found != wanted:
            raise unusable(directory, f"it is the store of {found}, not of {wanted}")

    def _check_log(self, directory: Path) -> None:
        """Make sure that a store has either the records of a log or its own, never both."""
        meta = self._trees["meta"]
        if self._durability == "log" and meta.get(LOG_NAME) is None:
            if meta.get(IDENTITY_NAME) is not None or any(meta.get(SEQ_NAME) or b""):
                raise BootError(
                    f"{directory} is the store of a relay on one host: start it without [cluster],"
                    " or move the data directory away to begin as a host of a cluster"
                )
            with self._env.begin(write=True) as txn:
                txn.put(LOG_NAME, b"", db=self._dbs["meta"])
            self._renew()
        elif self._durability != "log" and meta.get(LOG_NAME) is not None:
            raise BootError(
                f"{directory} is the store of a range of a cluster: only the range's log says what"
                " goes into it, so it is written on a host of the cluster alone"
            )

    def close(self, *, seals: bool = False) -> None:
        """Release the environment and the lock; in mode "os" sync what the kernel still holds.

        In an orderly stop it `seals` the journal: damage that comes after is told from a power cut.

        Raises:
            DiskError, OSError: that cannot be noted. All is released.
        """
        try:
            self._journal.close()
            self._read.abort()
            if not self._is_synced:
                self._env.sync(True)
            self._env.close()
            if seals:
                self._journal.seal(self._directory)
        finally:
            os.close(self._lock_file)

    @property
    def last(self) -> Tail:
        """The last record that is here, by number and checksum."""
        return self._journal.last

    @property
    def last_number(self) -> int:
        """The number of the last record that is here."""
        return self._journal.last.number

    @property
    def synced_number(self) -> int:
        """Up to which record of the log it follows a power cut would leave all here."""
        return self._journal.synced_number

    def apply(self, number: int, payload: bytes) -> None:
        """Take a record of the log, the next one; empty where it is about the log itself.

        Between batches only; call `fold` now and then.

        Raises:
            StoreDamaged: it says what none was written to say. Nothing has changed.
            StoreWriteError: it may be here or not; open the store anew.
        """
        self._journal.apply(number, payload)

    def follow(self, log: Log) -> None:
        """Have each commit, from here on, in the log before it is here.

        A commit only sends it there. The next batches see it at once, but nothing may be said of it
        until `confirm` has brought `last_number` as far as `given` was behind it. A commit raises
        what the log does, too; then open the store anew.
        """
        self._journal.follow(log)

    @property
    def given(self) -> int:
        """The number of the last record that was committed, be it confirmed or not."""
        return self._journal.given

    def confirm(self) -> None:
        """Take it that the log may have confirmed more; between batches only.

        Raises:
            StoreWriteError: the disk refuses it; open the store anew.
        """
        self._journal.confirm()

    def begin(self) -> Batch:
        """Start the one batch that may be open."""
        self._batch.begin()
        return self._batch

    def writing(self) -> Writing:
        """Give a batch that is committed at the end, or undone where anything is raised.

        Raises:
            StoreWriteError: it could not be written; see `Batch.commit`.
        """
        return Writing(self.begin())

    @contextmanager
    def reading(self) -> Iterator[Batch]:
        """Give a batch of which nothing is stored, whatever it writes."""
        batch = self.begin()
        try:
            yield batch
        finally:
            batch.abort()

    def adopt(self, *, max_map_bytes: int) -> None:
        """Grow up to another size from here on; a map that is larger already stays."""
        self._max_map_bytes = max_map_bytes
        self._journal.adopt(max_map_bytes=max_map_bytes)

    @property
    def has_unfolded(self) -> bool:
        """Whether something is in the journal that the trees' pages lack."""
        return self._journal.has_unfolded

    @property
    def has_readers(self) -> bool:
        """Whether another process reads the pages: a check, a backup."""
        self._env.reader_check()
        ours = str(os.getpid())
        lines: list[str] = self._env.readers().splitlines()[1:]
        return any(line.split()[0] != ours for line in lines if line.strip())

    @property
    def refusal(self) -> str:
        """Why the disk, the map or the log takes no more, as far as is known; else empty."""
        return self._journal.lack_of_room

    @property
    def last_sync_s(self) -> float:
        """How long the last sync of a batch took; 0: there was none."""
        return self._journal.last_sync_s

    @property
    def is_time_to_fold(self) -> bool:
        """Whether `fold` has something to do once everything is confirmed."""
        return not self._journal.refusal and self._journal.is_time_to_fold

    def fold(self, *, at_once: bool = False) -> bool:
        """Bring the pages up to date by as much as it is time for; between batches only.

        Tell whether it was time for any, which it is not while something is not confirmed. Where
        they take no more, `refusal` says so, and only `at_once` tries again.
        """
        if self._journal.refusal and not at_once:
            return False
        has_folded = False
        try:
            while self._journal.fold(self._begin_write, at_once=at_once):
                has_folded = True
                self._journal.refusal = ""
                at_once = False
                # Each time: what is read would keep pages that were freed from being used again.
                self._renew()
                self.grow()
        except lmdb.Error as error:
            if not is_write_error(error):
                raise
            self._journal.refusal = self._reason(error)
            self._renew()
            self.grow()
        return has_folded

    def _reason(self, error: lmdb.Error) -> str:
        """Return why a write failed: LMDB calls a disk that is full an input/output error."""
        free = shutil.disk_usage(self._directory).free
        if free < _FULL_BELOW_BYTES and not isinstance(error, lmdb.MapFullError):
            return f"the disk is full, {free} bytes are free"
        return str(error)

    def _begin_write(self) -> Any:
        return self._env.begin(write=True)

    def seek_room(self) -> None:
        """Ask the disk again for what it refused, and free what was removed."""
        self.fold(at_once=True)
        self._journal.make_room()

    def held(self, name: str) -> Held:
        """Return what a tree that grows holds now; looks at what the pages lack, key by key."""
        with self._env.begin() as txn:
            stat = txn.stat(self._dbs[name])
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        unfolded = self._trees[name].unfolded()
        return Held(stat["entries"] + unfolded.keys, pages * stat["psize"] + unfolded.size)

    def used_bytes(self) -> int:
        """Return how much of the map holds something; what was freed does not count."""
        with self._env.begin() as txn:
            return tree_bytes(self._env, txn, self._dbs.values())

    def inner_bytes(self, used_bytes: int) -> int:
        """Return how much of the file was freed, where it uses so many bytes (`used_bytes`)."""
        return inner_bytes(self._env, used_bytes)

    def grow(self) -> None:
        """Double the map while over half of it is used, so that no stretch meets its end.

        Between transactions only. At `max_map_bytes` it stays, and LMDB refuses what does not fit.
        """
        # A reader that was killed (a check, a backup) would keep pages from being used again.
        self._env.reader_check()
        info = self._env.info()
        used = info["last_pgno"] * self._env.stat()["psize"]
        size = info["map_size"]
        while used > size // 2 and size < self._max_map_bytes:
            size = min(size * 2, self._max_map_bytes)
        if size != info["map_size"]:
            self._read.abort()
            self._read = None
            self._env.set_mapsize(size)
            self._renew()


def lock_store(directory: Path, *, wait_s: float, create: bool = False) -> int:
    """Keep every other process from writing the store in `directory`; return the lock's descriptor.

    Raises:
        BootError: it is missing, cannot be written, or another process has it all that time.
    """
    try:
        if create:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return take_lock(directory / "lock", wait_s=wait_s)
    except FileNotFoundError:
        raise unusable(directory, "its directory is missing") from None
    except OSError as error:
        raise BootError(f"{directory} cannot be written: {error.strerror}") from None


def unusable(directory: Path, reason: object) -> BootError:
    """Return the error that names the file of a store, what is wrong with it and what to do."""
    if isinstance(reason, FileNotFoundError):
        reason = "it is missing"
    elif isinstance(reason, OSError):
        reason = reason.strerror
    elif isinstance(reason, StoreForeign):
        return BootError(
            f"{directory / FILE_NAME} is of another format: {reason}; nothing is damaged, and"
            " nothing was changed: start the version that wrote it"
        )
    # The whole directory, because stores know of each other how far they have got.
    return BootError(
        f"{directory / FILE_NAME} cannot be used: {reason}; restore the data directory from a"
        " backup, or move it away as a whole to start empty"
    )


def is_write_error(error: lmdb.Error) -> bool:
    """Tell a write that the kernel refused, or a full map, from a bug.

    Of what the kernel says, EIO, EFBIG and the like have no class of their own in LMDB.
    """
    return type(error) in (lmdb.Error, lmdb.DiskError, lmdb.MapFullError)
