"""The mailboxes of a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from relay.bus.envelopes import Seq
from relay.inquiries.contract import MAX_ITEMS, Handlers
from relay.inquiries.people import (
    MAX_LOOKED,
    MAX_LOOKED_BYTES,
    AskMailbox,
    AskQueue,
    AuthorWaiting,
    MailboxSeen,
    Queue,
    Queued,
)
from workers.insight import Insight
from workers.shard.mailbox import (
    GROUP_MESSAGE,
    MESSAGE,
    Mailbox,
    author_of,
    body_of,
    numbers_of,
    receipts_in,
    receipts_of,
)
from workers.store.batch import Batch
from workers.store.keys import box_of


class _Key(msgspec.Struct):
    id: str
    remoteJid: str


class _Element(msgspec.Struct):
    key: _Key
    message: msgspec.Raw
    participant: str = ""


# A frame that is delivered (PROTOCOL 2.4, 2.6).
_decode_frame: Final = msgspec.json.Decoder(tuple[str, msgspec.Raw, tuple[_Element]]).decode


def handlers(insight: Insight) -> Handlers:
    """Answer for a worker."""
    shard, store = insight.shard, insight.store

    def mailbox(asked: AskMailbox) -> MailboxSeen:
        with store.reading() as batch:
            return _mailbox(insight, batch, asked.user)

    def queue(asked: AskQueue) -> Queue:
        most, size = min(asked.limit, MAX_LOOKED, MAX_ITEMS), 0
        entries: list[Queued] = []
        with store.reading() as batch:
            for seq, raw in batch.scan_mail(box_of(asked.user), after=Seq(asked.after)):
                for queued in _queued(batch, seq, raw, texts=asked.texts):
                    if queued.seq <= asked.after:
                        continue  # of receipts that are one entry
                    if len(entries) >= most or size >= MAX_LOOKED_BYTES:
                        return Queue(entries, entries[-1].seq)
                    entries.append(queued)
                    size += queued.size
        return Queue(entries)

    def _mailbox(insight: Insight, batch: Batch, user: str) -> MailboxSeen:
        reader = shard.readers.of_user(user)
        box = Mailbox.load(batch, user) if reader is None else reader.mailbox
        looked_at = size = receipts = oldest = oldest_message = 0
        messages: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        ends = True
        for seq, raw in batch.scan_mail(box_of(user)):
            if looked_at >= MAX_LOOKED or size >= MAX_LOOKED_BYTES:
                ends = False
                break
            looked_at += 1
            oldest = oldest or seq
            if raw[0] in (MESSAGE, GROUP_MESSAGE):
                frame, length = _frame_of(batch, raw)
                author = author_of(frame)
                messages[author] += 1
                oldest_message = oldest_message or seq
                sizes[author] += length
                size += length
            else:
                receipts += receipts_in(raw)
        known = box.is_counted or ends
        counts = (messages.total(), sizes.total(), receipts)
        if box.is_counted:
            counts = (box.messages, box.size, box.receipts)
        sent = shard.waiting_of(user)
        return MailboxSeen(
            front=reader.front.decode() if reader is not None else "",
            session=reader.number if reader is not None else 0,
            state=reader.state.name if reader is not None else "",
            messages=counts[0] if known else None,
            size=counts[1] if known else None,
            receipts=counts[2] if known else None,
            oldest_ms=oldest // 1000,
            oldest_message_ms=oldest_message // 1000,
            looked_at=looked_at,
            authors=[AuthorWaiting(a, n, sizes[a]) for a, n in messages.most_common(100)],
            sent_messages=round(sent.messages) if sent is not None else 0,
            sent_size=round(sent.size) if sent is not None else 0,
        )

    return {AskMailbox: mailbox, AskQueue: queue}


def _frame_of(batch: Batch, raw: bytes) -> tuple[bytes, int]:
    if raw[0] == MESSAGE:
        return raw[1:], len(raw) - 1
    seq, length = body_of(raw)
    return batch.get_body(seq), length


def _queued(batch: Batch, seq: Seq, raw: bytes, *, texts: bool) -> Iterator[Queued]:
    """Yield what is in an entry: one message, or some receipts."""
    if raw[0] not in (MESSAGE, GROUP_MESSAGE):
        for number, receipt in zip(numbers_of(seq, raw), receipts_of(raw), strict=True):
            yield Queued(
                seq=number,
                kind="receipt",
                id=receipt.message_id,
                author=receipt.acker,
                group=receipt.group,
                queued_ms=number // 1000,
                size=(len(raw) - 1) // receipts_in(raw),
                level=receipt.level,
            )
        return
    frame, length = _frame_of(batch, raw)
    is_group = raw[0] == GROUP_MESSAGE
    (element,) = _decode_frame(frame)[2]
    yield Queued(
        seq=seq,
        kind="group_message" if is_group else "message",
        id=element.key.id,
        author=author_of(frame),
        group=element.key.remoteJid.partition("@")[0] if is_group else "",
        queued_ms=seq // 1000,
        size=length,
        message=bytes(element.message) if texts else None,
    )
