"""What the store keeps of authors of whom much waits (workers.shard.waiting)."""

from __future__ import annotations

from typing import Final

import msgspec


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What it keeps of one of them."""

    author: str
    messages: float
    size: float
    as_of_ms: int


encode_notes: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Note]).decode


def decode_notes(raw: bytes) -> list[Note]:
    """Return what the store keeps, as the last sweep found it.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _decode(raw)
