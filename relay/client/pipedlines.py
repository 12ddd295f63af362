"""The lines of a pipe, cut to what one message may hold."""

import asyncio
import os
import sys
import threading
from typing import Final

_MAX_LINE_BYTES: Final = 60_000  # a relay takes 65536 with all around the text
_CHUNK_BYTES: Final = 65536
_READ_AHEAD: Final = 100  # lines


class PipedLines:
    """The lines of standard input, read by a thread: a pipe, a file and a device all work so.

    The thread reads the descriptor itself. Blocked in `sys.stdin`, it would hold a lock that the
    interpreter needs to exit.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = threading.Semaphore(_READ_AHEAD)
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    async def next(self) -> str | None:
        """Return the next line without its end, or None after the last."""
        line = await self._lines.get()
        self._room.release()
        return line

    def _read(self) -> None:
        rest = b""
        try:
            while sys.stdin is not None and (chunk := os.read(sys.stdin.fileno(), _CHUNK_BYTES)):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._put(line.removesuffix(b"\r"))
                if len(rest) > _MAX_LINE_BYTES:
                    *pieces, rest = cut(rest)
                    self._put(b"".join(pieces))
            self._put(rest)
            self._hand_over(None)
        except RuntimeError:
            pass  # the loop is closed: the chat ended first

    def _put(self, line: bytes) -> None:
        for piece in cut(line):
            self._hand_over(piece.decode(errors="replace"))

    def _hand_over(self, line: str | None) -> None:
        self._room.acquire()
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


def cut(line: bytes, size: int = _MAX_LINE_BYTES) -> list[bytes]:
    """Cut a line into pieces of at most `size` bytes, at least one, never within a character."""
    pieces = []
    while len(line) > size:
        end = size
        while end > size - 3 and line[end] & 0xC0 == 0x80:  # the middle of a UTF-8 sequence
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]
