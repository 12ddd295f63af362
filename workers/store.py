"""The durable state of one worker: an LMDB environment, written one batch at a time.

Everything that a drained inbox changes is one transaction, fsynced by `commit` before any effect
of it may leave the process (I1). Trees, by what they hold:

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
from workers.keys import LAST_SEQ, SEQ_BYTES, pack_seq, unpack_seq
from workers.storefile import FILE_NAME, StoreDamaged, inspect_store_file

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

# Keys of the tree `meta`.
SEQ_NAME: Final = b"seq"
FORGOTTEN_NAME: Final = b"forgotten"
MARK_NAME: Final = b"mark"
APPLIED_NAME: Final = b"applied:%d"
CONFIRMED_NAME: Final = b"confirmed:%d"

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
            self._trees = {name: self._env.open_db(name.encode()) for name in TREES}
            if mark is not None:
                self._check_mark(directory, mark)
            self.grow()
        except lmdb.Error as error:
            self._env.close()
            raise unusable(directory, error) from error
        except BaseException:
            self._env.close()
            raise

    def _check_mark(self, directory: Path, wanted: Mark) -> None:
        with self._env.begin(db=self._trees["meta"]) as txn:
            value = txn.get(MARK_NAME)
        try:
            found = decode_mark(value or b"")
        except msgspec.DecodeError:
            raise unusable(directory, "it does not say whose store it is") from None
        if found != wanted:
            raise unusable(directory, f"it is the store of {found}, not of {wanted}")

    def close(self) -> None:
        """Release the environment and the lock; in mode "os" sync what the kernel still holds."""
        if not self._is_synced:
            self._env.sync(True)
        self._env.close()
        os.close(self._lock_file)

    def begin(self) -> Batch:
        """Start the one write transaction that may be open."""
        return Batch(self._env.begin(write=True), self._trees)

    @contextmanager
    def writing(self) -> Iterator[Batch]:
        """Give a batch that is committed at the end, or undone where anything is raised.

        Raises:
            lmdb.Error: it could not be written. Nothing of it was stored.
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

    def used_bytes(self) -> int:
        """Return how much of the map holds something; what was freed does not count."""
        with self._env.begin() as txn:
            pages = sum(
                stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
                for stat in (txn.stat(tree) for tree in self._trees.values())
            )
        used: int = pages * self._env.stat()["psize"]
        return used

    def grow(self) -> None:
        """Double the map while over half of it is used, so that no batch meets its end.

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
            self._env.set_mapsize(size)


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


class Batch:
    """One write transaction: everything read in it sees what it wrote. Commit or abort it once."""

    # Any: lmdb's annotations say bytes | memoryview, which only its `buffers` flag decides, and
    # that is never set here.
    def __init__(self, txn: Any, trees: Mapping[str, Any]) -> None:
        self._txn = txn
        self._get = txn.get
        self._put = txn.put
        self._pop = txn.pop
        self._delete = txn.delete
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
            lmdb.Error: nothing of the batch was stored.
        """
        if self._new_messages:
            oldest = pack_seq(self.last_seq())
            self._put(oldest, encode_keys(self._new_messages), db=self._expiry)
        self._txn.commit()

    def abort(self) -> None:
        """Undo everything that the batch wrote."""
        self._txn.abort()

    # ------------------------------------------------------------------------------- mailboxes

    def put_mail(self, box: bytes, seq: int, entry: bytes) -> None:
        """Add or replace the entry `seq` of a mailbox."""
        self._put(box + pack_seq(seq), entry, db=self._mail)

    def pop_mail(self, box: bytes, seq: int) -> bytes | None:
        """Remove and return an entry, or None where there is none."""
        entry: bytes | None = self._pop(box + pack_seq(seq), db=self._mail)
        return entry

    def scan_mail(self, box: bytes, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, entry) of a mailbox in order, behind `after`.

        Do not write to the mailbox while iterating.
        """
        with self._txn.cursor(self._mail) as cursor:
            if after >= LAST_SEQ or not cursor.set_range(box + pack_seq(after + 1)):
                return
            length = len(box)
            for key, entry in cursor:
                if key[:length] != box:
                    return
                yield unpack_seq(key), entry

    def next_box(self, after: bytes) -> bytes | None:
        """Return the first mailbox behind the key `after` that holds anything, or None."""
        with self._txn.cursor(self._mail) as cursor:
            if not cursor.set_range(after):
                return None
            box: bytes = cursor.key()[:-SEQ_BYTES]
            return box

    def get_totals(self, box: bytes) -> bytes | None:
        """Return the totals kept of an absent user's mailbox."""
        totals: bytes | None = self._get(box, db=self._boxes)
        return totals

    def put_totals(self, box: bytes, totals: bytes) -> None:
        """Keep the totals of an absent user's mailbox."""
        self._put(box, totals, db=self._boxes)

    def delete_totals(self, box: bytes) -> None:
        """Forget the totals of a mailbox."""
        self._delete(box, db=self._boxes)

    def get_receipt(self, key: bytes) -> int | None:
        """Return the seq of an absent author's receipt."""
        value = self._get(key, db=self._receipts)
        return None if value is None else unpack_seq(value)

    def put_receipt(self, key: bytes, seq: int) -> None:
        """Remember where an absent author's receipt is."""
        self._put(key, pack_seq(seq), db=self._receipts)

    def delete_receipt(self, key: bytes) -> None:
        """Forget where a receipt was."""
        self._delete(key, db=self._receipts)

    # --------------------------------------------------------------------------- group bodies

    def put_body(self, seq: int, frame: bytes, holders: int) -> None:
        """Store a group message that `holders` mailboxes refer to."""
        key = pack_seq(seq)
        self._put(key, frame, db=self._bodies)
        self._put(key, pack_count(holders), db=self._holders)

    def get_body(self, seq: int) -> bytes:
        """Return a group message that some mailbox refers to."""
        body: bytes | None = self._get(pack_seq(seq), db=self._bodies)
        assert body is not None, f"body {seq} is missing though a mailbox refers to it"
        return body

    def release_body(self, seq: int) -> None:
        """Note that one mailbox less refers to a body; the last one removes it."""
        key = pack_seq(seq)
        value = self._get(key, db=self._holders)
        assert value is not None, f"body {seq} has no holders though a mailbox refers to it"
        holders = unpack_count(value)
        if holders > 1:
            self._put(key, pack_count(holders - 1), db=self._holders)
        else:
            self._delete(key, db=self._holders)
            self._delete(key, db=self._bodies)

    # ------------------------------------------------------------------------------- messages

    def get_message(self, key: bytes) -> bytes | None:
        """Return what is known of a message towards one recipient."""
        record: bytes | None = self._get(key, db=self._messages)
        return record

    def add_message(self, key: bytes, record: bytes) -> None:
        """Remember a new message; `expire_messages` forgets it."""
        self._put(key, record, db=self._messages)
        self._new_messages.append(key)

    def update_message(self, key: bytes, record: bytes) -> None:
        """Replace what is known of a message."""
        self._put(key, record, db=self._messages)

    def scan_messages(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, record) of every message whose key begins with `prefix`."""
        with self._txn.cursor(self._messages) as cursor:
            if not cursor.set_range(prefix):
                return
            for key, record in cursor:
                if not key.startswith(prefix):
                    return
                yield key, record

    def knows_message(self, prefix: bytes) -> bool:
        """Tell whether any message's key begins with `prefix`."""
        return next(self.scan_messages(prefix), None) is not None

    def expire_messages(self, before: int) -> int:
        """Forget what one batch of before seq `before` added; return how many, 0 if none is due."""
        with self._txn.cursor(self._expiry) as cursor:
            if not cursor.first() or unpack_seq(cursor.key()) >= before:
                return 0
            keys = decode_keys(cursor.value())
            # A message that waits may outlive what is known of it: up to here that is no fault.
            self._put(FORGOTTEN_NAME, cursor.key(), db=self._meta)
            cursor.delete()
        for key in keys:
            self._delete(key, db=self._messages)
        return len(keys)

    # --------------------------------------------------------------------------------- outbox

    def put_outgoing(self, peer: bytes, seq: int, content: bytes) -> None:
        """Keep `content` for a peer until it has stored it."""
        self._put(peer + pack_seq(seq), content, db=self._outbox)

    def scan_outgoing(self, peer: bytes, *, after: int) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, content) of what waits for a peer, in order, behind `after`."""
        with self._txn.cursor(self._outbox) as cursor:
            if not cursor.set_range(peer + pack_seq(after + 1)):
                return
            for key, content in cursor:
                if not key.startswith(peer):
                    return
                yield unpack_seq(key), content

    def delete_outgoing(self, peer: bytes, seq: int) -> None:
        """Forget what a peer has stored."""
        self._delete(peer + pack_seq(seq), db=self._outbox)

    # --------------------------------------------------------------------------------- counters

    def last_seq(self) -> int:
        """Return the highest sequence number that was ever given out here."""
        value = self._get(SEQ_NAME, db=self._meta)
        return 0 if value is None else unpack_seq(value)

    def put_last_seq(self, seq: int) -> None:
        """Note the highest sequence number given out."""
        self._put(SEQ_NAME, pack_seq(seq), db=self._meta)

    def applied(self, peer: int) -> int:
        """Return up to which entry of a peer's outbox everything is stored here."""
        value = self._get(APPLIED_NAME % peer, db=self._meta)
        return 0 if value is None else unpack_seq(value)

    def put_applied(self, peer: int, seq: int) -> None:
        """Note up to which entry a peer's outbox is stored here."""
        self._put(APPLIED_NAME % peer, pack_seq(seq), db=self._meta)

    def put_confirmed(self, peer: int, seq: int) -> None:
        """Note up to which entry a peer has stored the outbox for it.

        Nothing here needs it: it lets `workers.snapshot` tell whether what left this store is in
        the other.
        """
        self._put(CONFIRMED_NAME % peer, pack_seq(seq), db=self._meta)

    def put_mark(self, mark: Mark) -> None:
        """Write down which store this is."""
        self._put(MARK_NAME, encode_mark(mark), db=self._meta)


if __name__ == "__main__":
    from workers.tools import main  # late, because the tools stand on this module

    sys.exit(main(sys.argv[1:]))
