"""What was written for a client and is not with the kernel yet: one write a socket and turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from relay.front.flusher import Flusher, Writer


class _Nobody:
    """The owner of what can be sent no more."""

    def flush(self) -> None:
        """Do nothing."""


_NOBODY: Final = _Nobody()


class Writing(msgspec.Struct, eq=False, gc=False):
    """The writing side of one transport; its `owner` is flushed when the flusher says."""

    _transport: asyncio.Transport
    _owner: Writer
    _flusher: Flusher
    _framed: Callable[[bytes], bytes]  # which makes frames of texts
    _out: list[bytes] | None = None  # an empty list takes 56 bytes
    _is_dirty: bool = False  # it will be flushed
    has_ended: bool = False  # nothing can be sent any more

    def frame_by(self, framed: Callable[[bytes], bytes]) -> None:
        """Have something else make frames of texts."""
        self._framed = framed

    @property
    def waiting_bytes(self) -> int:
        """How much the kernel has not taken."""
        return self._transport.get_write_buffer_size()

    def text(self, text: bytes) -> None:
        """Send this."""
        if self._out is None:
            self._out = []
        self._out.append(self._framed(text))
        if not self._is_dirty:
            self._is_dirty = True
            self._flusher.flush_soon(self._owner)

    def texts(self, texts: list[bytes]) -> None:
        """Send these, and empty the list."""
        if len(texts) == 1:  # as nearly always
            self.text(texts.pop())
            return
        if self._out is None:
            self._out = []
        self._out += map(self._framed, texts)
        texts.clear()
        if not self._is_dirty:
            self._is_dirty = True
            self._flusher.flush_soon(self._owner)

    def spread_text(self, text: bytes) -> None:
        """Send this when the turn of large groups' members comes.

        What is written for this client alone does not wait, and takes it along.
        """
        if self._out is None:
            self._out = []
        self._out.append(self._framed(text))
        if not self._is_dirty:
            self._flusher.flush_spread(self._owner)

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._out is None:
            self._out = []
        self._out.append(data)
        if not self._is_dirty:
            self._is_dirty = True
            self._flusher.flush_soon(self._owner)

    def end(self) -> None:
        """End the stream behind what was written.

        Half-closed: what the client still sends is read and discarded, or its kernel would throw
        away the close frame with our reset.
        """
        self.flush()
        if not self._transport.is_closing() and not self.has_ended:
            self._transport.write_eof()
        self.has_ended = True

    def flush(self) -> bool:
        """Hand what was written to the kernel in one write; return whether there was something."""
        self._is_dirty = False
        out, self._out = self._out, None
        if not out:
            return False
        if self.has_ended or self._transport.is_closing():
            return False
        data = out[0] if len(out) == 1 else b"".join(out)
        self._flusher.written_bytes += len(data)
        self._transport.write(data)
        return True

    def drop(self) -> None:
        """Forget what is not with the kernel, and the owner: nobody can be sent anything.

        They refer to each other, and the garbage collector hardly ever looks.
        """
        self._out = None
        self._owner = _NOBODY
