"""What is past its time: entries of mailboxes (2.7), and what is known of messages (R20)."""

from __future__ import annotations

from relay.bus.envelopes import Seq
from workers.shard.halves import Halves
from workers.shard.mailboxes import Mailboxes
from workers.shard.turn import Turn
from workers.store.keys import split_box

# A sweep is bounded, so that it does not hold up the traffic between two of them.
MAX_SWEPT_ENTRIES = 500
# Counted in messages, so that under light load, when each is a batch of its own, as many are
# forgotten as come. At one sweep a second this is more than a store can take for a week.
MAX_FORGOTTEN = 5000

_DAY_US = 86_400_000_000


class Expiry:
    """Removes it, a stretch at a time."""

    def __init__(self, turn: Turn, mailboxes: Mailboxes, halves: Halves) -> None:
        self._turn = turn
        self._mailboxes = mailboxes
        self._swept = halves.swept

    def sweep(self, after: bytes, *, max_boxes: int) -> bytes:
        """Look at a stretch of mailboxes, and at some of the known messages.

        Return where the next sweep must go on, empty when it came round.
        """
        self._forget_messages()
        for swept in self._swept:
            swept()
        turn = self._turn
        oldest = Seq(turn.now_ms * 1000 - int(turn.settings.mailbox.ttl_days * _DAY_US))
        for _ in range(max_boxes):
            found = turn.batch.next_box(after)
            if found is None:
                return b""
            box, first = found
            if first < oldest:
                user, _ = split_box(box)
                mailbox = self._mailboxes.of(user)
                expired = mailbox.expire(turn.batch, oldest, MAX_SWEPT_ENTRIES)
                turn.counters["entries_expired"] += expired
                if expired == MAX_SWEPT_ENTRIES:
                    return after
            after = box + b"\xff"
        return after

    def _forget_messages(self) -> None:
        turn = self._turn
        oldest = Seq(turn.now_ms * 1000 - int(turn.settings.dedupe.retention_days * _DAY_US))
        forgotten = turn.batch.expire_messages(oldest, at_least=MAX_FORGOTTEN)
        if forgotten:
            turn.counters["messages_forgotten"] += forgotten
