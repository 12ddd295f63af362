"""Who sends most, and for whom and of whom most waits."""

from __future__ import annotations

import msgspec

from relay.inquiries.contract import Inquiry

# Absent users that one inquiry looks at, and authors: 1 to 2 ms on a machine at rest.
MAX_BOXES = 1000
MAX_AUTHORS = 5000
# What one answer names.
MAX_NAMED = 100


class Sending(msgspec.Struct, frozen=True):
    """About how much a user sends now, by one front."""

    user: str
    per_s: float


class SendersSeen(msgspec.Struct, frozen=True):
    """Those who send most first."""

    senders: list[Sending]


class AskSenders(Inquiry[SendersSeen], frozen=True):
    """The `limit` who send most by a front."""

    name = "senders"
    answer = SendersSeen

    limit: int


class Holding(msgspec.Struct, frozen=True):
    """What waits for a user, or of one: receipts are counted for users alone."""

    user: str
    messages: int
    size: int
    receipts: int = 0


class LargestSeen(msgspec.Struct, frozen=True):
    """The largest of some of a worker's mailboxes; `next` is empty where no more follow.

    With the first of them come the authors of whom most waits, as far as the worker knows them.
    """

    mailboxes: list[Holding]
    authors: list[Holding]
    looked_at: int
    next: bytes = b""


class AskLargest(Inquiry[LargestSeen], frozen=True):
    """The `limit` largest of the next mailboxes behind `after`, by bytes or by entries."""

    name = "largest"
    answer = LargestSeen

    limit: int
    after: bytes = b""
    by_entries: bool = False
