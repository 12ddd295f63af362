"""Whether a connection is read: not while something holds it, and not while it rests."""

from __future__ import annotations

import asyncio

import msgspec


class Reading(msgspec.Struct, eq=False, gc=False):
    """The reading side of one transport, which it pauses and resumes."""

    _transport: asyncio.Transport
    holds: int = 0
    rests: bool = False  # others have their turn first
    _awaits_close: bool = False  # whatever holds, only the client's close is awaited now

    @property
    def is_on(self) -> bool:
        """Whether what the client sends is taken as it comes."""
        return not (self.holds or self.rests)

    def hold(self, holds: int, *, of: int) -> bool:
        """Let those of the reasons `of` that are in `holds` hold, and the others of them not.

        Return whether the client is read again with this: it was not, and nothing holds any more.
        """
        before, self.holds = self.holds, (self.holds & ~of) | holds
        if bool(before) is bool(self.holds) or self._awaits_close or self._transport.is_closing():
            return False
        if self.holds:
            if not self.rests:
                self._transport.pause_reading()
            return False
        if not self.rests:
            self._transport.resume_reading()
        return True

    def rest(self) -> None:
        """Read no more until `rested`."""
        self.rests = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def rested(self) -> None:
        """Read on, unless something holds."""
        self.rests = False
        if (not self.holds or self._awaits_close) and not self._transport.is_closing():
            self._transport.resume_reading()

    def await_close(self) -> None:
        """Read whatever holds, because the client's close comes behind what it sends."""
        self._awaits_close = True
        self.holds = 0
        if not self.rests and not self._transport.is_closing():
            self._transport.resume_reading()
