"""The plain case of a send to a user and of an ack, in one function each.

Nearly every message is new, for somebody who takes it live, far from every limit, and is acked
once, by its recipient, while its author is there. The general ways (sends, receipts) look the same
things up again at each of their steps, which is a fifth of what a message costs. Here each is done
at once, or is left to the general way: then nothing has changed, and nothing was said.
"""

from __future__ import annotations

from relay.bus.envelopes import Acked, Deliver, Receipt, SendToUser, Stored
from relay.protocol.times import receipt_time
from workers.shard import messages
from workers.shard.effects import Identity
from workers.shard.halves import Halves
from workers.shard.mailbox import Mailbox, receipt_frame
from workers.shard.pages import Pages
from workers.shard.readers import LIVE, Reader, Readers
from workers.shard.turn import Turn
from workers.shard.waiting import Waiting
from workers.store.keys import message_key


class Plain:
    """Does what the general ways come to, or returns False."""

    def __init__(
        self, turn: Turn, readers: Readers, pages: Pages, halves: Halves, waiting: Waiting
    ) -> None:
        # Whether nobody but the core looks at sends to users or hears of them, or of acks.
        self.takes_sends = not halves.judges and not halves.stored
        self.takes_acks = not halves.acked
        self._turn = turn
        self._reader_of = readers.of_user
        self._full_fronts = pages.full_fronts
        self._has_much = waiting.much
        self._add_waiting = waiting.add
        self._ends_wait = waiting.ended

    def send(self, front: Identity, send: SendToUser, key: bytes, reader: Reader) -> bool:
        """Store a new message, answer it, and deliver it to its recipient's `reader`."""
        turn, author, frame = self._turn, send.author, send.frame
        batch, room, mailbox, length = turn.batch, turn.room, reader.mailbox, len(frame)
        if (
            reader.state is not LIVE
            or self._full_fronts
            or turn.refusal
            or author in self._has_much
            or not self.takes_sends
            or not mailbox.is_roomy(length, room)
            or batch.get_message(key) is not None
        ):
            return False
        seq = turn.next_seq()
        mailbox.add_message(batch, seq, author, frame, room)
        messages.add(batch, key, seq=seq, time_s=send.time_s, digest=send.digest)
        self._add_waiting(author, length)
        reader.sent(seq)
        to_fronts = turn.to_fronts
        to_fronts[front].append(Stored(send.request, send.time_s))
        to_fronts[reader.front].append(Deliver(reader.number, seq, "", frame))
        return True

    def author_of(self, acked: Acked) -> Reader | None:
        """Return who takes live the receipts that an ack asks for, as far as it tells."""
        if acked.chat_is_group or acked.author_is_group:
            return None
        if not self.takes_acks or self._full_fronts:
            return None
        author = self._reader_of(acked.author)
        return author if author is not None and author.state is LIVE else None

    def ack(self, acked: Acked, message_id: str, mailbox: Mailbox, author: Reader) -> bool:
        """Take what an ack says of a 1-1 message in that `mailbox`, and tell its `author`."""
        turn, acker, level = self._turn, acked.acker, acked.level
        batch, authors = turn.batch, author.mailbox
        key = message_key(message_id, acked.author, acker, "")
        record = batch.get_message(key)
        if record is None or not (mailbox.is_counted and authors.is_counted):
            return False
        message_seq, message_s, known_level, digest = messages.unpack(record)
        if level <= known_level or authors.receipts >= turn.room.max_receipts:
            return False
        batch.update_message(key, messages.pack(message_seq, message_s, level, digest))
        size = mailbox.size
        if mailbox.remove(batch, message_seq):
            self._ends_wait(acked.author, message_seq, size - mailbox.size)
        time_s = receipt_time(
            None if acked.time_s < 0 else acked.time_s, message_s=message_s, now_s=turn.now_s
        )
        receipt = Receipt(acked.author, "", message_id, acker, level, time_s)
        seq = turn.next_seq()
        authors.add_receipt(batch, seq, receipt, turn.room, author_is_absent=False)
        author.sent(seq)
        turn.to_fronts[author.front].append(
            Deliver(author.number, seq, message_id, receipt_frame(receipt))
        )
        return True
