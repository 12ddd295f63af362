"""WebSocket pings of a connection: they find dead peers, and help to confirm entries (R7).

A pong proves that what was written before its ping has come to the client's machine. Browsers send
it for a page whose script is frozen, so only a frame of the client that comes a while later proves
that its program had what the pong covers.
"""

from __future__ import annotations

from typing import Final

from relay.bus.envelopes import NO_SEQ, Seq
from relay.settings.tables import KeepaliveSettings

# Receipts wait in the mailbox for a pong, and only so many may: the writer of a large group gets
# them by the thousand a second.
MAX_RECEIPTS_BEFORE_PING: Final = 500
# A frame that comes sooner after a pong may have been under way before it (R7).
FRAME_AFTER_MS: Final = 1000
# Pongs that wait for a frame: within FRAME_AFTER_MS hardly more come. Of more, one waits longer.
_MAX_PROVEN: Final = 8


class Pinger:
    """When to ping, what pongs and frames confirm, and when the peer is dead. Times in ms."""

    __slots__ = (
        "_number",
        "_proven",
        "_receipts",
        "_receipts_due_ms",
        "_regular_due_ms",
        "_settings",
        "_waiting",
    )

    def __init__(self, settings: KeepaliveSettings, *, now_ms: int) -> None:
        self._settings = settings
        self._number = 0
        self._regular_due_ms = now_ms + int(settings.ping_interval_s * 1000)
        self._receipts_due_ms: int | None = None
        self._receipts = 0  # written since the last ping
        # (number, when it counts as unanswered, the entries that its pong covers). Tuples, because
        # most sessions have none or one of these, and an empty list takes 56 bytes.
        self._waiting: tuple[tuple[int, int, Seq], ...] = ()
        # What pongs cover and no frame has confirmed yet: (from when on one does, the entries).
        self._proven: tuple[tuple[int, Seq], ...] = ()

    def adopt(self, settings: KeepaliveSettings, *, now_ms: int) -> None:
        """Go by other settings; pings that are out keep the time that they had for their pong.

        The wait for the next ping shrinks or grows in proportion: the pings of all connections stay
        as spread as they were.
        """
        left = max(0, self._regular_due_ms - now_ms)
        scale = settings.ping_interval_s / self._settings.ping_interval_s
        self._regular_due_ms = now_ms + int(left * scale)
        self._settings = settings

    @property
    def due_ms(self) -> int:
        """When `is_dead` or `is_due` may next become true."""
        due = self.ping_due_ms
        if self._waiting:
            due = min(due, self._waiting[0][1])
        return due

    @property
    def ping_due_ms(self) -> int:
        """When `is_due` may next become true."""
        if self._receipts_due_ms is None:
            return self._regular_due_ms
        return min(self._regular_due_ms, self._receipts_due_ms)

    def receipts_written(self, count: int) -> bool:
        """Count receipts; True where a ping must be planned for them (`ping_soon`)."""
        before, self._receipts = self._receipts, self._receipts + count
        return not before or before < MAX_RECEIPTS_BEFORE_PING <= self._receipts

    def ping_soon(self, now_ms: int) -> None:
        """Plan a ping for the receipts that were written; at once where they are too many."""
        wait_s = self._settings.receipt_ping_s if self._receipts < MAX_RECEIPTS_BEFORE_PING else 0
        self._receipts_due_ms = now_ms + int(wait_s * 1000)

    def is_due(self, now_ms: int) -> bool:
        """Whether a ping is to be sent now."""
        receipts_due = self._receipts_due_ms is not None and self._receipts_due_ms <= now_ms
        return receipts_due or self._regular_due_ms <= now_ms

    def ping(self, now_ms: int, *, up_to: Seq) -> bytes:
        """Return the payload of a ping to send now, behind everything up to that entry."""
        self._number += 1
        self._regular_due_ms = now_ms + int(self._settings.ping_interval_s * 1000)
        self._receipts_due_ms = None
        self._receipts = 0
        timeout_ms = int(self._settings.pong_timeout_s * 1000)
        self._waiting += ((self._number, now_ms + timeout_ms, up_to),)
        return b"%d" % self._number

    def pong(self, payload: bytes, now_ms: int) -> None:
        """Take a pong; a frame of the client is to confirm what it covers.

        A pong also answers the pings before its own (RFC 6455, 5.5.3). Others are ignored.
        """
        if not (0 < len(payload) < 20 and payload.isdigit()):
            return
        number = int(payload)
        if not self._waiting or not self._waiting[0][0] <= number <= self._waiting[-1][0]:
            return
        answered = number - self._waiting[0][0] + 1  # they are numbered one by one
        covered = self._waiting[answered - 1][2]
        self._waiting = self._waiting[answered:]
        if covered:
            self._prove(covered, now_ms)

    def _prove(self, covered: Seq, now_ms: int) -> None:
        proven = self._proven
        while len(proven) > 1 and proven[1][0] <= now_ms:
            proven = proven[1:]  # whatever frame confirms it confirms the next as well
        self._proven = (*proven[: _MAX_PROVEN - 1], (now_ms + FRAME_AFTER_MS, covered))

    @property
    def awaits_pong(self) -> bool:
        """Whether a ping is unanswered."""
        return bool(self._waiting)

    @property
    def awaits_frame(self) -> bool:
        """Whether a frame of the client may confirm something, now or a little later."""
        return bool(self._proven)

    def frame(self, now_ms: int) -> Seq:
        """Take it that a frame of the client came; return up to where it confirms, or 0."""
        confirmed = NO_SEQ
        while self._proven and self._proven[0][0] <= now_ms:
            confirmed = self._proven[0][1]
            self._proven = self._proven[1:]
        return confirmed

    def is_dead(self, now_ms: int) -> bool:
        """Whether a ping has gone unanswered for too long."""
        return bool(self._waiting) and self._waiting[0][1] <= now_ms

    def excuse(self, now_ms: int) -> None:
        """Start the wait for pongs again: the connection was not read meanwhile."""
        timeout_ms = int(self._settings.pong_timeout_s * 1000)
        self._waiting = tuple(
            (number, now_ms + timeout_ms, covered) for number, _, covered in self._waiting
        )
