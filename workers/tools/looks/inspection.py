"""One store while it is checked: what it says of itself, and what must come out even.

Memory is bounded however large the store is. Where two trees must name the same things in different
orders, each bucket of them has one number, to which one tree adds what the other takes away; only
buckets that do not come to zero are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

from relay.bus.envelopes import Seq
from relay.protocol.slots import SLOT_COUNT, ShardMap, Slot
from workers.store.journal import OF_JOURNAL
from workers.store.meta import Mark
from workers.store.snapshot import Snapshot
from workers.tools.looks.readable import readable
from workers.tools.progress import Progress
from workers.tools.report import Report


class Balance:
    """Compares two multisets without keeping them, as one number a bucket."""

    def __init__(self) -> None:
        self._sums = [0] * SLOT_COUNT

    def add(self, bucket: int, item: bytes, times: int = 1) -> None:
        """Add `item` to a bucket, in [0, SLOT_COUNT), or take it away as often as `times` says."""
        # Python's hash of bytes is keyed, 64 bits wide and cheap. The high bit counts items.
        self._sums[bucket] += times * (1 << 64 | hash(item) & 0xFFFF_FFFF_FFFF_FFFF)

    def uneven(self) -> set[int]:
        """Return the buckets in which one side has what the other has not."""
        return {bucket for bucket, total in enumerate(self._sums) if total}


class Inspection:
    """A store that is looked at, tree by tree. Findings go to the report under the store's name."""

    def __init__(
        self,
        name: str,
        snapshot: Snapshot,
        mark: Mark | None,
        report: Report,
        progress: Progress,
    ) -> None:
        """Judge the store by `mark`, which it should bear; without one, every slot may be its."""
        self.snapshot = snapshot
        self.mark = mark
        self.shards = None if mark is None else ShardMap(mark.workers)
        self.last_seq = snapshot.last_seq()
        self.forgotten = snapshot.forgotten()
        # Message entries of mailboxes, and the records of messages that wait there; by slot.
        self.queued = Balance()
        # Messages that lists in `expiry` name, and those there are; by checksum.
        self.listed = Balance()
        # References from mailboxes, and holders counted; by the body's seq.
        self.held = Balance()
        self.boxes_with_totals = 0  # mailboxes with entries whose totals are kept
        self._name = name
        self._slots = range(SLOT_COUNT)
        if mark is not None and self.shards is not None:
            self._slots = self.shards.shards[mark.index]
        self._report = report
        self._progress = progress

    def items(self, tree: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the items of a tree, and count them as looked at."""
        # They say how far the pages are behind the journal. A copy has none, and holds as much.
        uncounted = OF_JOURNAL if tree == "meta" else ()
        for item in self.snapshot.items(tree):
            self._progress.advance()
            self._report.items += item[0] not in uncounted
            yield item

    def found(self, tree: str, key: bytes, problem: str) -> None:
        """Note what is wrong at a key."""
        self._report.add(self._name, tree, readable(tree, key), problem)

    def check_seq(self, tree: str, key: bytes, seq: Seq) -> None:
        """Note a number that was never given out."""
        if not 0 < seq <= self.last_seq:
            self.found(tree, key, f"has the seq {seq}, but the last one given is {self.last_seq}")

    def check_slot(self, tree: str, key: bytes, slot: Slot) -> None:
        """Note what belongs to another worker."""
        if slot not in self._slots:
            self.found(tree, key, f"is in slot {slot}, which this worker does not own")
