"""What a worker has received and has not decided on: each sender's in order, all in turn.

A batch is decided for a bounded time, whatever it holds. What is left then waits here, and is
served a piece of each sender at a time, so that one's large batch does not push aside another's.
What need not be decided at once waits here for company, too.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from relay.bus.envelopes import (
    Acked,
    AckedByMany,
    Applied,
    Confirmed,
    Durable,
    Receipt,
    ToWorker,
)
from relay.bus.gathering import MOST_RIDERS
from workers.shard.effects import Identity

# Envelopes that are decided between two looks at the clock. Most take some microseconds, the
# dearest, a page of a mailbox or a message to a large group, some milliseconds.
PIECE: Final = 8


class Haste(IntEnum):
    """How soon something is to be decided: the greatest holds for all that is decided with it."""

    NONE = 0  # it frees space, and nothing waits for it
    RIDES = 1  # it may wait a little for company
    NOW = 2


def _may_ride(item: ToWorker) -> bool:
    """Whether it is about a receipt only: of that an author hears a little later."""
    if type(item) is Acked:
        return len(item.message_ids) < MOST_RIDERS
    if type(item) is AckedByMany:
        return len(item.ackers) < MOST_RIDERS
    return type(item) is Durable and type(item.content) is Receipt


def _words(item: ToWorker) -> int:
    """How much is said by it."""
    if type(item) is AckedByMany:
        return len(item.ackers)
    return len(item.message_ids) if type(item) is Acked else 1


class Received(NamedTuple):
    """What one ZeroMQ message brought, or a piece of that."""

    origin: Identity
    peer: int | None  # the worker that sent it, None for a front
    items: Sequence[ToWorker]
    applied: Sequence[Applied] = ()
    number: int = 0  # of a front's batch
    size: int = 0  # its bytes
    ends: bool = True  # whether nothing of the message comes behind this

    def haste(self, *, rides: bool) -> Haste:
        """Return how soon it is to be decided; `rides` says whether anything may ride now."""
        haste = Haste.NONE
        for item in self.items:
            if isinstance(item, Confirmed):
                continue
            if not rides or not _may_ride(item):
                return Haste.NOW
            haste = Haste.RIDES
        if haste is Haste.RIDES and sum(map(_words, self.items)) >= MOST_RIDERS:
            return Haste.NOW
        return haste

    def behind(self, count: int) -> Received:
        """Return what is left of it when `count` items are decided."""
        return self._replace(items=self.items[count:])


class _Line:
    """What one sender has sent, in order."""

    __slots__ = ("begun", "received")

    def __init__(self) -> None:
        self.received: deque[Received] = deque()
        self.begun = 0  # items of the first that were taken


class Inbox:
    """What waits for a decision. `size` is the bytes of it, messages that are begun included.

    It `is_behind` where the last batch had no time for all of it; else what is in it can wait.
    """

    def __init__(self) -> None:
        self.size = 0
        self.most_items = sys.maxsize  # of a piece, where it is to be less than PIECE
        self.is_behind = False
        self._lines: dict[tuple[Identity, int | None], _Line] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    @property
    def piece(self) -> int:
        """How many items of one sender are decided before anything else is looked at."""
        return min(PIECE, self.most_items)

    def add(self, received: Sequence[Received]) -> None:
        """Have all of it wait, in this order, behind what waits of the same senders."""
        for each in received:
            self.size += each.size
            line = self._lines.get((each.origin, each.peer))
            if line is None:
                line = self._lines[each.origin, each.peer] = _Line()
            line.received.append(each)

    def take(self) -> Received:
        """Return the next piece, of the sender whose turn it is; StopIteration if there is none."""
        sender, line = next(iter(self._lines.items()))
        if len(self._lines) > 1:
            del self._lines[sender]
            self._lines[sender] = line
        received, begun = line.received[0], line.begun
        piece = self.piece
        line.begun = begun + piece
        ends = line.begun >= len(received.items)
        if ends:
            self.size -= received.size
            line.begun = 0
            line.received.popleft()
            if not line.received:
                del self._lines[sender]
        if ends and not begun:
            return received
        origin, peer, items, applied, number, size, _ = received
        return Received(
            origin, peer, items[begun : begun + piece], applied if ends else (), number, size, ends
        )

    def forget(self, sender: Identity) -> int:
        """Drop what a front has sent; return how many messages that were."""
        line = self._lines.pop((sender, None), None)
        if line is None:
            return 0
        self.size -= sum(each.size for each in line.received)
        return len(line.received)
