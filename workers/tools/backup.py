"""A copy of a data directory that a relay can start on, taken while the relay runs.

Every store is copied as of one moment, so that nothing falls between two of them. Had the store of
a sender been copied after it forgot what a receiver has stored, and the receiver's before it stored
that, the message would be in neither copy. `pin` takes the moments so that this is
not the case: between them no entry left an outbox that the receiver's copy lacks, and none was
applied that the sender's copy does not know.

Beyond that the moments, microseconds apart, need not be the same. What was committed between two of
them is like anything that comes after a backup: not in it, or still on its way in it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from relay.disk.files import replace_file, sync
from relay.disk.layout import (
    Layout,
    bans_path,
    generation_directory,
    groups_path,
    meta_path,
    revocations_path,
    write_layout,
)
from relay.errors import BackupFailed, StoreDamaged
from workers.store.moment import pin
from workers.store.snapshot import Snapshot
from workers.store.storefile import FILE_NAME
from workers.tools.progress import Progress


def back_up(snapshots: dict[int, Snapshot], layout: Layout, to: Path) -> int:
    """Copy stores to the data directory `to`, which is missing or empty; return the bytes written.

    meta.json is left out: `finish` writes it when the copy has been checked.

    Raises:
        BackupFailed: there is no room, or a store cannot be read whole.
        OSError: `to` cannot be written.
    """
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    pin(snapshots)  # what stays in its way, the check of the copy tells
    needed = sum(snapshot.used_bytes() for snapshot in snapshots.values())
    free = shutil.disk_usage(to).free
    if needed > free:
        raise BackupFailed(f"{to} has {free:,} bytes free, but the stores take {needed:,}")
    written = 0
    progress = Progress("copied", needed)
    for index, snapshot in snapshots.items():
        directory = layout.store_directory(to, index)
        directory.mkdir(mode=0o700, parents=True)
        try:
            snapshot.copy(directory)
        except StoreDamaged as error:
            raise BackupFailed(f"the store of worker {index} cannot be copied: {error}") from None
        file = directory / FILE_NAME
        file.chmod(0o600)
        sync(file)
        sync(directory)
        written += file.stat().st_size
        progress.advance(snapshot.used_bytes())
    progress.end()
    sync(generation_directory(to, layout.generation))
    return written


# What operators have made: groups, and whom they keep out, who else would come back.
_FILES_OF_OPERATORS: Final = (bans_path, revocations_path, groups_path)


def copy_files(data: Path, to: Path) -> None:
    """Copy what operators have made.

    Raises:
        DiskError: it cannot be written.
        OSError: it cannot be read.
    """
    for path_in in _FILES_OF_OPERATORS:
        if path_in(data).exists():
            replace_file(path_in(to), path_in(data).read_bytes())


def finish(layout: Layout, to: Path) -> None:
    """Make the checked copy a data directory."""
    write_layout(to, layout)
    sync(to.parent)


def discard(layout: Layout, to: Path) -> None:
    """Remove a copy that was not finished, so that another can be made there."""
    meta_path(to).unlink(missing_ok=True)
    for path_in in _FILES_OF_OPERATORS:
        path_in(to).unlink(missing_ok=True)
    shutil.rmtree(generation_directory(to, layout.generation), ignore_errors=True)
