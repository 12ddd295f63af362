"""The items of a store, which a check looks at one by one: as records of its journal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from struct import Struct
from typing import Final

import msgspec

from relay.errors import StoreDamaged
from workers.store.journal import FILE_NAMES
from workers.store.journalfile import FIRST_RECORD, JournalFile
from workers.store.meta import Mark
from workers.store.schema import ROWS
from workers.store.snapshot import Snapshot
from workers.store.store import Store
from workers.tools.check import check_store, check_stores
from workers.tools.report import Report

from .files import make_directory

# How an item stands in the input: its tree, the lengths of its key and its value.
ITEM: Final = Struct(">BBH")
TREES: Final = (*(row.name for row in ROWS), "diary.notes")
MARK: Final = Mark(1, 2, 0)

_MAP_BYTES: Final = 1 << 20

Item = tuple[str, bytes, bytes]


def run(data: bytes) -> None:
    """Take the bytes for items."""
    _write(items_in(data))
    report = Report()
    try:
        snapshot = Snapshot(_DIRECTORY)
    except StoreDamaged:
        return
    try:
        with redirect_stderr(io.StringIO()):
            if len(data) % 2:
                check_store("one", snapshot, report)
            else:
                check_stores(
                    {0: snapshot}, report, generation=MARK.generation, workers=MARK.workers
                )
    finally:
        snapshot.close()
    msgspec.json.encode(report)


def packed(items: Iterable[Item]) -> bytes:
    """Return the input that stands for the items."""
    return b"".join(
        ITEM.pack(TREES.index(tree), len(key), len(value)) + key + value
        for tree, key, value in items
    )


def items_in(data: bytes) -> Iterator[Item]:
    """Yield the items that an input stands for."""
    at = 0
    while at + ITEM.size <= len(data):
        tree, key_bytes, value_bytes = ITEM.unpack_from(data, at)
        at += ITEM.size
        end = at + key_bytes + value_bytes
        key, value = data[at : at + key_bytes], data[at + key_bytes : end]
        at = end
        if key:
            yield TREES[tree % len(TREES)], key, value


def _make_store() -> Path:
    directory = make_directory()
    Store(directory, durability="os", map_bytes=_MAP_BYTES, max_map_bytes=_MAP_BYTES).close()
    return directory


def _write(items: Iterable[Item]) -> None:
    trees: dict[str, dict[bytes, bytes]] = {}
    for tree, key, value in items:
        trees.setdefault(tree, {})[key] = value
    _PATH.write_bytes(_EMPTY_JOURNAL)
    file = JournalFile(_PATH, FIRST_RECORD, synced=False)
    file.append(1, msgspec.msgpack.encode(trees))
    file.close()


_DIRECTORY: Final = _make_store()
_PATH: Final = _DIRECTORY / FILE_NAMES[0]
_EMPTY_JOURNAL: Final = _PATH.read_bytes()
