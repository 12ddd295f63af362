"""WebSocket pings of a connection: they find dead peers, their pongs confirm receipts (R7)."""

from __future__ import annotations

from relay.bus.envelopes import NO_SEQ, Seq
from relay.settings.tables import KeepaliveSettings

# Receipts wait in the mailbox for a pong, and only so many may: the writer of a large group gets
# them by the thousand a second.
MAX_RECEIPTS_BEFORE_PING = 500


class Pinger:
    """When to ping, what a pong confirms, and when the peer counts as dead. Times in ms."""

    __slots__ = (
        "_number",
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
        # (number, when it counts as unanswered, the receipts that its pong confirms)
        self._waiting: list[tuple[int, int, Seq]] = []

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

    def ping(self, now_ms: int, *, receipts_up_to: Seq) -> bytes:
        """Return the payload of a ping to send now, behind the receipts up to that seq."""
        self._number += 1
        self._regular_due_ms = now_ms + int(self._settings.ping_interval_s * 1000)
        self._receipts_due_ms = None
        self._receipts = 0
        timeout_ms = int(self._settings.pong_timeout_s * 1000)
        self._waiting.append((self._number, now_ms + timeout_ms, receipts_up_to))
        return b"%d" % self._number

    def pong(self, payload: bytes) -> Seq:
        """Take a pong; return up to which receipts are confirmed, 0 where none newly are.

        A pong also answers the pings before its own (RFC 6455, 5.5.3). Others are ignored.
        """
        if not (0 < len(payload) < 20 and payload.isdigit()):
            return NO_SEQ
        number = int(payload)
        if not self._waiting or not self._waiting[0][0] <= number <= self._waiting[-1][0]:
            return NO_SEQ
        confirmed = NO_SEQ
        while self._waiting and self._waiting[0][0] <= number:
            confirmed = self._waiting.pop(0)[2]
        return confirmed

    def is_dead(self, now_ms: int) -> bool:
        """Whether a ping has gone unanswered for too long."""
        return bool(self._waiting) and self._waiting[0][1] <= now_ms

    def excuse(self, now_ms: int) -> None:
        """Start the wait for pongs again: the connection was not read meanwhile."""
        timeout_ms = int(self._settings.pong_timeout_s * 1000)
        self._waiting = [
            (number, now_ms + timeout_ms, receipts) for number, _, receipts in self._waiting
        ]
