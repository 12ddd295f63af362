"""Records as a later version may write them."""

from __future__ import annotations

from zlib import crc32


def of_kind(kind: int, epoch: int = 1, body: bytes = b"body", *, window: int = 1) -> bytes:
    """Return a record that is whole, of whatever kind and window."""
    head = bytes([1, kind, window]) + epoch.to_bytes(8, "big")
    return head + crc32(body, crc32(head)).to_bytes(4, "big") + body
