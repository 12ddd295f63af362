"""A record of a range's log: what its bytes say, and whose it is.

    format u8 | kind u8 | window u8 | epoch u64 | checksum u32 | body

The number of a record is its sequence in the stream, and is not in it. An *epoch* is the number of
the epoch record that began it. A data record carries the epoch of its writer, an epoch record that
which it ends. The *window* is how many records its writer may have on their way at once.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from relay.errors import LogDamaged

FORMAT: Final = 1
# So many records may one writer have on their way. What bounds `claim` and `reader`: the larger
# it is, the more records a takeover must write where anybody used so many.
MOST_IN_FLIGHT: Final = 16

_HEAD: Final = struct.Struct(">BBBQ")
_CHECKSUM: Final = struct.Struct(">I")
HEAD_BYTES: Final = _HEAD.size + _CHECKSUM.size


class Kind(IntEnum):
    """What a record is; the numbers are for good.

    Who meets another kind stops there: what it does not know it cannot pass over.
    """

    DATA = 1  # a record of the owner's journal
    EPOCH = 2  # another owner, from here on: `Claimed`
    HANDED = 3  # the owner will write no more, and somebody else shall: `Handed`


class LogRecord(NamedTuple):
    """What one record says; `checksum` is over all the rest of it."""

    kind: Kind
    epoch: int
    body: bytes
    window: int
    checksum: int

    def epoch_at(self, number: int) -> int:
        """Return the epoch that this record, as the one with that number, speaks for."""
        return number if self.kind is Kind.EPOCH else self.epoch


class Claimed(msgspec.Struct, frozen=True):
    """The body of an epoch record: whose the range is from there on.

    `process` differs for each process that ever claims, so that it knows its own record again.
    """

    host: str
    boot: int
    process: str
    endpoint: str  # where the workers and fronts of other hosts connect to it


class Handed(msgspec.Struct, frozen=True):
    """The body of a record by which an owner steps back: whose turn it is."""

    to_host: str


_encode_body = msgspec.msgpack.Encoder().encode
_decode_claimed = msgspec.msgpack.Decoder(Claimed).decode
_decode_handed = msgspec.msgpack.Decoder(Handed).decode


def encode(kind: Kind, epoch: int, body: bytes, window: int = 1) -> bytes:
    """Return the bytes of a record; see `decode` for what comes back.

    `window` is from 1 to MOST_IN_FLIGHT.
    """
    assert 1 <= window <= MOST_IN_FLIGHT, f"a window of {window}"
    head = _HEAD.pack(FORMAT, kind, window, epoch)
    return b"".join((head, _CHECKSUM.pack(_checksum(head, body)), body))


def decode(data: bytes) -> LogRecord:
    """Return what the bytes of a record say.

    Raises:
        LogDamaged: they are not what `encode` wrote, or a later version did.
    """
    if len(data) < HEAD_BYTES:
        raise LogDamaged(f"a record of the log has {len(data)} bytes, and none is so short")
    form, kind, window, epoch = _HEAD.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, _HEAD.size)
    if form != FORMAT:
        raise LogDamaged(
            f"a record of the log has format {form}, and this version reads {FORMAT}: it is for"
            " another version"
        )
    body = data[HEAD_BYTES:]
    if _checksum(data[: _HEAD.size], body) != checksum:
        raise LogDamaged(f"a record of the log of {len(data)} bytes has a wrong checksum")
    if not 1 <= window <= MOST_IN_FLIGHT:
        # Whoever claims the range would not wait for all that may still come of that writer's.
        raise LogDamaged(
            f"a record of the log has a window of {window}, and this version knows up to"
            f" {MOST_IN_FLIGHT}: it is for another version"
        )
    try:
        return LogRecord(Kind(kind), epoch, body, window, checksum)
    except ValueError:
        raise LogDamaged(
            f"a record of the log is of kind {kind}, which this version does not know: it is for a"
            " later one"
        ) from None


def checksum_of(data: bytes) -> int:
    """Return the checksum that the bytes of a record carry, as they came from `encode`."""
    return int(_CHECKSUM.unpack_from(data, _HEAD.size)[0])


def encode_claimed(claimed: Claimed) -> bytes:
    """Return the body of an epoch record."""
    return _encode_body(claimed)


def decode_claimed(body: bytes) -> Claimed:
    """Return what the body of an epoch record says.

    Raises:
        LogDamaged: it is none.
    """
    try:
        return _decode_claimed(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogDamaged(f"an epoch record of the log is damaged: {error}") from None


def encode_handed(to_host: str) -> bytes:
    """Return the body of the record by which an owner hands a range to `to_host`."""
    return _encode_body(Handed(to_host))


def decode_handed(body: bytes) -> str:
    """Return to whom the body of such a record hands a range.

    Raises:
        LogDamaged: it is none.
    """
    try:
        return _decode_handed(body).to_host
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogDamaged(f"a record of the log that hands on is damaged: {error}") from None


def _checksum(head: bytes, body: bytes) -> int:
    return crc32(body, crc32(head))
