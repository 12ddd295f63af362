"""A beat: what a host's agent tells all others, each quarter of a second and at each change.

It tells everything, so one that is lost does no harm. It is told without a time: the clocks of two
hosts are never compared, and what counts is when a beat arrived.
"""

from __future__ import annotations

from typing import Final

import msgspec

from relay.cluster.natsframes import UNREADABLE
from relay.errors import RelayError

EVERY_S: Final = 0.25


class BeatUnreadable(RelayError):
    """Somebody has sent something else as a beat: the host counts as silent until it is mended."""


class Owned(msgspec.Struct, frozen=True, array_like=True):
    """A range that is owned: since which epoch, and where other hosts reach its worker."""

    epoch: int
    endpoint: str


class EngineFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a host's own engine has of the logs of ranges; nothing where the engine is not ours."""

    leads: tuple[int, ...] = ()  # ranges whose stream it leads
    # Ranges of whose stream it has a replica that lacks nothing, and may lead.
    current: tuple[int, ...] = ()
    behind: dict[int, int] = {}  # how many records a replica of it lacks, where it lacks any
    last: dict[int, int] = {}  # the last record of each stream of which it has a replica
    # Its disk is as good as full, and it may soon be able to write nothing.
    lacks_room: bool = False


class Beat(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one host has, in one moment.

    Of two beats the one with the greater (`boot`, `number`) is the later one: `boot` grows with
    each start of the host's supervisor, `number` with each beat behind it. Other versions may tell
    more, which is passed over, or less. Over 15 fields, since it is all that a host has.
    """

    host: str
    boot: int
    number: int
    owned: dict[int, Owned] = {}  # ranges, with a process that serves them
    standing: dict[int, int] = {}  # ranges with a standby, and up to which record it has applied
    # Ranges whose log has less than was acked, as it knows, and the host that found it.
    lost: dict[int, str] = {}
    synced: dict[int, int] = {}  # of both: up to which record a power cut would leave everything
    copied: dict[int, int] = {}  # ranges of which others read a copy here: what is in it at least
    fronts: tuple[str, ...] = ()  # that serve, by identity
    # It stops soon, or its disk is as good as full: others are to own what it owns.
    draining: bool = False
    moving: int | None = None  # the range that it hands over just now
    # A range that it would hand over next, behind those that cannot wait (False).
    wants: tuple[bool, int] | None = None
    ranges: int = 0  # how many the cluster has, as its file says; 0: an earlier version
    origin: int = 0  # of which backup its logs begin behind (`placement.Plan.origin`)
    plan: int = 0  # which placement it goes by (`placement.Plan.mark`)
    accord: int = 0  # the number of the accord that holds there; 0: none, or it has just begun
    accord_refused: str = ""  # why a newer one does not
    version: str = ""
    engine: EngineFacts = EngineFacts()

    @property
    def order(self) -> tuple[int, int]:
        """What is greater in a later beat of the host."""
        return self.boot, self.number


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Beat).decode


def encode_beat(beat: Beat) -> bytes:
    """Return the bytes of a beat."""
    return _encode(beat)


def decode_beat(data: bytes) -> Beat:
    """Return what a beat says.

    Raises:
        BeatUnreadable: it is none.
    """
    try:
        return _decode(data)
    except UNREADABLE as error:
        raise BeatUnreadable(f"a beat of {len(data)} bytes cannot be read: {error}") from None
