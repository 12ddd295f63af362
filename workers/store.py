"""The durable state of one worker: an LMDB environment and a journal, written a batch at a time.

Everything that a drained inbox changes is one record of the journal, fsynced by `commit` before any
effect of it may leave the process (I1). LMDB's pages are brought up to date from there later
(workers.journal). Trees, by what they hold:

    mail      box + seq           -> a queued entry (workers.mailbox)
    boxes     box                 -> totals of an absent user's mailbox
    receipts  box + id, acker     -> seq of an absent author's receipt, to replace it
    messages  id, author, ...     -> what is known of a message towards one recipient
    expiry    seq                 -> the keys of `messages` that one batch added
    bodies    seq                 -> one group message, however many mailboxes hold it
    holders   seq                 -> how many mailboxes do
    outbox    worker + seq        -> what a peer has not yet stored
    meta      name                -> counters of the worker itself, and which store this is

`python -m workers.store` are the operator's tools for it (`workers.tools`).
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import Any, Final, Literal

import lmdb
import msgspec

from relay.errors import BootError
from relay.layout import DATA_FORMAT
from workers.journal import Journal
from workers.keys import LAST_SEQ, SEQ_BYTES, pack_seq, unpack_seq
from workers.storefile import FILE_NAME, StoreDamaged, inspect_store_file
from workers.tree import Tree

TREES: Final = (
    "mail",
    "boxes",
    "receipts",
    "messages",
    "expiry",
    "bodies",
    "holders",
    "outbox",
    "meta",
)
# Those whose keys all end in sequence numbers.
GROWING_TREES: Final = frozenset({"mail", "expiry", "bodies", "holders", "outbox"})

# Keys of the tree `meta`.
SEQ_NAME: Final = b"seq"
FORGOTTEN_NAME: Final = b"forgotten"
MARK_NAME: Final = b"mark"
APPLIED_NAME: Final = b"applied:%d"
CONFIRMED_NAME: Final = b"confirmed:%d"

# A store may still be held by a process of a supervisor that was killed: as it stops, or even as it
# starts, which on a busy machine and disk takes seconds before it looks whom it serves.
LOCK_WAIT_S: Final = 15.0
_LOCK_RETRY_S = 0.02
_COUNT = Struct(">I")

pack_count = _COUNT.pack


def unpack_count(value: bytes) -> int:
    """Return a number of holders."""
    count: int
    (count,) = _COUNT.unpack(value)
    return count


# The values of the tree `expiry`.
encode_keys = msgspec.msgpack.Encoder().encode
decode_keys = msgspec.msgpack.Decoder(list[bytes]).decode


class Mark(msgspec.Struct, frozen=True):
    """Which store this is, written in it: one in another's place is told from the right one."""

    generation: int
    workers: int
    index: int
    format: int = DATA_FORMAT

    def __str__(self) -> str:
        return f"worker {self.index} of {self.workers}, generation {self.generation}"


encode_mark = msgspec.json.Encoder().encode
decode_mark = msgspec.json.Decoder(Mark).decode


