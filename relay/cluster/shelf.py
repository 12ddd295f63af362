"""Stores that are handed out as they are in a backup, to standbys that have none.

It answers as an agent does (`relay.cluster.transfers`), but that each copy is there already.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, assert_never

from relay.cluster.transfers import (
    PIECE_BYTES,
    Answer,
    Bytes,
    Copied,
    CopyUnreadable,
    Enough,
    Holds,
    Making,
    Piece,
    Ready,
    Refused,
    Seek,
    Wanted,
    decode_request,
    encode,
)

# Who answers; no host is called so.
SHELF: Final = "BACKUP"


class Shelved(NamedTuple):
    """The file of a range's store, and what it is."""

    path: Path
    copied: Copied


class Shelf:
    """What is handed out, by range."""

    def __init__(self, stores: Mapping[int, Shelved]) -> None:
        self._stores = stores
        # Ranges that others hand out by now, with more in them: who seeks one is not answered.
        self.left: set[int] = set()
        self.pieces = 0

    def answer(self, data: bytes, *, range_: int) -> bytes | None:
        """Return what to answer to a request, None: others may; a Seek is about `range_`."""
        try:
            request = decode_request(data)
        except CopyUnreadable as error:
            return encode(Refused(str(error)))
        match request:
            case Seek():
                if range_ not in self._stores or range_ in self.left:
                    return None
                return encode(Holds(SHELF))
            case Wanted(wanted):
                store = self._stores.get(wanted)
                if store is None:
                    return encode(Refused(f"the backup has no range {wanted}"))
                return encode(Ready(store.copied))
            case Piece():
                return encode(self._piece(request))
            case Enough():
                return encode(Making())
            case _:
                assert_never(request)

    def _piece(self, request: Piece) -> Answer:
        store = self._stores.get(request.range)
        if store is None or store.copied.number != request.number:
            return Refused(f"the backup has no such copy of range {request.range}")
        if not 0 <= request.offset < store.copied.size:
            return Refused(f"the copy has {store.copied.size} bytes, none at {request.offset}")
        try:
            with store.path.open("rb") as file:
                file.seek(request.offset)
                content = file.read(PIECE_BYTES)
        except OSError as error:
            return Refused(f"the backup cannot be read: {error.strerror}")
        self.pieces += 1
        return Bytes(content)
