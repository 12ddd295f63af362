"""What an operator has thrown away: all that is of one user, or what waits too long.

It is an explicit act, and the one by which something that was acked does not arrive. It goes a
stretch at a time, like expiry, so that it does not hold up the traffic of a relay that runs.
"""

from __future__ import annotations

from relay.bus.envelopes import NO_SEQ, Seq
from workers.shard import mailbox, messages
from workers.shard.mailbox import Mailbox
from workers.shard.mailboxes import Mailboxes
from workers.shard.turn import Turn
from workers.shard.waiting import Waiting
from workers.store.keys import parse_message_key, split_box
from workers.store.orders import Order, Purged

# A stretch: so many entries are removed, or boxes or lists of messages looked at.
MAX_PURGED_ENTRIES = 500
MAX_LOOKED_AT = 1000


def count(purged: Purged, entry: bytes) -> None:
    """Count an entry of a mailbox as gone."""
    if entry[0] == mailbox.MESSAGE:
        purged.messages += 1
        purged.size += len(entry) - 1
    elif entry[0] == mailbox.GROUP_MESSAGE:
        purged.group_messages += 1
        purged.size += mailbox.body_of(entry)[1]
    else:
        purged.receipts += mailbox.receipts_in(entry)


class Purging:
    """One order while a shard carries it out; call `step` in batches of its own until it is done.

    What comes while it runs stays.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.purged = Purged()
        self.is_done = False
        self._up_to: Seq | None = None  # what has a higher number came later
        self._after = b""  # behind which mailbox it goes on
        self._forgets_after: Seq | None = None  # behind which list of messages, once it is there

    def step(self, turn: Turn, mailboxes: Mailboxes, waiting: Waiting, *, before: Seq) -> None:
        """Go on by a stretch; without a user what has a number below `before` goes.

        What goes is in its author's way no more (`waiting`).
        """
        if self._up_to is None:
            self._up_to = turn.seq
        if not self.order.user:
            self._purge_old(turn, mailboxes, waiting, before)
        elif self._forgets_after is None:
            box = mailboxes.of(self.order.user)
            if self._empty(turn, box, waiting, Seq(self._up_to + 1)):
                self._forgets_after = NO_SEQ
        else:
            self._forget(turn, self._forgets_after, self._up_to)

    def _purge_old(self, turn: Turn, mailboxes: Mailboxes, waiting: Waiting, before: Seq) -> None:
        for _ in range(MAX_LOOKED_AT):
            found = turn.batch.find_box(self._after)
            if found is None:
                self.is_done = True
                return
            box, first = found
            if first < before:
                user, _ = split_box(box)
                if not self._empty(turn, mailboxes.of(user), waiting, before):
                    return
            self._after = box + b"\xff"

    def _empty(self, turn: Turn, box: Mailbox, waiting: Waiting, before: Seq) -> bool:
        """Remove entries below `before` from a mailbox; tell whether those were all."""
        due: list[Seq] = []
        is_all = True
        for seq, entry in turn.batch.scan_mail(box.box):
            if seq >= before:
                break
            if len(due) == MAX_PURGED_ENTRIES:
                is_all = False
                break
            due.append(seq)
            count(self.purged, entry)
            if entry[0] == mailbox.MESSAGE:
                waiting.ended(mailbox.author_of(entry), seq, len(entry) - 1)
        for seq in due:
            box.remove(turn.batch, seq)
        if due:
            turn.counters["entries_purged"] += len(due)
            waiting.keep()
        return is_all

    def _forget(self, turn: Turn, after: Seq, up_to: Seq) -> None:
        changed: dict[Seq, tuple[set[bytes], list[bytes]]] = {}
        for number, (seq, keys) in enumerate(turn.batch.scan_added(after)):
            if number == MAX_LOOKED_AT:
                break
            self._forgets_after = seq
            gone = {key for key in keys if self._is_due(turn, key, up_to)}
            if gone:
                changed[seq] = gone, [key for key in keys if key not in gone]
        else:
            self.is_done = True
        for seq, (gone, kept) in changed.items():
            turn.batch.forget_added(seq, gone, kept)
            self.purged.known += len(gone)

    def _is_due(self, turn: Turn, key: bytes, up_to: Seq) -> bool:
        _, recipient, _ = parse_message_key(key)
        if recipient != self.order.user:
            return False
        record = turn.batch.get_message(key)
        return record is not None and messages.parse(key, record)[1].seq <= up_to
