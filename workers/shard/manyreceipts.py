"""Several receipts that one entry of a mailbox holds."""

from __future__ import annotations

import msgspec

from relay.bus.envelopes import Receipt


class ManyReceipts(msgspec.Struct, frozen=True, array_like=True):
    """What many said of one message of `author`, or one of many: of each at one of the times."""

    author: str
    group: str
    level: int
    message_ids: list[str]
    ackers: list[str]
    times_s: list[int]

    def singly(self) -> list[Receipt]:
        """Return the receipt of each."""
        count, author, group, level = len(self.times_s), self.author, self.group, self.level
        ids = self.message_ids if len(self.message_ids) == count else self.message_ids * count
        ackers = self.ackers if len(self.ackers) == count else self.ackers * count
        return [
            Receipt(author, group, message_id, acker, level, time_s)
            for message_id, acker, time_s in zip(ids, ackers, self.times_s, strict=True)
        ]
