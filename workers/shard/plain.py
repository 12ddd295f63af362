"""The plain case of a send to a user, of an ack, and of many acks, in one function each.

Nearly every message is new, for somebody who takes it live, far from every limit, and is acked
once, by its recipient, while its author is there. The general ways (sends, receipts) look the same
things up again at each of their steps, which is a fifth of what a message costs. Here each is done
at once, or is left to the general way: then nothing has changed, and nothing was said.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.bus.envelopes import (
    Acked,
    AckedByMany,
    Deliver,
    DeliverReceipts,
    Receipt,
    SendToUser,
    Stored,
)
from relay.bus.gathering import MOST_TOGETHER
from relay.protocol.times import receipt_time
from workers.shard import messages
from workers.shard.effects import Identity
from workers.shard.halves import Halves
from workers.shard.mailbox import Mailbox, frames_of_many, receipt_frame
from workers.shard.manyreceipts import ManyReceipts
from workers.shard.pages import Pages
from workers.shard.readers import LIVE, Reader, Readers
from workers.shard.turn import Turn
from workers.shard.waiting import Waiting
from workers.store.keys import around_recipient, message_key

_Said = tuple[str, str, int]  # who acks, which message, and when by his clock, -1 for unknown


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
        return self._live(acked.author)

    def _live(self, author: str) -> Reader | None:
        if not self.takes_acks or self._full_fronts:
            return None
        reader = self._reader_of(author)
        return reader if reader is not None and reader.state is LIVE else None

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

    def ack_by_many(self, acked: AckedByMany) -> list[Acked]:
        """Take what many say of one message in a group; return what is left to the general way."""
        author = self._live(acked.author)
        if author is None:
            return list(acked.singly())
        said = [
            (acker, acked.message_id, time_s)
            for acker, time_s in zip(acked.ackers, acked.times_s, strict=True)
        ]
        left = self._ack_all(author, acked.group, acked.level, said)
        return [acked.of(acker, time_s) for acker, _, time_s in left]

    def ack_many(self, acked: Acked, author: Reader) -> list[str]:
        """Take what an ack says of many 1-1 messages; return the ids that are left."""
        said = [(acked.acker, message_id, acked.time_s) for message_id in acked.message_ids]
        left: list[_Said] = []
        # An entry is not taken apart for a page, and a client may ack a thousand at once.
        for first in range(0, len(said), MOST_TOGETHER):
            left += self._ack_all(author, "", acked.level, said[first : first + MOST_TOGETHER])
        return [message_id for _, message_id, _ in left]

    def _ack_all(
        self, author: Reader, group: str, level: int, said: Sequence[_Said]
    ) -> Sequence[_Said]:
        """Take what is said of messages of one author, and tell him all at once.

        Of one message, or by one acker. Return what is left.
        """
        turn, authors, name = self._turn, author.mailbox, author.user
        if not authors.is_counted:
            return said
        batch, now_s, reader_of = turn.batch, turn.now_s, self._reader_of
        room = turn.room.max_receipts - authors.receipts
        left: list[_Said] = []
        before, behind = around_recipient(said[0][1], name, group) if group else (b"", b"")
        records: dict[bytes, bytes] = {}
        ids: list[str] = []
        ackers: list[str] = []
        times_s: list[int] = []
        for each in said:
            acker, message_id, claimed_s = each
            reader = reader_of(acker)
            record = None
            if reader is not None and reader.mailbox.is_counted and len(ids) < room:
                if group:
                    key = before + acker.encode() + behind
                else:
                    key = message_key(message_id, name, acker, "")
                record = records.get(key) or batch.get_message(key)
            if reader is None or record is None:
                left.append(each)
                continue
            seq, message_s, known_level, digest = messages.unpack(record)
            if level <= known_level:
                continue
            records[key] = messages.pack(seq, message_s, level, digest)
            mailbox = reader.mailbox
            size = mailbox.size
            if mailbox.remove(batch, seq) and not group:
                self._ends_wait(name, seq, size - mailbox.size)
            ids.append(message_id)
            ackers.append(acker)
            times_s.append(
                receipt_time(None if claimed_s < 0 else claimed_s, message_s=message_s, now_s=now_s)
            )
        if ids:
            batch.update_messages(records)
            if group:
                del ids[1:]
            else:
                del ackers[1:]
            many = ManyReceipts(name, group, level, ids, ackers, times_s)
            seq = turn.next_seqs(len(times_s))
            authors.add_many_receipts(batch, seq, many)
            author.sent(seq)
            turn.to_fronts[author.front].append(
                DeliverReceipts(author.number, seq, ids, frames_of_many(many))
            )
        return left