class Store:
    """One worker's LMDB environment and the lock that keeps every other process out (I8)."""

    def __init__(
        self,
        directory: Path,
        *,
        durability: Literal["fsync", "os"],
        map_bytes: int,
        max_map_bytes: int,
        lock_wait_s: float = 0,
        mark: Mark | None = None,
    ) -> None:
        """Open the store in `directory`, waiting that long for another's lock on it.

        With a `mark` it must be there and bear it. Without, it is created if it is missing.

        Raises:
            BootError: another process holds it, or it cannot be read or written, or it is not
                whole, or not the one that is asked for. Nothing changed.
        """
        self._max_map_bytes = max_map_bytes
        self._is_synced = durability == "fsync"
        self._lock_file = lock_store(directory, wait_s=lock_wait_s, create=mark is None)
        try:
            self._open(directory, durability == "fsync", map_bytes, mark)
        except BaseException:
            os.close(self._lock_file)
            raise

    def _open(self, directory: Path, synced: bool, map_bytes: int, mark: Mark | None) -> None:
        try:
            try:
                inspect_store_file(directory)
            except FileNotFoundError:
                if mark is not None:
                    raise
            self._env = lmdb.open(
                str(directory),
                map_size=map_bytes,
                max_dbs=len(TREES),
                sync=synced,
                metasync=synced,
                subdir=True,
            )
        except (lmdb.Error, StoreDamaged, OSError) as error:
            raise unusable(directory, error) from error
        try:
            self._dbs = {name: self._env.open_db(name.encode()) for name in TREES}
            self._trees = make_trees(self._dbs)
            self._open_journal(directory, synced, mark)
        except (lmdb.Error, StoreDamaged, OSError) as error:
            self._env.close()
            raise unusable(directory, error) from error
        except BaseException:
            self._env.close()
            raise

    def _open_journal(self, directory: Path, synced: bool, mark: Mark | None) -> None:
        if synced:
            # An earlier process may have died, or been told to trust the kernel, before this was on
            # the disk; the journal of what is in it may be written over from here on.
            self._env.sync(True)
        self._read: Any = None
        self._renew()
        if mark is not None:
            self._check_mark(directory, mark)
        self._journal = Journal(
            directory,
            self._env,
            self._dbs["meta"],
            self._trees,
            synced=synced,
            max_map_bytes=self._max_map_bytes,
        )
        try:
            self._journal.stored_up_to = pack_seq(self.begin().last_seq())
            self.grow()
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
        if found != wanted:
            raise unusable(directory, f"it is the store of {found}, not of {wanted}")

    def close(self) -> None:
        """Release the environment and the lock; in mode "os" sync what the kernel still holds."""
        self._journal.close()
        self._read.abort()
        if not self._is_synced:
            self._env.sync(True)
        self._env.close()
        os.close(self._lock_file)

    def begin(self) -> Batch:
        """Start the one batch that may be open."""
        return Batch(self._trees, self._journal)

    @contextmanager
    def writing(self) -> Iterator[Batch]:
        """Give a batch that is committed at the end, or undone where anything is raised.

        Raises:
            StoreWriteError: it could not be written; see `Batch.commit`.
        """
        batch = self.begin()
        try:
            yield batch
            batch.commit()
        except BaseException:
            batch.abort()
            raise

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
    def refusal(self) -> str:
        """Why the disk or the map takes no more, as far as a write has shown; else empty."""
        return self._journal.lack_of_room

    def fold(self, *, at_once: bool = False) -> None:
        """Bring the pages up to date by as much as it is time for; between batches only.

        Where they take no more, `refusal` says so, and only `at_once` tries again.
        """
        if self._journal.refusal and not at_once:
            return
        try:
            while self._journal.fold(self._begin_write, at_once=at_once):
                self._journal.refusal = ""
                at_once = False
                # Each time: what is read would keep pages that were freed from being used again.
                self._renew()
                self.grow()
        except lmdb.Error as error:
            if not is_write_error(error):
                raise
            self._journal.refusal = str(error)
            self._renew()
            self.grow()

    def _begin_write(self) -> Any:
        return self._env.begin(write=True)

    def seek_room(self) -> None:
        """Ask the disk again for what it refused, and free what was removed."""
        self.fold(at_once=True)
        self._journal.make_room()

    def used_bytes(self) -> int:
        """Return how much of the map holds something; what was freed does not count."""
        with self._env.begin() as txn:
            pages = sum(
                stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
                for stat in (txn.stat(db) for db in self._dbs.values())
            )
        used: int = pages * self._env.stat()["psize"]
        return used

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


