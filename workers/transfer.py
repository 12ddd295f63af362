"""How a standby gets a store that it cannot make from the log alone: a copy of another host's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from relay import log
from relay.cluster.transfers import (
    Answer,
    Bytes,
    Copied,
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
from relay.disk.files import sync
from relay.errors import RelayError
from workers.store.journal import FILE_NAMES
from workers.store.seal import break_seal
from workers.store.storefile import FILE_NAME

_ASK_S: Final = 5.0  # for an answer
_AGAIN_S: Final = 0.2  # between two questions whether the copy is made
# A store of 100 GB at 50 MB/s takes half an hour. A host that makes no headway for so long is left.
_STALLED_S: Final = 120.0
# What is received, until it is whole.
_UNFINISHED: Final = "received.mdb"


class NoCopy(RelayError):
    """Nobody has a copy to give now; the message says what was heard. Nothing was changed."""


class Ask(Protocol):
    """Asks on a NATS subject; TimeoutError where nobody answers in time."""

    def __call__(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """Return the answer."""


class Source:
    """Where copies of one range come from."""

    def __init__(
        self, ask: Ask, *, cluster: str, range_: int, host: str, on_wait: Callable[[], None]
    ) -> None:
        """`host` is this one. `on_wait` is called at least every few seconds, so that it lives."""
        self._ask_for = ask
        self._cluster = cluster
        self._range = range_
        self._host = host
        self._on_wait = on_wait

    def fetch(self, directory: Path) -> int:
        """Replace the store in `directory`, if any, by a copy; return its last record's number.

        Killed at any moment it leaves the store of before, or none, or the copy.

        Raises:
            NoCopy: there is none to be had.
            OSError: it cannot be written.
        """
        holder = self._seek()
        copied = self._wait_for_copy(holder)
        log.get_logger().info(
            "store.fetching", source=holder, number=copied.number, bytes=copied.size
        )
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        received = directory / _UNFINISHED
        try:
            self._read(holder, copied, received)
            self._put_in_place(directory, received)
        finally:
            received.unlink(missing_ok=True)
        self._ask(holder, Enough(self._range, copied.number))
        log.get_logger().info("store.fetched", source=holder, number=copied.number)
        return copied.number

    def _seek(self) -> str:
        subject = f"{self._cluster}.snapshot.{self._range}"
        match self._answer(subject, Seek(self._host)):
            case Holds(host):
                return host
            case other:
                raise NoCopy(f"nobody hands out range {self._range}: {other}")

    def _wait_for_copy(self, holder: str) -> Copied:
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

    def _read(self, holder: str, copied: Copied, received: Path) -> None:
        moved_s = time.monotonic()
        with received.open("wb") as file:
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
                    case Refused(reason):
                        raise NoCopy(reason)
                    case _:
                        raise NoCopy(f"host {holder} answers what is no piece of the copy")
            file.flush()
            os.fsync(file.fileno())

    def _put_in_place(self, directory: Path, received: Path) -> None:
        """Make what was received the store. The old one goes first: its journal is not the new's.

        In that order: a copy beside the old journal would be taken for damaged.
        """
        break_seal(directory)
        for name in (FILE_NAME, "lock.mdb", *FILE_NAMES):
            (directory / name).unlink(missing_ok=True)
        sync(directory)
        received.replace(directory / FILE_NAME)
        sync(directory)

    def _ask(self, holder: str, request: Request) -> Answer:
        return self._answer(f"{self._cluster}.snapshot.{self._range}.{holder}", request)

    def _answer(self, subject: str, request: Request) -> Answer:
        self._on_wait()
        try:
            data = self._ask_for(subject, encode(request), _ASK_S)
        except TimeoutError:
            raise NoCopy(f"nobody answers on {subject}") from None
        try:
            return decode_answer(data)
        except msgspec.DecodeError as error:
            raise NoCopy(f"what answers on {subject} is no agent of ours: {error}") from None
