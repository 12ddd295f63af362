"""Acks of recipients, and the receipts that authors get for them (PROTOCOL 2.4, 2.6).

While an author is away his receipts are coalesced: one a message and acker, of the highest level
(2.4.5). `Mailbox.add_receipt` does that, and is told here whether he is.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.bus.envelopes import Acked, AckedByMany, Deliver, Receipt
from relay.protocol.times import receipt_time
from workers.shard import messages
from workers.shard.effects import Identity
from workers.shard.halves import Halves
from workers.shard.mailbox import Mailbox, receipt_frame
from workers.shard.mailboxes import Mailboxes
from workers.shard.pages import Pages
from workers.shard.peers import Peers
from workers.shard.plain import Plain
from workers.shard.readers import Reader, Readers
from workers.shard.strays import Strays
from workers.shard.turn import Turn
from workers.shard.waiting import Waiting


class Receipts:
    """Raises the levels of messages here, and queues receipts for authors here."""

    def __init__(
        self,
        turn: Turn,
        readers: Readers,
        mailboxes: Mailboxes,
        pages: Pages,
        peers: Peers,
        strays: Strays,
        halves: Halves,
        waiting: Waiting,
        plain: Plain,
    ) -> None:
        self._turn = turn
        self._reader_of = readers.of_user
        self._mailboxes = mailboxes
        self._takes_live = pages.takes_live
        self._peers = peers
        self._strays = strays
        self._on_acked = halves.acked
        self._ends_wait = waiting.ended
        self._plain = plain

    def acked(self, front: Identity, acked: Acked) -> None:
        """Take what a recipient says of messages; each is a matter of its own."""
        reader = self._reader_of(acked.acker)
        if reader is None and not self._peers.owns(acked.acker):
            self._turn.counters["acks_misrouted"] += 1
            return
        author = self._plain.author_of(acked) if reader is not None else None
        ids: Sequence[str] = acked.message_ids
        if author is not None and len(ids) > 1:
            ids, author = self._plain.ack_many(acked, author), None
        for message_id in ids:
            if (
                author is not None
                and reader is not None
                and self._plain.ack(acked, message_id, reader.mailbox, author)
            ):
                continue
            message = self._message_of(acked, message_id)
            if message is None:
                self._strays.begin(acked, message_id)
            elif acked.level > message.level:
                mailbox = reader.mailbox if reader else self._mailboxes.of_absent(acked.acker)
                self._raise_level(acked, message_id, message, mailbox)

    def acked_by_many(self, front: Identity, acked: AckedByMany) -> None:
        """Take what many say of one message in a group."""
        for each in self._plain.ack_by_many(acked):
            self.acked(front, each)

    def apply(self, receipt: Receipt) -> None:
        """Queue a receipt for its author, who is served here."""
        reader = self._reader_of(receipt.author)
        mailbox = reader.mailbox if reader else self._mailboxes.of_absent(receipt.author)
        self._add(receipt, reader, mailbox)

    def _message_of(self, acked: Acked, message_id: str) -> messages.Known | None:
        """Return the delivery that an ack means (R13, 2.4.1)."""
        batch, acker = self._turn.batch, acked.acker
        if acked.chat_is_group:
            return messages.find(batch, message_id, acked.author, acker, acked.chat)
        if acked.author_is_group:
            return messages.find(batch, message_id, acked.chat, acker, acked.author)
        return (
            messages.find(batch, message_id, acked.author, acker)
            or messages.find(batch, message_id, acked.chat, acker)
            or messages.find_only_author(batch, message_id, acker)
        )

    def _raise_level(
        self, acked: Acked, message_id: str, message: messages.Known, mailbox: Mailbox
    ) -> None:
        turn = self._turn
        messages.raise_level(turn.batch, message, acked.level)
        if not mailbox.is_counted:
            mailbox.count(turn.batch)
        size = mailbox.size
        if mailbox.remove(turn.batch, message.seq) and not message.group:
            self._ends_wait(message.author, message.seq, size - mailbox.size)
        receipt = Receipt(
            message.author,
            message.group,
            message_id,
            acked.acker,
            acked.level,
            receipt_time(
                None if acked.time_s < 0 else acked.time_s,
                message_s=message.time_s,
                now_s=turn.now_s,
            ),
        )
        author = self._reader_of(message.author)
        if author is not None:  # so it is served here
            self._add(receipt, author, author.mailbox)
        elif message.author == turn.settings.admin.jid:
            # Nobody logs in as the operator, and its mailbox is to hold what people answer.
            turn.counters["operator_receipts"] += 1
        else:
            self._peers.pass_on(self._peers.owner_of(message.author), receipt)
        for on_acked in self._on_acked:
            on_acked(message.author, message.group, message_id, acked.acker, acked.level)

    def _add(self, receipt: Receipt, reader: Reader | None, mailbox: Mailbox) -> None:
        turn = self._turn
        seq = turn.next_seq()
        added = mailbox.add_receipt(
            turn.batch, seq, receipt, turn.room, author_is_absent=reader is None
        )
        if not added:
            turn.counters["receipts_dropped"] += 1
            return
        if reader is not None and self._takes_live(reader):
            reader.sent(seq)
            turn.to_fronts[reader.front].append(
                Deliver(reader.number, seq, receipt.message_id, receipt_frame(receipt))
            )
