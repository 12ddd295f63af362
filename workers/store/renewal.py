"""A store that is of no use to its worker, where the log of its range has all that it held.

It is set aside, for whoever wants to know what became of it, and an empty one takes its place.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from relay.disk.files import sync
from relay.errors import BootError, StoreDamaged, StoreForeign
from workers.store.environment import open_environment
from workers.store.keys import pack_seq
from workers.store.meta import MARK_NAME, SEQ_NAME, Mark, encode_mark
from workers.store.schema import MAX_TREES, ROWS
from workers.store.snapshot import DAMAGE

_ASIDE: Final = "unusable"
_UNFINISHED: Final = "unfinished"


def is_lost(error: BootError) -> bool:
    """Whether a store that does not open never will, as it is: it is damaged, or parts are gone."""
    cause = error.__cause__
    if isinstance(cause, StoreForeign):
        return False
    return isinstance(cause, (StoreDamaged, FileNotFoundError, *DAMAGE))


def set_aside(directory: Path) -> Path:
    """Move the store in `directory` away, in place of one that was before; return where it is.

    Raises:
        OSError: it cannot be moved.
    """
    aside = directory.with_name(f"{_ASIDE}-{directory.name}")
    shutil.rmtree(aside, ignore_errors=True)
    directory.rename(aside)
    sync(directory.parent)
    return aside


def make_empty(directory: Path, mark: Mark, *, map_bytes: int) -> None:
    """Make the store `mark`, which holds nothing, in `directory`, where none may be.

    Raises:
        OSError, lmdb.Error: it cannot be made; there is none.
    """
    unfinished = directory.with_name(f"{_UNFINISHED}-{directory.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    with open_environment(unfinished, map_size=map_bytes, max_dbs=MAX_TREES) as env:
        dbs = {row.name: env.open_db(row.name.encode()) for row in ROWS}
        with env.begin(write=True) as txn:
            txn.put(MARK_NAME, encode_mark(mark), db=dbs["meta"])
            txn.put(SEQ_NAME, pack_seq(0), db=dbs["meta"])
    sync(unfinished)
    unfinished.rename(directory)
    sync(directory.parent)
