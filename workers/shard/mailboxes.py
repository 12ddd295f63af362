"""The mailboxes of a worker: a reader's is in memory with it, an absent user's for one batch."""

from __future__ import annotations

from workers.shard.mailbox import Mailbox
from workers.shard.readers import Reader, Readers
from workers.shard.turn import Turn


class Mailboxes:
    """Finds the mailbox of any user of this worker."""

    def __init__(self, turn: Turn, readers: Readers) -> None:
        self._turn = turn
        self._reader_of = readers.of_user
        self._absent: dict[str, Mailbox] = {}  # of users without a reader, for this batch

    def of(self, user: str) -> Mailbox:
        """Return the mailbox of a user, who may be absent."""
        reader = self._reader_of(user)
        return self.of_absent(user) if reader is None else reader.mailbox

    def of_absent(self, user: str) -> Mailbox:
        """Return the mailbox of a user without a reader, counted; `end` saves its totals."""
        mailbox = self._absent.get(user)
        if mailbox is None:
            mailbox = self._absent[user] = Mailbox.load(self._turn.batch, user)
            if not mailbox.is_counted:
                # Its last session ended with its worker, which did not do it.
                mailbox.make_receipts_findable(self._turn.batch)
        return mailbox

    def enter(self, user: str) -> Mailbox:
        """Return the mailbox of a user who gets a reader, with which it lives from here on."""
        mailbox = self._absent.pop(user, None)
        if mailbox is None:
            mailbox = Mailbox.load(self._turn.batch, user)
        if mailbox.is_counted:
            # While a reader is there only memory knows them; a crash has them counted anew.
            self._turn.batch.delete_totals(mailbox.box)
        return mailbox

    def leave(self, reader: Reader) -> None:
        """Keep the mailbox of a reader that has ended as an absent user's is kept."""
        reader.mailbox.make_receipts_findable(self._turn.batch)
        self._absent[reader.user] = reader.mailbox

    def count_evicted(self, mailbox: Mailbox) -> None:
        """Count what a mailbox has given up since the last time."""
        self._turn.counters["entries_evicted"] += mailbox.evicted
        mailbox.evicted = 0

    def end(self) -> None:
        """Write the totals of the absent users that the batch has touched."""
        for mailbox in self._absent.values():
            mailbox.save(self._turn.batch)
        self._absent.clear()
