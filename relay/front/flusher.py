"""When clients are sent what was written for them: so that nobody waits for many others' writes."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

# Sockets that are written in one loop turn; others' frames are read in between.
MAX_FLUSHED: Final = 64
# While there are 1-1 messages, a large group's frame goes to its members a few at a time. Written
# at once it is acked at once: some 100 us of work a member, and everybody else's frames behind it.
SPREAD_SOCKETS: Final = 16
SPREAD_EVERY_S: Final = 0.004
# Over a thousand go faster, by as much as it takes for the last one to wait no longer.
SPREAD_WITHIN_S: Final = 0.25


class Writer(Protocol):
    """A connection with something to write."""

    def flush(self) -> None:
        """Hand what was written to the kernel in one write."""


class Flusher:
    """Decides when each of a front's connections hands the kernel what it has gathered."""

    def __init__(self, loop: asyncio.AbstractEventLoop, direct_messages: Callable[[], int]) -> None:
        """Spread while `direct_messages`, the number of 1-1 messages that went by, grows."""
        self._loop = loop
        self._count_direct = direct_messages
        self._dirty: list[Writer] = []
        self._spread: OrderedDict[Writer, None] = OrderedDict()  # in the order of their turns
        self._spread_most = 0  # who waited at a time, since nobody did
        self._direct_messages = 0  # up to the last tick
        self.written_bytes = 0  # to clients, without TLS
        self._is_alone = True  # no 1-1 message went by between the last two ticks

    def flush_soon(self, writer: Writer) -> None:
        """Flush `writer` at the end of this loop turn, or of a later one behind many others."""
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(writer)

    def _flush(self) -> None:
        dirty = self._dirty
        if len(dirty) <= MAX_FLUSHED:
            self._dirty = []
        else:
            dirty, self._dirty = dirty[:MAX_FLUSHED], dirty[MAX_FLUSHED:]
            self._loop.call_soon(self._flush)
        for writer in dirty:
            writer.flush()

    def flush_spread(self, writer: Writer) -> None:
        """Flush `writer` when its turn among the members of large groups comes."""
        if not self._spread:
            self._loop.call_soon(self._flush_some)
        self._spread[writer] = None

    def _flush_some(self) -> None:
        waiting = self._spread
        self._spread_most = max(self._spread_most, len(waiting))
        if self._is_alone and self._direct_messages == self._count_direct():
            count, pause_s = MAX_FLUSHED, 0.0
        else:
            share = math.ceil(self._spread_most * SPREAD_EVERY_S / SPREAD_WITHIN_S)
            count = min(max(SPREAD_SOCKETS, share), MAX_FLUSHED)
            pause_s = SPREAD_EVERY_S * min(1.0, count / share)
        for _ in range(min(len(waiting), count)):
            writer, _ = waiting.popitem(last=False)
            writer.flush()
        if waiting:
            self._loop.call_later(pause_s, self._flush_some)
        else:
            self._spread_most = 0

    def tick(self) -> None:
        """Note whether others chat: they do not if no 1-1 message goes by between two ticks."""
        direct_messages = self._count_direct()
        self._is_alone = self._direct_messages == direct_messages
        self._direct_messages = direct_messages
