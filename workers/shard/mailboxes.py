"""The mailboxes of a worker: a reader's is in memory with it, an absent user's for one batch."""

from __future__ import annotations

from typing import Final

from workers.shard.mailbox import Mailbox
from workers.shard.readers import Reader, Readers
from workers.shard.shares import Shares
from workers.shard.turn import Turn
from workers.shard.waiting import Waiting

# Receipts that a batch prepares for their authors' absence, some 4 ms. Of a mailbox with more the
# rest is left to the next batches, and it stays in memory until then.
MAX_PREPARED: Final = 500
# Absent users of whose mailboxes it is remembered who has how much: 3 KiB each, and to find it out
# again is to read the mailbox.
MAX_REMEMBERED: Final = 4096


class Mailboxes:
    """Finds the mailbox of any user of this worker."""

    def __init__(self, turn: Turn, readers: Readers, waiting: Waiting) -> None:
        self._turn = turn
        self._ends_wait = waiting.ended
        self._reader_of = readers.of_user
        self._absent: dict[str, Mailbox] = {}  # of users without a reader, for this batch
        # Of those the ones whose receipts cannot all be found yet, the longest gone first.
        self._leaving: dict[str, Mailbox] = {}
        self._shares: dict[str, Shares] = {}  # of absent users, the last that were touched last
        self._prepared = 0  # receipts, in this batch

    @property
    def is_behind(self) -> bool:
        """Whether there is work left for the next batch, even if nothing else comes.

        Not while no send can be stored: what room is left is for acks.
        """
        return bool(self._leaving) and not self._turn.refusal

    def of(self, user: str) -> Mailbox:
        """Return the mailbox of a user, who may be absent."""
        reader = self._reader_of(user)
        return self.of_absent(user) if reader is None else reader.mailbox

    def of_absent(self, user: str) -> Mailbox:
        """Return the mailbox of a user without a reader, counted; `end` saves its totals."""
        mailbox = self._absent.get(user) or self._leaving.get(user)
        if mailbox is None:
            mailbox = Mailbox.load(self._turn.batch, user)
            mailbox.shares = self._shares.get(user)
            if not mailbox.is_counted:
                # Its last session ended with its worker, so its receipts were not prepared either.
                mailbox.count(self._turn.batch)
            self._keep(user, mailbox)
        return mailbox

    def prepare(self, user: str) -> None:
        """Have the mailbox of an absent user look so, as far as this batch still may."""
        self._prepare(self.of_absent(user))

    def enter(self, user: str) -> Mailbox:
        """Return the mailbox of a user who gets a reader, with which it lives from here on."""
        mailbox = self._absent.pop(user, None) or self._leaving.pop(user, None)
        shares = self._shares.pop(user, None)
        if mailbox is None:
            mailbox = Mailbox.load(self._turn.batch, user)
            mailbox.shares = shares
        if mailbox.is_counted:
            # While a reader is there only memory knows them; a crash has them counted anew.
            self._turn.batch.delete_totals(mailbox.box)
        return mailbox

    def leave(self, reader: Reader) -> None:
        """Keep the mailbox of a reader that has ended as an absent user's is kept."""
        reader.mailbox.count(self._turn.batch)
        self._keep(reader.user, reader.mailbox)

    def _keep(self, user: str, mailbox: Mailbox) -> None:
        (self._absent if mailbox.is_findable else self._leaving)[user] = mailbox

    def _prepare(self, mailbox: Mailbox) -> None:
        most = max(0, MAX_PREPARED - self._prepared)
        self._prepared += mailbox.make_receipts_findable(self._turn.batch, most)

    def count_evicted(self, mailbox: Mailbox) -> None:
        """Count what a mailbox has given up since the last time."""
        self._turn.counters["entries_evicted"] += len(mailbox.evicted)
        for author, seq, length in mailbox.evicted:
            if author:
                self._ends_wait(author, seq, length)
        mailbox.evicted = ()

    def end(self, *, stores: bool) -> None:
        """Write the totals of what the batch has touched, and go on with those that are leaving.

        Where the batch stores nothing, nothing is written, and what is left to do stays so.
        """
        if not self._absent and not self._leaving:
            self._prepared = 0
            return  # as in most batches
        while stores and self.is_behind and self._prepared < MAX_PREPARED:
            user, mailbox = next(iter(self._leaving.items()))
            self._prepare(mailbox)
            if mailbox.is_findable:
                self._absent[user] = self._leaving.pop(user)
        for user, mailbox in self._absent.items():
            if stores:
                mailbox.save(self._turn.batch)
            self._shares.pop(user, None)
            if mailbox.shares is not None:
                self._shares[user] = mailbox.shares
        while len(self._shares) > MAX_REMEMBERED:
            del self._shares[next(iter(self._shares))]
        self._absent.clear()
        self._prepared = 0
