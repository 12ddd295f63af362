"""Records that are too large for one message, in several: the last one says all of it.

A group message is in a record once for each range that has members, so one batch may be some
16 MiB, and an engine takes 8. The parts have numbers of their own, one behind the other. A store
has the empty record for each but the last, and the whole in its place. Where the owner ends amid
them, something else follows, and what there is of them changes nothing.
"""

from __future__ import annotations

from typing import Final

from relay.errors import StoreWriteError
from workers.log.record import MOST_IN_FLIGHT

# No journal's record begins so: msgpack never uses that byte.
_MARK: Final = b"\xc1"
_MORE: Final = _MARK + b"\x01"
_LAST: Final = _MARK + b"\x00"
HEAD_BYTES: Final = len(_MORE)
# A standby that starts anew reads as many of the last records again (`reader`), and so has the
# parts before the one that comes.
MOST_PARTS: Final = MOST_IN_FLIGHT


def split(payload: bytes, most_bytes: int) -> list[bytes]:
    """Return the bodies that say `payload`, none of over `most_bytes`: itself, if it fits.

    Raises:
        StoreWriteError: there would be more than MOST_PARTS.
    """
    if len(payload) <= most_bytes:
        return [payload]
    step = most_bytes - HEAD_BYTES
    pieces = [payload[at : at + step] for at in range(0, len(payload), step)]
    if len(pieces) > MOST_PARTS:
        raise StoreWriteError(
            f"a record of {len(payload)} bytes is over {MOST_PARTS} parts of {most_bytes} bytes"
        )
    return [*(_MORE + piece for piece in pieces[:-1]), _LAST + pieces[-1]]


class Joiner:
    """Puts parts together again; it is given every record, in order."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def take(self, body: bytes) -> bytes:
        """Return what a store has as this record."""
        if not body.startswith(_MARK):
            self._parts.clear()
            return body
        self._parts.append(body[HEAD_BYTES:])
        if body.startswith(_MORE):
            return b""
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole
