"""Copies of stores that a host hands out to others which have none: asked for, made, read, let go.

A standby whose store is older than the log's first record, or gone, cannot catch up by the log
alone. It asks who has the range, has a copy made there, and reads it piece by piece:

    Seek      to all who hold the range        -> Holds: the first answer is as good as any
    Wanted    to that host, again and again    -> Making, then Ready
    Piece     at each offset                   -> the bytes
    Enough    when it has all of them

All is asked, nothing is pushed: whoever is slow delays nobody, and who is gone is forgotten after
`KEPT_S`. One copy of a range is made at a time, and given to all who ask for it meanwhile.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, assert_never

import msgspec

from relay.cluster.natsframes import UNREADABLE
from relay.errors import RelayError

# A piece of a copy; below the 1 MB that a NATS server takes if it was not told otherwise.
PIECE_BYTES: Final = 512 * 1024
# A copy that nobody has asked a piece of for so long is removed.
KEPT_S: Final = 60.0
# Copies at a time, of all ranges: each reads a store and takes its size on the disk.
MOST_COPIES: Final = 2


class CopyUnreadable(RelayError):
    """Somebody has sent something else: it asks for no copy, and hands out none."""


class Seek(msgspec.Struct, frozen=True, tag="seek"):
    """Who has a store of the range, other than `host`?"""

    host: str


class Wanted(msgspec.Struct, frozen=True, tag="wanted"):
    """Is there a copy of the range by now? One is made."""

    range: int


class Piece(msgspec.Struct, frozen=True, tag="piece"):
    """The bytes of the copy of a range from `offset` on, at most PIECE_BYTES."""

    range: int
    number: int  # of the copy, as Ready said
    offset: int


class Enough(msgspec.Struct, frozen=True, tag="enough"):
    """The copy has been read."""

    range: int
    number: int


Request = Seek | Wanted | Piece | Enough


class Copied(msgspec.Struct, frozen=True):
    """A copy: the number of the last record that it has, and its size in bytes."""

    number: int
    size: int


class Holds(msgspec.Struct, frozen=True, tag="holds"):
    """This host has one."""

    host: str


class Making(msgspec.Struct, frozen=True, tag="making"):
    """It is being made; ask again."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """It can be read."""

    copied: Copied


class Bytes(msgspec.Struct, frozen=True, tag="bytes"):
    """Some of it."""

    content: bytes


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It cannot be had here; `reason` says why. Ask somebody else, or later."""

    reason: str


Answer = Holds | Making | Ready | Bytes | Refused

encode: Final[Callable[[Request | Answer], bytes]] = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(Request).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


def decode_answer(data: bytes) -> Answer:
    """Return what another host has answered.

    Raises:
        CopyUnreadable: it is no answer.
    """
    try:
        answer: Answer = _decode_answer(data)
    except UNREADABLE as error:
        raise CopyUnreadable(f"that is no answer: {error}") from None
    return answer


def decode_request(data: bytes) -> Request:
    """Return what another host asks.

    Raises:
        CopyUnreadable: it is no request.
    """
    try:
        request: Request = _decode_request(data)
    except UNREADABLE as error:
        raise CopyUnreadable(f"that is no request: {error}") from None
    return request


class _Copy:
    """A copy of one range's store, from the start of the process that makes it on."""

    def __init__(self, process: subprocess.Popen[str], directory: Path, now_s: float) -> None:
        self.process = process
        self.directory = directory
        self.asked_s = now_s
        self.copied: Copied | None = None  # once it is made
        self.is_read = False  # somebody has all of it, and nobody has asked since


