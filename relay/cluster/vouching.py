"""Whether a host lives of which no beat comes: its workers are asked, and vouch for it.

A host's agent may be gone alone, and its workers serve as before. Whoever misses its beats calls
them before the silence counts as a loss. Each worker that hears it answers, over its own connection
with the engine: which range it has, and since which epoch it owns it. Nothing is asked of a host
that beats. Pure: what is sent and what has come is the agent's to carry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import Final, NamedTuple

import msgspec

from relay.cluster.natsframes import UNREADABLE
from relay.errors import RelayError

# Of the silence that counts as a loss, what passes before the workers are asked: more than a beat
# is late on most days, and the rest is time for some answers.
CALLED_AFTER: Final = 0.4
CALL_EVERY_S: Final = 0.25
# So often where nobody has answered for as long as a loss takes: the host is gone, most likely.
CALL_SELDOM_S: Final = 1.0
# What is answered so late is not worth much: it tells of the time when it was asked.
_KEPT_S: Final = 5.0
# The upper bits of a call's number are the agent's: none comes again from its successor.
_SHIFT: Final = 20


class VouchUnreadable(RelayError):
    """Somebody has sent something else as an answer: it says nothing of any host."""


class Vouch(msgspec.Struct, frozen=True, array_like=True):
    """A worker lives that has a range; it owns it since `epoch`, or stands by where that is 0."""

    range_: int
    epoch: int


_decode = msgspec.msgpack.Decoder(Vouch).decode


def encode_vouch(vouch: Vouch) -> bytes:
    """Return the bytes of an answer."""
    return msgspec.msgpack.encode(vouch)


def decode_vouch(data: bytes) -> Vouch:
    """Return what a worker has answered.

    Raises:
        VouchUnreadable: it is no answer.
    """
    try:
        return _decode(data)
    except UNREADABLE as error:
        raise VouchUnreadable(f"an answer of {len(data)} bytes cannot be read: {error}") from None


class Call(msgspec.Struct, frozen=True):
    """What was asked: the workers of which host, and when."""

    host: str
    at_s: float


class Calls:
    """Which hosts' workers an agent has asked, and which it is to ask now."""

    def __init__(self, incarnation: int, *, detect_s: float) -> None:
        """Have asked nobody; `incarnation` is the agent's."""
        self._number = incarnation << _SHIFT
        self._detect_s = detect_s
        self._asked: dict[int, Call] = {}
        self._due_s: dict[str, float] = {}

    def due(self, beatless_s: Mapping[str, float], now_s: float) -> list[tuple[int, str]]:
        """Return the hosts whose workers are to be asked now, each with the number of the call.

        `beatless_s` is for how long no beat has come of each host.
        """
        calls = []
        for number, call in list(self._asked.items()):
            if now_s - call.at_s >= _KEPT_S:
                del self._asked[number]
        for host, for_s in beatless_s.items():
            if for_s < CALLED_AFTER * self._detect_s or now_s < self._due_s.get(host, 0.0):
                continue
            self._number += 1
            self._asked[self._number] = Call(host, now_s)
            self._due_s[host] = now_s + CALL_EVERY_S
            calls.append((self._number, host))
        return calls

    def rest(self, host: str, now_s: float) -> None:
        """Ask a host seldom for now: it counts as lost."""
        self._due_s[host] = max(self._due_s.get(host, 0.0), now_s + CALL_SELDOM_S)

    def call(self, number: int) -> Call | None:
        """Return what was asked under a number, None where that is too long ago."""
        return self._asked.get(number)


class Answered(NamedTuple):
    """What a worker has answered of its range, and when that was asked."""

    epoch: int
    at_s: float


class Vouched:
    """Who was vouched for, and when that was asked."""

    def __init__(self) -> None:
        """Know of nobody."""
        self._hosts: dict[str, float] = {}
        self._owners: dict[tuple[str, int], Answered] = {}

    def note(self, host: str, vouch: Vouch, asked_s: float) -> None:
        """Take an answer of one of its workers."""
        self._hosts[host] = max(self._hosts.get(host, asked_s), asked_s)
        known = self._owners.get((host, vouch.range_))
        if known is None or asked_s >= known.at_s:  # of two processes the later one
            self._owners[host, vouch.range_] = Answered(vouch.epoch, asked_s)

    @property
    def hosts(self) -> Set[str]:
        """Of which any worker has ever answered."""
        return self._hosts.keys()

    def at_s(self, host: str) -> float:
        """Return when a host lived, by what its workers have answered; ever so long ago if none."""
        return self._hosts.get(host, -math.inf)

    def owner(self, host: str, range_: int) -> Answered | None:
        """Return what the host's worker of a range has answered last."""
        return self._owners.get((host, range_))
