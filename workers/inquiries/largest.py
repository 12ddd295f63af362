"""The largest mailboxes of a worker, and the authors of whom most waits in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import nlargest
from itertools import islice

from relay.inquiries.contract import Handlers
from relay.inquiries.largest import (
    MAX_AUTHORS,
    MAX_BOXES,
    MAX_NAMED,
    AskLargest,
    Holding,
    LargestSeen,
)
from workers.insight import Insight
from workers.shard.mailbox import unpack_totals
from workers.store.keys import split_box


def handlers(insight: Insight) -> Handlers:
    """Answer for a worker."""
    shard, store = insight.shard, insight.store

    def largest(asked: AskLargest) -> LargestSeen:
        most = min(asked.limit, MAX_NAMED)
        key = _entries if asked.by_entries else _size
        with store.reading() as batch:
            boxes = list(islice(batch.scan_totals(asked.after), MAX_BOXES))
        found = [_absent(box, totals) for box, totals in boxes]
        authors: list[Holding] = []
        if not asked.after:
            found += present()
            parts = islice(shard.authors_waiting(), MAX_AUTHORS)
            kept = [Holding(name, round(p.messages), round(p.size)) for name, p in parts]
            authors = _most(most, kept, key)
        follows = boxes[-1][0] + b"\xff" if len(boxes) == MAX_BOXES else b""
        return LargestSeen(_most(most, found, key), authors, len(found), follows)

    def present() -> Iterator[Holding]:
        for reader in shard.readers:
            box = reader.mailbox
            if box.is_counted:
                yield Holding(reader.user, box.messages, box.size, box.receipts)

    return {AskLargest: largest}


def _absent(box: bytes, totals: bytes) -> Holding:
    user, _ = split_box(box)
    messages, size, receipts, _ = unpack_totals(totals)
    return Holding(user, messages, size, receipts)


def _size(each: Holding) -> int:
    return each.size


def _entries(each: Holding) -> int:
    return each.messages + each.receipts


def _most(most: int, found: list[Holding], key: Callable[[Holding], int]) -> list[Holding]:
    return [each for each in nlargest(most, found, key=key) if _entries(each) > 0]
