"""The files of a journal: raw bytes behind the head, or records whose checksums are right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Any, Final

from relay.errors import StoreDamaged
from workers.store.journal import FILE_NAMES, open_readers, records_behind, replay
from workers.store.journalfile import (
    FIRST_RECORD,
    IDENTITY_BYTES,
    JournalFile,
    create_journal_file,
)
from workers.store.schema import ROWS, row_of
from workers.store.tree import MAX_KEY_BYTES, Tree

from .files import make_directory

# How a record stands in the input: its file, what is added to its number, its length.
RECORD: Final = Struct(">BBH")
RAW: Final = b"R"  # the input is not of records, but what is in the first file

_IDENTITY: Final = bytes(range(IDENTITY_BYTES))
_DIRECTORY: Final = make_directory()
_PATHS: Final = [_DIRECTORY / name for name in FILE_NAMES]


def run(data: bytes) -> None:
    """Take the bytes for records, or for a file from its first record on."""
    for path in _PATHS:
        create_journal_file(path, _IDENTITY)
    if data.startswith(RAW):
        _write_raw(data[len(RAW) :])
    else:
        _write_records(data)
    try:
        _read()
    except StoreDamaged:
        pass


def _write_raw(content: bytes) -> None:
    with _PATHS[0].open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        os.pwrite(file.fileno(), content[: size - FIRST_RECORD], FIRST_RECORD)


def _write_records(data: bytes) -> None:
    with _writers() as files:
        number = at = 0
        while at + RECORD.size <= len(data):
            which, added, length = RECORD.unpack_from(data, at)
            at += RECORD.size
            number += 1 + added
            files[which % 2].append(number, data[at : at + length])
            at += length


@contextmanager
def _writers() -> Iterator[list[JournalFile]]:
    files = [JournalFile(path, FIRST_RECORD, synced=False) for path in _PATHS]
    try:
        yield files
    finally:
        for file in files:
            os.close(file._descriptor)  # `close` would sync what nobody needs


def _read() -> None:
    trees = {row.name: Tree(None, grows=row.grows) for row in ROWS}

    def add_tree(name: str) -> Tree:
        tree = trees[row_of(name).name] = Tree(None, grows=False)
        return tree

    readers = open_readers(_DIRECTORY, _IDENTITY)
    try:
        for reader in readers:
            reader.read_on()
        records = records_behind(0, readers)
        for reader in readers:
            reader.find_later(records[-1].number if records else 0)
            reader.written()
    finally:
        for reader in readers:
            reader.close()
    replay(records, trees, add_tree)
    for tree in trees.values():
        _assert_that_pages_can_take(tree.recent)


def _assert_that_pages_can_take(layer: dict[bytes, Any]) -> None:
    for key, value in layer.items():
        assert 0 < len(key) <= MAX_KEY_BYTES, f"a key of {len(key)} bytes"
        assert value is None or isinstance(value, bytes)
