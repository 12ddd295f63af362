"""Frames of a client that have to wait: behind a login, or for room in its budget."""

from __future__ import annotations

from collections import deque
from typing import Final

from relay.front.output import Hold, Output

# What is held for want of room until the client is not read any more.
MAX_HELD_BYTES: Final = 256 * 1024
_OVERHEAD: Final = 64  # of a frame in memory, so that tiny ones count


class Backlog:
    """The frames in order; too many of them hold the reading."""

    __slots__ = ("_frames", "_out", "came_ms", "held_bytes")

    def __init__(self, out: Output) -> None:
        self._out = out
        # An empty deque takes 600 bytes, and few sessions need one.
        self._frames: deque[bytes] | None = None
        self.held_bytes = 0  # with what they take besides
        self.came_ms = 0  # when the last frame did

    def __len__(self) -> int:
        return len(self._frames) if self._frames else 0

    @property
    def next_bytes(self) -> int:
        """How long the oldest frame is; there is one."""
        assert self._frames
        return len(self._frames[0])

    def add(self, payload: bytes, now_ms: int) -> None:
        """Keep a frame; too many stop the reading."""
        if self._frames is None:
            self._frames = deque()
        self._frames.append(payload)
        self.came_ms = now_ms
        self.held_bytes += len(payload) + _OVERHEAD
        # Until then it is read, so that its pings and pongs are. At a login reading is on hold
        # already.
        if self.held_bytes >= MAX_HELD_BYTES:
            self._out.add_hold(Hold.PENDING)

    def pop(self) -> bytes:
        """Remove and return the oldest frame; there is one."""
        assert self._frames
        payload = self._frames.popleft()
        self.held_bytes -= len(payload) + _OVERHEAD
        return payload

    def ease(self) -> None:
        """Let the client be read again where little is left."""
        if self.held_bytes <= MAX_HELD_BYTES // 2:
            self._out.drop_hold(Hold.PENDING)

    def clear(self) -> None:
        """Forget all frames."""
        self._frames = None
        self.held_bytes = 0