def take_lock(path: Path, *, wait_s: float) -> int:
    """Lock the file at `path`, which is made if missing; return its descriptor, which holds it.

    Raises:
        BootError: another process has it all that time.
        OSError: it cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_LOCK_RETRY_S)
                continue
            os.close(descriptor)
            raise BootError(f"{path.parent} is in use by another process") from None
        return descriptor


def unusable(directory: Path, reason: object) -> BootError:
    """Return the error that names the file of a store, what is wrong with it and what to do."""
    if isinstance(reason, FileNotFoundError):
        reason = "it is missing"
    elif isinstance(reason, OSError):
        reason = reason.strerror
    # The whole directory, because stores know of each other how far they have got.
    return BootError(
        f"{directory / FILE_NAME} cannot be used: {reason}; restore the data directory from a"
        " backup, or move it away as a whole to start empty"
    )


def make_trees(dbs: Mapping[str, Any]) -> dict[str, Tree]:
    """Return the trees of a store whose pages are in the databases `dbs`, by name."""
    return {name: Tree(dbs[name], grows=name in GROWING_TREES) for name in TREES}


def is_write_error(error: lmdb.Error) -> bool:
    """Tell a write that the kernel refused, or a full map, from a bug.

    Of what the kernel says, EIO, EFBIG and the like have no class of their own in LMDB.
    """
    return type(error) in (lmdb.Error, lmdb.DiskError, lmdb.MapFullError)


class Batch:
    """Changes that belong together: everything read in it sees them. Commit or abort it once."""

    def __init__(self, trees: Mapping[str, Tree], journal: Journal) -> None:
        self._journal = journal
        self._mail = trees["mail"]
        self._boxes = trees["boxes"]
        self._receipts = trees["receipts"]
        self._messages = trees["messages"]
        self._expiry = trees["expiry"]
        self._bodies = trees["bodies"]
        self._holders = trees["holders"]
        self._outbox = trees["outbox"]
        self._meta = trees["meta"]
        self._new_messages: list[bytes] = []

    def commit(self) -> None:
        """Make everything durable, in the mode that the store was opened with.

        Raises:
            StoreWriteError: it may be stored or not; say nothing of it, abort it, and open anew.
        """
        if self._new_messages:
            self._expiry.put(pack_seq(self.last_seq()), encode_keys(self._new_messages))
        self._journal.commit()

    def abort(self) -> None:
        """Undo everything that the batch wrote."""
        self._journal.abort()

    # ------------------------------------------------------------------------------- mailboxes

    def put_mail(self, box: bytes, seq: int, entry: bytes) -> None:
        """Add or replace the entry `seq` of a mailbox."""
        self._mail.put(box + pack_seq(seq), entry)

    def pop_mail(self, box: bytes, seq: int) -> bytes | None:
        """Remove and return an entry, or None where there is none."""
        return self._mail.pop(box + pack_seq(seq))

    def scan_mail(self, box: bytes, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, entry) of a mailbox in order, behind `after`.

        Do not write to the mailbox while iterating.
        """
        if after < LAST_SEQ:
            for key, entry in self._mail.scan(box + pack_seq(after + 1), box):
                yield unpack_seq(key), entry

    def next_box(self, after: bytes) -> tuple[bytes, int] | None:
        """Return the first mailbox behind the key `after` and the seq of its oldest entry, or None.

        As the pages have it: the entry may be gone by now. What only the journal knows of is
        seconds old.
        """
        key = self._mail.next_stored(after)
        return None if key is None else (key[:-SEQ_BYTES], unpack_seq(key))

    def get_totals(self, box: bytes) -> bytes | None:
        """Return the totals kept of an absent user's mailbox."""
        return self._boxes.get(box)

    def put_totals(self, box: bytes, totals: bytes) -> None:
        """Keep the totals of an absent user's mailbox."""
        self._boxes.put(box, totals)

    def delete_totals(self, box: bytes) -> None:
        """Forget the totals of a mailbox."""
        self._boxes.pop(box)

    def get_receipt(self, key: bytes) -> int | None:
        """Return the seq of an absent author's receipt."""
        value = self._receipts.get(key)
        return None if value is None else unpack_seq(value)

    def put_receipt(self, key: bytes, seq: int) -> None:
        """Remember where an absent author's receipt is."""
        self._receipts.put(key, pack_seq(seq))

    def delete_receipt(self, key: bytes) -> None:
        """Forget where a receipt was."""
        self._receipts.pop(key)

    # --------------------------------------------------------------------------- group bodies

    def put_body(self, seq: int, frame: bytes, holders: int) -> None:
        """Store a group message that `holders` mailboxes refer to."""
        key = pack_seq(seq)
        self._bodies.put(key, frame)
        self._holders.put(key, pack_count(holders))

    def get_body(self, seq: int) -> bytes:
        """Return a group message that some mailbox refers to."""
        body = self._bodies.get(pack_seq(seq))
        assert body is not None, f"body {seq} is missing though a mailbox refers to it"
        return body

    def release_body(self, seq: int) -> None:
        """Note that one mailbox less refers to a body; the last one removes it."""
        key = pack_seq(seq)
        value = self._holders.get(key)
        assert value is not None, f"body {seq} has no holders though a mailbox refers to it"
        holders = unpack_count(value)
        if holders > 1:
            self._holders.put(key, pack_count(holders - 1))
        else:
            self._holders.pop(key)
            self._bodies.pop(key)

    # ------------------------------------------------------------------------------- messages

    def get_message(self, key: bytes) -> bytes | None:
        """Return what is known of a message towards one recipient."""
        return self._messages.get(key)

    def add_message(self, key: bytes, record: bytes) -> None:
        """Remember a new message; `expire_messages` forgets it."""
        self._messages.put(key, record)
        self._new_messages.append(key)

    def update_message(self, key: bytes, record: bytes) -> None:
        """Replace what is known of a message."""
        self._messages.put(key, record)

    def scan_messages(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, record) of every message whose key begins with `prefix`."""
        return self._messages.scan(prefix, prefix)

    def knows_message(self, prefix: bytes) -> bool:
        """Tell whether any message's key begins with `prefix`."""
        return next(self.scan_messages(prefix), None) is not None

    def expire_messages(self, before: int, *, at_least: int = 1) -> int:
        """Forget what batches of before seq `before` added, the oldest first; return how many.

        What one batch added goes together: it is `at_least` that many or a few more, or all that
        are due.
        """
        due: list[bytes] = []
        lists: list[bytes] = []
        for key, names in self._expiry.scan(b""):
            if unpack_seq(key) >= before or len(due) >= at_least:
                break
            due += decode_keys(names)
            lists.append(key)
        for key in lists:
            self._expiry.pop(key)
        for key in due:
            self._messages.pop(key)
        if lists:
            # A message that waits may outlive what is known of it: up to here that is no fault.
            up_to = max(self._get_number(FORGOTTEN_NAME), unpack_seq(lists[-1]))
            self._meta.put(FORGOTTEN_NAME, pack_seq(up_to))
        return len(due)

    # --------------------------------------------------------------------------------- outbox

    def put_outgoing(self, peer: bytes, seq: int, content: bytes) -> None:
        """Keep `content` for a peer until it has stored it."""
        self._outbox.put(peer + pack_seq(seq), content)

    def scan_outgoing(self, peer: bytes, *, after: int) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, content) of what waits for a peer, in order, behind `after`."""
        for key, content in self._outbox.scan(peer + pack_seq(after + 1), peer):
            yield unpack_seq(key), content

    def delete_outgoing(self, peer: bytes, seq: int) -> None:
        """Forget what a peer has stored."""
        self._outbox.pop(peer + pack_seq(seq))

    # --------------------------------------------------------------------------------- counters

    def last_seq(self) -> int:
        """Return the highest sequence number that was ever given out here."""
        return self._get_number(SEQ_NAME)

    def put_last_seq(self, seq: int) -> None:
        """Note the highest sequence number given out."""
        self._meta.put(SEQ_NAME, pack_seq(seq))

    def applied(self, peer: int) -> int:
        """Return up to which entry of a peer's outbox everything is stored here."""
        return self._get_number(APPLIED_NAME % peer)

    def put_applied(self, peer: int, seq: int) -> None:
        """Note up to which entry a peer's outbox is stored here."""
        self._meta.put(APPLIED_NAME % peer, pack_seq(seq))

    def put_confirmed(self, peer: int, seq: int) -> None:
        """Note up to which entry a peer has stored the outbox for it.

        Nothing here needs it: it lets `workers.snapshot` tell whether what left this store is in
        the other.
        """
        self._meta.put(CONFIRMED_NAME % peer, pack_seq(seq))

    def _get_number(self, name: bytes) -> int:
        value = self._meta.get(name)
        return 0 if value is None else unpack_seq(value)


if __name__ == "__main__":
    from workers.tools import main  # late, because the tools stand on this module

    sys.exit(main(sys.argv[1:]))
