"""One message, as the workers know it: towards each of its recipients."""

from __future__ import annotations

import msgspec

from relay.inquiries.contract import Inquiry

# Recipients of one id that one worker tells of, and receipts of it.
MAX_RECORDS = 200
# Entries that one inquiry looks at of one mailbox or of one outbox.
MAX_LOOKED = 500


class RecordSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One message towards one recipient; towards its group where `recipient` is empty."""

    author: str
    recipient: str
    group: str
    stored_us: int  # since 1970
    level: int  # 1 stored, 2 delivered, 3 read, 4 played, or kept from who blocks the author
    waits: bool  # in the recipient's mailbox
    reads: str = ""  # of the recipient: LIVE, READING, PAUSED or STARVED; empty: not connected


class PassingSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What of a message is on its way to another worker, which has not stored it yet."""

    kind: str  # "group copy" or "receipt"
    author: str
    to_worker: int
    since_us: int


class MessageSeen(msgspec.Struct, frozen=True):
    """What a worker knows of one id; `more` tells whether there are other records."""

    records: list[RecordSeen]
    passing: list[PassingSeen]
    more: bool = False


class AskMessage(Inquiry[MessageSeen], frozen=True):
    """All that has this id, whoever sent it."""

    name = "message"
    answer = MessageSeen

    id: str


class ReceiptSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt that waits for its author."""

    author: str
    acker: str
    group: str
    level: int
    since_us: int


class ReceiptsSeen(msgspec.Struct, frozen=True):
    """Those of one message; `more` tells whether entries were left unseen."""

    receipts: list[ReceiptSeen]
    reads: str = ""  # of the author
    more: bool = False


class AskReceipts(Inquiry[ReceiptsSeen], frozen=True):
    """Those of message `id` that wait for `author`, a user of the worker."""

    name = "receipts"
    answer = ReceiptsSeen

    id: str
    author: str
