"""Whose turn it is to be read: what a front takes of all its clients in a loop turn is bounded.

By time, because a frame is work for 5 us or for 15 ms. Most reads are taken at once. What comes
when the turn has lasted long enough waits, and so does what one client has left over: those are
served in order, a little of each. Whoever sends what takes long waits in a lane of its own, which
has a small share of the front's time. So the others hardly feel how many such clients there are.

That lane is served by start-time fair queueing: next is who has had least of its time. So one who
has had none lately goes before those who keep it full, however many they are.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final, Protocol

# In a loop turn: reads as they come, and those that have waited. The heartbeat is a second.
TURN_S: Final = 0.010
WAITING_S: Final = 0.002
# Reads between two looks at the clock.
READS: Final = 8
# Bytes of a client that are no short work: they, and a client that took so long, go by the long
# lane. That is at work for one part in so many of the time.
LONG_BYTES: Final = 32 * 1024
LONG_S: Final = 0.001
LONG_PART: Final = 8


class Reader(Protocol):
    """A connection that waits for its turn."""

    # Up to where it has had of the long lane, in that lane's own time.
    long_s: float

    def read_on(self) -> None:
        """Take what was read, or some of it."""


class Turns:
    """Who is to be read on, in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.clock_s: Callable[[], float] = time.perf_counter
        # How many reads are taken until the next look at the clock; a look costs as much as a
        # hundredth of a short read.
        self.reads = 0
        self.read_bytes = 0  # of clients, without TLS and what was before their handshakes' end
        self._turn_at = -1.0
        self._ends_s = 0.0
        self._waiting: deque[Reader] = deque()
        # (where it begins in the lane's time, the how many-th it is, who)
        self._long: list[tuple[float, int, Reader]] = []
        self._long_came: list[Reader] = []  # since the last turn in that lane
        self._long_count = 0
        self._long_s = 0.0  # the lane's time: where the last turn began
        self._serves_soon = False
        self._serves_long_soon = False

    def is_over(self) -> bool:
        """Tell whether this loop turn has lasted long enough; to be asked when `reads` is 0."""
        at, now_s = self.loop.time(), self.clock_s()
        if at != self._turn_at:  # uvloop's time stands still during a turn
            self._turn_at, self._ends_s = at, now_s + TURN_S
        elif now_s >= self._ends_s:
            return True
        self.reads = READS
        return False

    def wait(self, reader: Reader, *, is_long: bool) -> None:
        """Have it read on when its turn comes, in a later loop turn."""
        if is_long:
            self._long_came.append(reader)
            if not self._serves_long_soon:
                self._serves_long_soon = True
                self.loop.call_soon(self._serve_long)
            return
        self._waiting.append(reader)
        if not self._serves_soon:
            self._serves_soon = True
            self.loop.call_soon(self._serve)

    def _serve(self) -> None:
        self._serves_soon = False
        ends_s = self.clock_s() + WAITING_S
        for _ in range(len(self._waiting)):
            self._waiting.popleft().read_on()
            if self.clock_s() >= ends_s:
                break
        if self._waiting and not self._serves_soon:
            self._serves_soon = True
            self.loop.call_soon(self._serve)

    def _serve_long(self) -> None:
        self._line_up()
        if not self._long:
            self._serves_long_soon = False
            return
        self._long_s, _, reader = heappop(self._long)
        began_s = self.clock_s()
        reader.read_on()
        took_s = self.clock_s() - began_s
        reader.long_s = max(reader.long_s, self._long_s) + took_s
        # It rests also where nobody waits: who comes next must not find it rested.
        self.loop.call_later((LONG_PART - 1) * took_s, self._serve_long)

    def _line_up(self) -> None:
        """Give those who came a place: behind what they have had, and never in the past.

        Only now, because one who wants another turn says so before it is known how long its last
        one took.
        """
        for reader in self._long_came:
            self._long_count += 1
            begins_s = max(self._long_s, reader.long_s)
            heappush(self._long, (begins_s, self._long_count, reader))
        self._long_came.clear()
