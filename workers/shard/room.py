"""What mailboxes of a worker may hold, and how much may be read to judge that."""

from __future__ import annotations

from math import ceil
from typing import Final

from relay.settings.tables import MailboxSettings

# To find who has how much of a mailbox is to read all of it: 1 to 2 us an entry. A mailbox for
# which there is nothing left of this second is judged by what it holds in all.
MAX_LOOKS_PER_S: Final = 20_000


class Room:
    """The limits of one mailbox, the same for all, and the entries that may be read this second.

    Nobody can have more than a share of a mailbox that holds no more than that: below
    `share_entries` and `share_bytes` it need not be known who wrote what is there.
    """

    __slots__ = (
        "_looks",
        "_second",
        "max_bytes",
        "max_entries",
        "max_receipts",
        "named",
        "share_bytes",
        "share_entries",
    )

    def __init__(self, settings: MailboxSettings) -> None:
        self.max_entries = settings.max_entries
        self.max_bytes = settings.max_bytes
        self.max_receipts = settings.max_receipts
        self.share_entries = max(1, int(settings.max_entries * settings.author_share))
        self.share_bytes = max(1, int(settings.max_bytes * settings.author_share))
        # Authors whose part of a mailbox is counted one by one. All parts together are at most
        # 1 / author_share of the entries, and as many of the bytes: of so many authors the next one
        # has at most half a share.
        self.named = ceil(4 / settings.author_share)
        self._second = 0
        self._looks = MAX_LOOKS_PER_S

    def begin(self, now_s: int) -> None:
        """Take it that it is the second `now_s`."""
        if now_s != self._second:
            self._second = now_s
            self._looks = MAX_LOOKS_PER_S

    def may_look_at(self, entries: int) -> bool:
        """Tell whether so many entries may be read, and count them if so."""
        if entries > self._looks:
            return False
        self._looks -= entries
        return True
