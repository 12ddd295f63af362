"""A store's file made page by page, as LMDB would, but of the least size that it allows."""

from __future__ import annotations

from struct import Struct
from typing import Final

PAGE_BYTES: Final = 512
NO_PAGE: Final = 2**64 - 1
BRANCH, LEAF, OVERFLOW, META = 0x01, 0x02, 0x04, 0x08
BIG_DATA, SUB_TREE = 0x01, 0x02

_PAGE: Final = Struct("<QHHHH")
_META_HEAD: Final = Struct("<IIQQ")
_META_TAIL: Final = Struct("<QQ")
_TREE: Final = Struct("<IHHQQQQQ")
_NODE: Final = Struct("<HHHH")


def tree(root: int) -> bytes:
    """What is said of a tree that begins at that page."""
    return _TREE.pack(PAGE_BYTES, 0, 1, 0, 1, 0, 1, root)


def meta(number: int, *, free: int, main: int, last: int) -> bytes:
    """A meta page; the one with the higher number is the later one."""
    head = _PAGE.pack(number, 0, META, 0, 0) + _META_HEAD.pack(0xBEEFC0DE, 1, 0, 1 << 20)
    tail = _META_TAIL.pack(last, number)
    return (head + tree(free) + tree(main) + tail).ljust(PAGE_BYTES, b"\0")


def page(number: int, kind: int, nodes: list[bytes]) -> bytes:
    """A page of that kind, with nodes in order."""
    upper, body, offsets = PAGE_BYTES, b"", b""
    for each in nodes:
        upper -= len(each)
        offsets += upper.to_bytes(2, "little")
        body = each + body
    lower = _PAGE.size + len(offsets)
    return _PAGE.pack(number, 0, kind, lower, upper) + offsets + bytes(upper - lower) + body


def node(key: bytes, value: bytes, flags: int = 0, *, size: int | None = None) -> bytes:
    """A node of a leaf; its value may say that it has another size."""
    length = len(value) if size is None else size
    return _NODE.pack(length & 0xFFFF, length >> 16, flags, len(key)) + key + value


def big(key: bytes, first_page: int, size: int) -> bytes:
    """A node of a leaf whose value is in pages of its own."""
    return node(key, first_page.to_bytes(8, "little"), BIG_DATA, size=size)


def child(number: int) -> bytes:
    """A node of a branch."""
    return _NODE.pack(number & 0xFFFF, number >> 16 & 0xFFFF, number >> 32, 0)


def store_pages() -> list[bytes]:
    """A whole file: two trees, one with a branch and a large value; the last page is free."""
    return [
        meta(0, free=3, main=2, last=7),
        meta(1, free=3, main=2, last=7),
        page(2, LEAF, [node(b"mail", tree(4), SUB_TREE), node(b"meta", tree(NO_PAGE), SUB_TREE)]),
        page(3, LEAF, [node(bytes(8), b"".join(each.to_bytes(8, "little") for each in (1, 7)))]),
        page(4, BRANCH, [child(5)]),
        page(5, LEAF, [big(b"big", 6, 100)]),
        page(6, OVERFLOW, []),
        bytes(PAGE_BYTES),
    ]
