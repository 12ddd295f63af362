"""Stores as they were at one moment, read-only, while their workers go on writing.

LMDB gives a reader its own version of the tree and never makes the writer wait; but what is freed
meanwhile cannot be used again, so a store grows for as long as a snapshot of it is kept under load.

Stores of several workers are of one moment if nothing that left one of them is missing in another.
An outbox entry leaves its store once the peer has confirmed it, and both keep count: the sender of
what was confirmed, the receiver of what it has applied. `pin` takes snapshots until the counts fit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import lmdb
import msgspec

from workers.keys import unpack_seq
from workers.store import (
    APPLIED_NAME,
    CONFIRMED_NAME,
    FORGOTTEN_NAME,
    MARK_NAME,
    SEQ_NAME,
    TREES,
    Mark,
    decode_mark,
)
from workers.storefile import StoreDamaged, inspect_store_file

# Snapshots of all workers take less than a millisecond together, an entry on its way through two
# commits more: the first try is nearly always good.
_PIN_ATTEMPTS: Final = 100
_PIN_PAUSE_S: Final = 0.01

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
        self._txn: Any = None
        try:
            self._trees: dict[str, Any] = {}
            for name in TREES:
                self._trees[name] = self._env.open_db(name.encode(), create=False)
            self.refresh()
        except lmdb.Error as error:
            self._env.close()
            raise _as_ours(error) from error

    def refresh(self) -> None:
        """Move on to this moment."""
        self._end()
        while True:
            try:
                self._txn = self._env.begin()
            except lmdb.MapResizedError:
                self._env.set_mapsize(0)  # the writer's
            else:
                return

    def close(self) -> None:
        """Let the store go."""
        self._end()
        self._env.close()

    def _end(self) -> None:
        if self._txn is not None:
            self._txn.abort()
            self._txn = None

    def items(self, tree: str, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of a tree in order, from the key `first` on."""
        with self._txn.cursor(self._trees[tree]) as cursor:
            if cursor.set_range(first) if first else cursor.first():
                yield from cursor

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return one value; None also for what cannot be a key."""
        try:
            value: bytes | None = self._txn.get(key, db=self._trees[tree])
        except lmdb.BadValsizeError:
            return None
        return value

    def count(self, tree: str) -> int:
        """Return how many items a tree has."""
        entries: int = self._txn.stat(self._trees[tree])["entries"]
        return entries

    def used_bytes(self) -> int:
        """Return the size of all trees; what is free in the file does not count."""
        pages = 0
        for tree in self._trees.values():
            stat = self._txn.stat(tree)
            pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        used: int = pages * self._env.stat()["psize"]
        return used

    def copy(self, directory: Path) -> None:
        """Write the store, as of this snapshot's moment and without free pages, to `directory`.

        Raises:
            StoreDamaged: it cannot be read whole.
            OSError: it cannot be written.
        """
        try:
            self._env.copy(str(directory), compact=True, txn=self._txn)
        except lmdb.Error as error:
            raise _as_ours(error) from error

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
