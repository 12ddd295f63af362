"""What a worker knows of one message."""

from __future__ import annotations

from itertools import islice

from relay.bus.envelopes import NO_SEQ, GroupCopy, Receipt, Seq
from relay.inquiries.contract import Handlers
from relay.inquiries.messages import (
    MAX_LOOKED,
    MAX_RECORDS,
    AskMessage,
    AskReceipts,
    MessageSeen,
    PassingSeen,
    ReceiptSeen,
    ReceiptsSeen,
    RecordSeen,
)
from workers.insight import Insight
from workers.shard import messages
from workers.shard.mailbox import GROUP_MESSAGE, MESSAGE, numbers_of, receipts_of
from workers.shard.outbox import decode
from workers.store.batch import Batch
from workers.store.keys import box_of, id_prefix, pack_peer, split_message_key


def handlers(insight: Insight) -> Handlers:
    """Answer for a worker."""
    store, readers = insight.store, insight.shard.readers

    def message(asked: AskMessage) -> MessageSeen:
        prefix, records = id_prefix(asked.id), []
        with store.reading() as batch:
            found = list(islice(batch.scan_messages(prefix), MAX_RECORDS + 1))
            for key, record in found[:MAX_RECORDS]:
                author, recipient, group = split_message_key(key, prefix)
                known = messages.known_of(key, record, author, group)
                records.append(
                    RecordSeen(
                        author=author,
                        recipient=recipient,
                        group=group,
                        stored_us=known.seq,
                        level=known.level,
                        waits=bool(recipient) and _waits(batch, recipient, known.seq),
                        reads=reads(recipient),
                    )
                )
            return MessageSeen(records, list(passing(batch, asked.id)), len(found) > MAX_RECORDS)

    def reads(user: str) -> str:
        reader = readers.of_user(user) if user else None
        return reader.state.name if reader is not None else ""

    def passing(batch: Batch, message_id: str) -> list[PassingSeen]:
        found: list[PassingSeen] = []
        for peer in range(insight.place.settings.server.workers):
            waiting = batch.scan_outgoing(pack_peer(peer), after=NO_SEQ)
            for seq, raw in islice(waiting, MAX_LOOKED):
                content = decode(raw).content
                if isinstance(content, GroupCopy | Receipt) and content.message_id == message_id:
                    kind = "receipt" if isinstance(content, Receipt) else "group copy"
                    found.append(
                        PassingSeen(kind=kind, author=content.author, to_worker=peer, since_us=seq)
                    )
        return found

    def receipts(asked: AskReceipts) -> ReceiptsSeen:
        found: list[ReceiptSeen] = []
        looked_at = 0
        with store.reading() as batch:
            for seq, raw in batch.scan_mail(box_of(asked.author)):
                if looked_at == MAX_LOOKED:
                    return ReceiptsSeen(found, reads(asked.author), more=True)
                looked_at += 1
                if raw[0] in (MESSAGE, GROUP_MESSAGE):
                    continue
                found += [
                    ReceiptSeen(
                        author=asked.author,
                        acker=receipt.acker,
                        group=receipt.group,
                        level=receipt.level,
                        since_us=number,
                    )
                    for number, receipt in zip(numbers_of(seq, raw), receipts_of(raw), strict=True)
                    if receipt.message_id == asked.id
                ]
        return ReceiptsSeen(found, reads(asked.author))

    return {AskMessage: message, AskReceipts: receipts}


def _waits(batch: Batch, user: str, seq: Seq) -> bool:
    """Tell whether the entry `seq` is in a user's mailbox."""
    found = next(batch.scan_mail(box_of(user), after=Seq(seq - 1)), None)
    return found is not None and found[0] == seq