class Transfers:
    """What one host hands out; `answer` each request, and `tick` now and then."""

    def __init__(
        self,
        host: str,
        directory: Path,
        store_of: Callable[[int], Path | None],
        start: Callable[[list[str]], subprocess.Popen[str]] | None = None,
    ) -> None:
        """Keep copies below `directory`, which is emptied.

        `store_of` returns the directory of a range's store, None where it is not held here.
        """
        self._host = host
        self._directory = directory
        self._store_of = store_of
        self._start = start or _start
        self._copies: dict[int, _Copy] = {}  # by range
        shutil.rmtree(directory, ignore_errors=True)

    def close(self) -> None:
        """Let all copies go."""
        for range_ in list(self._copies):
            self._forget(range_)

    def copied(self) -> dict[int, int]:
        """Return the ranges of which there are copies, and what is in each at least; 0: unknown."""
        return {
            range_: copy.copied.number if copy.copied else 0
            for range_, copy in self._copies.items()
        }

    def tick(self, now_s: float) -> None:
        """Remove the copies that nobody reads any more."""
        for range_, copy in list(self._copies.items()):
            if now_s - copy.asked_s > KEPT_S:
                self._forget(range_)

    def answer(self, data: bytes, now_s: float, *, range_: int = -1) -> bytes | None:
        """Return what to answer to a request; None: others may.

        `range_` is the one that a Seek is about.
        """
        try:
            request = decode_request(data)
        except CopyUnreadable as error:
            return encode(Refused(str(error)))
        match request:
            case Seek(host):
                if host == self._host or self._store_of(range_) is None:
                    return None
                return encode(Holds(self._host))
            case Wanted():
                return encode(self._want(request.range, now_s))
            case Piece():
                return encode(self._piece(request, now_s))
            case Enough():
                copy = self._copies.get(request.range)
                if copy is not None and copy.copied and copy.copied.number == request.number:
                    copy.is_read = True  # others may read it yet, for a while
                return encode(Making())
            case _:
                assert_never(request)

    def _want(self, range_: int, now_s: float) -> Answer:
        copy = self._copies.get(range_)
        if copy is None:
            store = self._store_of(range_)
            if store is None:
                return Refused(f"host {self._host} has no store of range {range_}")
            if not self._has_room():
                return Refused(f"host {self._host} makes {MOST_COPIES} copies already")
            to = self._directory / f"range-{range_}"
            try:
                shutil.rmtree(to, ignore_errors=True)
                to.mkdir(mode=0o700, parents=True)
                process = self._start(["--store", str(store), "--to", str(to)])
            except OSError as error:
                return Refused(f"host {self._host} cannot make a copy: {error.strerror}")
            copy = self._copies[range_] = _Copy(process, to, now_s)
        copy.asked_s, copy.is_read = now_s, False
        if copy.copied is None:
            if copy.process.poll() is None:
                return Making()
            said, complaint = copy.process.communicate()
            if copy.process.returncode:
                self._forget(range_)
                return Refused(complaint.strip() or f"exit {copy.process.returncode}")
            copy.copied = msgspec.json.decode(said, type=Copied)
        return Ready(copy.copied)

    def _has_room(self) -> bool:
        """Tell whether another copy may be made, for which one that was read has to go."""
        if len(self._copies) >= MOST_COPIES:
            read = next((range_ for range_, copy in self._copies.items() if copy.is_read), None)
            if read is None:
                return False
            self._forget(read)
        return True

    def _piece(self, request: Piece, now_s: float) -> Answer:
        copy = self._copies.get(request.range)
        if copy is None or copy.copied is None or copy.copied.number != request.number:
            return Refused(f"there is no such copy of range {request.range} any more")
        copy.asked_s, copy.is_read = now_s, False
        if not 0 <= request.offset < copy.copied.size:
            return Refused(f"the copy has {copy.copied.size} bytes, and none at {request.offset}")
        try:
            with (copy.directory / "data.mdb").open("rb") as file:
                file.seek(request.offset)
                return Bytes(file.read(PIECE_BYTES))
        except OSError as error:
            return Refused(f"the copy cannot be read: {error.strerror}")

    def _forget(self, range_: int) -> None:
        copy = self._copies.pop(range_)
        if copy.process.poll() is None:
            copy.process.kill()
            copy.process.communicate()
        shutil.rmtree(copy.directory, ignore_errors=True)


def _start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "workers.tools.handout", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
