"""Give what is free inside stores back to the disk: each is copied without it, and replaced.

    1. Hold every store, so that nothing else writes, and fold its journal in.
    2. Copy it aside, compare the counts, sync.
    3. Rename the copy over it. This commits: the copy has no journal, and a start makes a new one.

Killed before 3 the old store counts, killed after it the new one: at no time is there none. What
was left aside the next start removes. One store is done after another, so there must be room for
what is live in the largest.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from relay import log
from relay.disk.files import sync
from relay.disk.layout import read_layout
from relay.errors import BootError, DiskError, StoreDamaged
from relay.settings.sizes import MIB, TIB
from workers.store.journal import FILE_NAMES
from workers.store.meta import Mark
from workers.store.seal import break_seal
from workers.store.snapshot import Snapshot
from workers.store.store import LOCK_WAIT_S, UNFINISHED, Store, lock_store, unusable
from workers.store.storefile import FILE_NAME, inspect_store_file
from workers.tools.plan import Reached
from workers.tools.progress import Progress

# What a copy may need beyond the pages that it has: those of its own lists, and a little.
_SPARE_BYTES: Final = MIB
_LOOK_EVERY_S: Final = 0.2
_MAP_BYTES: Final = 64 * MIB

logger = log.get_logger()


class Compacted(NamedTuple):
    """What a store took on the disk without its journals, and what it takes then."""

    before: int
    after: int


class NoRoom(BootError):
    """The disk has no room for the copy of a store, which is as it was."""


def estimate(directory: Path) -> Compacted:
    """Return what a store takes, and about what a compacted one would; nothing is changed.

    Raises:
        StoreDamaged, OSError: it cannot be read.
    """
    snapshot = Snapshot(directory)
    try:
        return Compacted(_disk_bytes(directory), snapshot.live_bytes())
    finally:
        snapshot.close()


def compact(directory: Path, mark: Mark, *, reached: Reached = lambda step: None) -> Compacted:
    """Compact the store in `directory`, which must bear the `mark`; nobody may start meanwhile.

    `reached` is told each step that has been made durable, or could be lost.

    Raises:
        NoRoom: there is no room for the copy.
        BootError: it is in use, or cannot be read. In either case it is as it was.
        OSError: it cannot be written; the same.
    """
    _fold_in(directory, mark)
    before = _disk_bytes(directory)
    lock = lock_store(directory, wait_s=LOCK_WAIT_S)
    try:
        aside = directory / UNFINISHED
        shutil.rmtree(aside, ignore_errors=True)
        try:
            _copy(directory, aside)
            reached("copied")
            # A reader of the old file must not be taken for one of the new, nor its numbers.
            (directory / "lock.mdb").unlink(missing_ok=True)
            (aside / FILE_NAME).replace(directory / FILE_NAME)
            sync(directory)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        reached("replaced")
        # The new store is without these, whatever they say.
        break_seal(directory)
        for name in FILE_NAMES:
            (directory / name).unlink(missing_ok=True)
        sync(directory)
        return Compacted(before, _disk_bytes(directory))
    except StoreDamaged as error:
        raise unusable(directory, error) from error
    finally:
        os.close(lock)


def compact_all(data: Path, reached: Reached = lambda step: None) -> None:
    """Compact the stores of a data directory that its supervisor holds, where there is room.

    Raises:
        BootError: one cannot be read, or is in use.
        OSError: one cannot be written.
    """
    layout = read_layout(data)
    for index in range(layout.workers):
        directory = layout.store_directory(data, index)
        mark = Mark(layout.generation, layout.workers, index)
        try:
            before, after = compact(directory, mark, reached=reached)
        except NoRoom as error:
            logger.warning("compact.left_out", worker=index, reason=str(error))
        else:
            logger.info("compact.done", worker=index, bytes_before=before, bytes=after)


def _fold_in(directory: Path, mark: Mark) -> None:
    store = Store(
        directory,
        durability="fsync",
        map_bytes=_MAP_BYTES,
        max_map_bytes=TIB,
        lock_wait_s=LOCK_WAIT_S,
        mark=mark,
    )
    try:
        if store.has_readers:
            raise BootError(f"{directory} is being read, by a check or a backup: wait for its end")
        while store.has_unfolded:
            store.fold(at_once=True)
            if store.refusal:
                raise NoRoom(f"{directory}: {store.refusal}")
    finally:
        with suppress(DiskError, OSError):  # then a start takes this for a kill
            store.close(seals=True)


def _copy(directory: Path, aside: Path) -> None:
    snapshot = Snapshot(directory)
    try:
        needed = snapshot.used_bytes() + _SPARE_BYTES
        free = shutil.disk_usage(directory).free
        if free < needed:
            raise NoRoom(
                f"{directory} needs {needed:,} bytes beside it to be compacted, but {free:,} are"
                " free"
            )
        aside.mkdir(mode=0o700)
        with _shown(f"compacting {directory.name}", aside / FILE_NAME, snapshot.used_bytes()):
            snapshot.copy(aside)
        file = aside / FILE_NAME
        file.chmod(0o600)
        inspect_store_file(aside)
        copy = Snapshot(aside)
        try:
            for row in snapshot.rows:
                here, there = snapshot.count(row.name), copy.count(row.name)
                if row.name != "meta" and here != there:
                    raise StoreDamaged(f"of {here} items in `{row.name}` {there} were copied")
        finally:
            copy.close()
        sync(file)
        sync(aside)
    finally:
        snapshot.close()


@contextmanager
def _shown(what: str, file: Path, total: int) -> Iterator[None]:
    """Show how far a file has grown, of about `total` bytes."""
    ended = threading.Event()
    progress = Progress(what, total)

    def follow() -> None:
        done = 0
        while not ended.wait(_LOOK_EVERY_S):
            size = file.stat().st_size if file.exists() else 0
            progress.advance(size - done)
            done = size

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        progress.end()


def _disk_bytes(directory: Path) -> int:
    # Not the journals: the next start makes them anew, with room ahead.
    return (directory / FILE_NAME).stat().st_blocks * 512
