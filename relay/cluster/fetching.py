"""A copy of a range's store, read of a host that hands it out (`relay.cluster.transfers`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from relay.cluster.names import copies_of
from relay.cluster.transfers import (
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
    Request,
    Seek,
    Wanted,
    decode_answer,
    encode,
)
from relay.errors import RelayError

_ASK_S: Final = 5.0  # for an answer
_AGAIN_S: Final = 0.2  # between two questions whether the copy is made
# A store of 100 GB at 50 MB/s takes half an hour. A host that makes no headway for so long is left.
_STALLED_S: Final = 120.0


class NoCopy(RelayError):
    """Nobody has a copy to give now; the message says what was heard. Nothing was changed."""


class Ask(Protocol):
    """Asks on a NATS subject; TimeoutError where nobody answers in time."""

    def __call__(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """Return the answer."""


class Reading:
    """Reads copies of one range; each call raises NoCopy where that cannot be."""

    def __init__(self, ask: Ask, *, cluster: str, range_: int, on_wait: Callable[[], None]) -> None:
        """`on_wait` is called before each question, so at least every few seconds."""
        self._ask_for = ask
        self._cluster = cluster
        self._range = range_
        self._on_wait = on_wait

    def seek(self, host: str) -> str:
        """Return who has the range, other than `host`."""
        match self._answer(copies_of(self._cluster, str(self._range)), Seek(host)):
            case Holds(holder):
                return holder
            case other:
                raise NoCopy(f"nobody hands out range {self._range}: {other}")

    def wait_for_copy(self, holder: str) -> Copied:
        """Have a copy made, and return what it is."""
        while True:
            match self._ask(holder, Wanted(self._range)):
                case Ready(copied):
                    return copied
                case Making():
                    time.sleep(_AGAIN_S)
                case Refused(reason):
                    raise NoCopy(reason)
                case other:
                    raise NoCopy(f"host {holder} answers {other}")

    def read(
        self,
        holder: str,
        copied: Copied,
        to: Path,
        *,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Write the copy to the file `to`, synced; `on_bytes` hears of each piece.

        Raises:
            OSError: it cannot be written.
        """
        moved_s = time.monotonic()
        with to.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            while (offset := file.tell()) < copied.size:
                try:
                    answer = self._ask(holder, Piece(self._range, copied.number, offset))
                except NoCopy:
                    if time.monotonic() - moved_s > _STALLED_S:
                        raise
                    continue
                match answer:
                    case Bytes(content) if content and offset + len(content) <= copied.size:
                        file.write(content)
                        moved_s = time.monotonic()
                        on_bytes(len(content))
                    case Refused(reason):
                        raise NoCopy(reason)
                    case _:
                        raise NoCopy(f"host {holder} answers what is no piece of the copy")
            file.flush()
            os.fsync(file.fileno())

    def let_go(self, holder: str, copied: Copied) -> None:
        """Say that the copy has been read."""
        self._ask(holder, Enough(self._range, copied.number))

    def _ask(self, holder: str, request: Request) -> Answer:
        return self._answer(copies_of(self._cluster, str(self._range), holder), request)

    def _answer(self, subject: str, request: Request) -> Answer:
        self._on_wait()
        try:
            data = self._ask_for(subject, encode(request), _ASK_S)
        except TimeoutError:
            raise NoCopy(f"nobody answers on {subject}") from None
        try:
            return decode_answer(data)
        except CopyUnreadable as error:
            raise NoCopy(f"what answers on {subject} is no agent of ours: {error}") from None
