"""What is past its time: entries of mailboxes (2.7), and what is known of messages (R20)."""

from __future__ import annotations

from relay.bus.envelopes import NO_SEQ, Seq
from workers.shard.dates import KEPT_EVERY_US, Dates, decode, encode
from workers.shard.halves import Halves
from workers.shard.mailboxes import Mailboxes
from workers.shard.purging import Purging
from workers.shard.turn import Turn
from workers.shard.waiting import Waiting
from workers.store.keys import split_box

# A sweep is bounded, so that it does not hold up the traffic between two of them.
MAX_SWEPT_ENTRIES = 500
# Counted in messages, so that under light load, when each is a batch of its own, as many are
# forgotten as come. At one sweep a second this is more than a store can take for a week.
MAX_FORGOTTEN = 5000

_DAY_US = 86_400_000_000


class Expiry:
    """Removes it, a stretch at a time."""

    def __init__(self, turn: Turn, mailboxes: Mailboxes, halves: Halves, waiting: Waiting) -> None:
        self._turn = turn
        self._waiting = waiting
        self._mailboxes = mailboxes
        self._swept = halves.swept
        self._dates: Dates | None = None  # None: not looked for yet
        self.oldest = NO_SEQ  # entry of any mailbox, as the last round of sweeps has found it
        self._oldest_so_far = NO_SEQ  # of this round

    def sweep(self, after: bytes, *, max_boxes: int, day_ms: int, moved_ms: int) -> bytes:
        """Look at a stretch of mailboxes, and at some of the known messages.

        Return where the next sweep must go on, empty when it came round.
        """
        turn = self._turn
        ttl_us = int(turn.settings.mailbox.ttl_days * _DAY_US)
        retention_us = int(turn.settings.dedupe.retention_days * _DAY_US)
        day_us = day_ms * 1000
        dates = self._keep_dates(day_us, moved_ms * 1000, ttl_us, retention_us)
        self._forget_messages(dates.reached(day_us - retention_us))
        for swept in self._swept:
            swept()
        oldest = dates.reached(day_us - ttl_us)
        for _ in range(max_boxes):
            found = turn.batch.next_box(after)
            if found is None:
                self.oldest, self._oldest_so_far = self._oldest_so_far, NO_SEQ
                return b""
            box, first = found
            if first < self._oldest_so_far or not self._oldest_so_far:
                self._oldest_so_far = first
            if first < oldest:
                user, _ = split_box(box)
                mailbox = self._mailboxes.of(user)
                expired = mailbox.expire(turn.batch, oldest, MAX_SWEPT_ENTRIES)
                turn.counters["entries_expired"] += expired
                if expired == MAX_SWEPT_ENTRIES:
                    return after
            after = box + b"\xff"
        return after

    def purge(self, purging: Purging, *, day_ms: int) -> None:
        """Go on by a stretch with what an operator has ordered."""
        dates = self._dates or decode(self._turn.batch.dates())
        before = dates.reached((day_ms - purging.order.older_than_ms) * 1000)
        purging.step(self._turn, self._mailboxes, self._waiting, before=before)

    def _keep_dates(self, day_us: int, moved_us: int, ttl_us: int, retention_us: int) -> Dates:
        """Return the dates as of today, and keep what has changed of them."""
        batch = self._turn.batch
        dates = self._dates
        if dates is None:
            dates = self._dates = decode(batch.dates())
        if moved_us:
            dates.move(by_us=moved_us, day_us=day_us)
        shortest_us, longest_us = sorted((ttl_us, retention_us))
        is_new = dates.note(
            self._turn.seq, day_us=day_us, shortest_us=shortest_us, longest_us=longest_us
        )
        if is_new or moved_us:
            batch.put_dates(encode(dates))
        if moved_us or day_us - batch.day_us() >= KEPT_EVERY_US:
            batch.put_day_us(day_us)
        return dates

    def _forget_messages(self, oldest: Seq) -> None:
        turn = self._turn
        forgotten = turn.batch.expire_messages(oldest, at_least=MAX_FORGOTTEN)
        if forgotten:
            turn.counters["messages_forgotten"] += forgotten
