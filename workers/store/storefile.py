"""What a store's file says of itself, read without mapping it.

LMDB takes an empty file for a new store, and a page that is missing at the file's end for memory
that may be touched: the process then dies of SIGBUS, perhaps hours later. So a file is looked at
here first. It costs a few page reads, whatever its size: what lies deeper, `check` finds.

The format is that of LMDB 0.9 on a 64-bit machine (`mdb.c`: MDB_meta, MDB_db, MDB_page, MDB_node).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from relay.errors import StoreDamaged, StoreForeign

FILE_NAME: Final = "data.mdb"

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_NO_PAGE: Final = 2**64 - 1
_MIN_PAGE_BYTES: Final = 512
_MAX_PAGE_BYTES: Final = 65536
# A file may be looked at while its worker writes it. What is read then may be of two moments, but
# hardly several times in a row.
_ATTEMPTS: Final = 5

# Page header: number, padding, flags, then the bounds of free space or the count of pages.
_PAGE: Final = Struct("<QHHHH")
_BRANCH, _LEAF, _OVERFLOW, _META = 0x01, 0x02, 0x04, 0x08
# In LMDB 1.0 another number precedes the flags, so all behind it is further on.
_LATER_HEAD: Final = _PAGE.size + 8
# Magic, version, address, map size.
_META_HEAD: Final = Struct("<IIQQ")
# Page size (in the first tree of a meta page), flags, depth, branch, leaf and overflow pages,
# entries, root.
_TREE: Final = Struct("<IHHQQQQQ")
# The last page and the transaction's number.
_META_TAIL: Final = Struct("<QQ")
# Size or child page in three parts, length of the key.
_NODE: Final = Struct("<HHHH")
_BIG_DATA, _SUB_TREE = 0x01, 0x02
_NUMBER_BYTES: Final = 8


class _Meta(NamedTuple):
    page_bytes: int
    free_root: int
    main_root: int
    last_page: int
    transaction: int


def inspect_store_file(directory: Path) -> None:
    """Make sure that the file of the store in `directory` may be opened.

    Raises:
        StoreDamaged: it is empty, cut off, or not what LMDB writes.
        StoreForeign: it is of another format.
        FileNotFoundError: there is none.
        OSError: it cannot be read.
    """
    descriptor = os.open(directory / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for attempt in range(_ATTEMPTS):
            try:
                _File(descriptor).inspect()
            except StoreDamaged:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return
    finally:
        os.close(descriptor)


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._meta = self._read_meta()
        self._page_bytes = self._meta.page_bytes

    def inspect(self) -> None:
        for root in (self._meta.free_root, self._meta.main_root):
            self._check_root(root)
        if self._meta.main_root != _NO_PAGE:
            for flags, value in self._leaves(self._meta.main_root):
                if flags & _SUB_TREE:
                    if len(value) != _TREE.size:
                        raise StoreDamaged(f"a tree is said in {len(value)} bytes")
                    self._check_root(_TREE.unpack(value)[-1])
        present = self._size // self._page_bytes
        pages = self._meta.last_page + 1
        # Pages that were taken and freed in one transaction are not written. Where they are the
        # last ones the file ends before them, and that is no damage.
        if present < pages and len(self._free_pages(present, pages)) < pages - present:
            raise StoreDamaged(
                f"it is cut off: {self._size} bytes are there of {pages * self._page_bytes}"
            )

    def _read_meta(self) -> _Meta:
        if self._size == 0:
            raise StoreDamaged("it is empty")
        first = self._meta_at(0, 0)
        second = self._meta_at(first.page_bytes, first.page_bytes)
        return max(first, second, key=lambda meta: meta.transaction)

    def _meta_at(self, offset: int, page_bytes: int) -> _Meta:
        size = _PAGE.size + _META_HEAD.size + 2 * _TREE.size + _META_TAIL.size
        raw = self._read(offset, size)
        flags = _PAGE.unpack_from(raw)[2]
        magic, version, _, _ = _META_HEAD.unpack_from(raw, _PAGE.size)
        if magic != _MAGIC:
            magic, version, _, _ = _META_HEAD.unpack_from(raw, _LATER_HEAD)
            if magic == _MAGIC and version != _VERSION:
                raise StoreForeign(f"it has LMDB's format {version}, not {_VERSION}")
        if magic != _MAGIC or not flags & _META:
            raise StoreDamaged("it is not an LMDB file")
        if version != _VERSION:
            raise StoreForeign(f"it has LMDB's format {version}, not {_VERSION}")
        at = _PAGE.size + _META_HEAD.size
        free = _TREE.unpack_from(raw, at)
        main = _TREE.unpack_from(raw, at + _TREE.size)
        last_page, transaction = _META_TAIL.unpack_from(raw, at + 2 * _TREE.size)
        if (
            free[0].bit_count() != 1
            or not _MIN_PAGE_BYTES <= free[0] <= _MAX_PAGE_BYTES
            or page_bytes not in (0, free[0])
        ):
            raise StoreDamaged(f"its pages cannot have {free[0]} bytes")
        return _Meta(free[0], free[-1], main[-1], last_page, transaction)

    def _check_root(self, root: int) -> None:
        if root == _NO_PAGE:
            return
        if not 2 <= root <= self._meta.last_page:
            raise StoreDamaged(f"a tree begins at page {root} of {self._meta.last_page + 1}")
        self._page(root)

    def _page(self, number: int) -> bytes:
        """Return a page of a tree."""
        raw = self._read(number * self._page_bytes, self._page_bytes)
        own, _, flags, lower, upper = _PAGE.unpack_from(raw)
        if (
            own != number
            or not flags & (_BRANCH | _LEAF)
            or not _PAGE.size <= lower <= upper <= self._page_bytes
        ):
            raise StoreDamaged(f"page {number} is not what it should be")
        return raw

    def _nodes(self, raw: bytes) -> Iterator[int]:
        lower = _PAGE.unpack_from(raw)[3]
        for at in range(_PAGE.size, lower, 2):
            offset = int.from_bytes(raw[at : at + 2], "little")
            if offset + _NODE.size > len(raw):
                raise StoreDamaged("a page is not what it should be")
            yield offset

    def _leaves(self, root: int) -> Iterator[tuple[int, bytes]]:
        """Yield (flags, value) of every item of a small tree."""
        waiting, seen = [root], {root}

        def once(number: int) -> int:
            # Or pages that lead to one another would be read for ever.
            if number in seen:
                raise StoreDamaged(f"page {number} is twice in a tree")
            seen.add(number)
            return number

        while waiting:
            raw = self._page(waiting.pop())
            is_leaf = _PAGE.unpack_from(raw)[2] & _LEAF
            for offset in self._nodes(raw):
                low, high, flags, key_bytes = _NODE.unpack_from(raw, offset)
                if not is_leaf:
                    waiting.append(once(low | high << 16 | flags << 32))
                    continue
                size = low | high << 16
                at = offset + _NODE.size + key_bytes
                value = raw[at : at + (_NUMBER_BYTES if flags & _BIG_DATA else size)]
                if flags & _BIG_DATA:
                    number = once(int.from_bytes(value, "little"))
                    value = self._read(number * self._page_bytes + _PAGE.size, size)
                if len(value) < size:
                    raise StoreDamaged("a value goes beyond its page")
                yield flags, value

    def _free_pages(self, first: int, end: int) -> set[int]:
        """Return those of the pages in [first, end) that no tree uses."""
        found: set[int] = set()
        if self._meta.free_root == _NO_PAGE:
            return found
        for _, value in self._leaves(self._meta.free_root):
            numbers = memoryview(value[_NUMBER_BYTES : len(value) // 8 * 8]).cast("Q")
            found.update(number for number in numbers if first <= number < end)
        return found

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size > self._size:
            # It may have grown since. Of a number that is none the kernel is not asked.
            self._size = os.fstat(self._descriptor).st_size
        raw = b""
        if offset + size <= self._size:
            raw = os.pread(self._descriptor, size, offset)
        if len(raw) < size:
            raise StoreDamaged(f"it is cut off: it ends at byte {self._size}")
        return raw
