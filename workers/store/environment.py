"""LMDB as a store has it: the one format that we read, and how much of a file is free inside."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import lmdb

# LMDB 0.9, whose format `storefile` reads. Left open, LMDB_DEFAULT_LIB_VERSION in the environment
# would choose the format of a store that is made.
ENGINE: Final = 0
# Page 0 and 1 are no tree's.
_META_PAGES: Final = 2


def open_environment(directory: Path, **options: Any) -> Any:
    """Open the LMDB environment in `directory`; `options` as for `lmdb.open`.

    Raises:
        lmdb.Error: it cannot be opened, or is of another format.
    """
    return lmdb.open(str(directory), lib_version=ENGINE, subdir=True, **options)


def tree_bytes(env: Any, txn: Any, dbs: Iterable[Any]) -> int:
    """Return what the pages of the trees `dbs` take."""
    pages = sum(
        stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        for stat in map(txn.stat, dbs)
    )
    used: int = pages * env.stat()["psize"]
    return used


def inner_bytes(env: Any, used_bytes: int) -> int:
    """Return what is free inside the file, beside trees that take `used_bytes`.

    It is what was taken once and freed since, which LMDB uses again before the file grows. The
    list of these pages, some thousandth of them, counts as free too.
    """
    pages = env.info()["last_pgno"] + 1 - _META_PAGES
    return max(0, int(pages * env.stat()["psize"]) - used_bytes)
