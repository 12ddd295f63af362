"""How long a worker's batches take, and how large they are: measured once in some of them."""

from __future__ import annotations

from typing import Final

from relay.process.distribution import COUNTS, SECONDS, Buckets

# A batch that begins sooner after one that was measured is not: to measure one takes as long as it
# takes to decide on a message. A hundred in a second show as much as all would.
EVERY_S: Final = 0.01


class Measures:
    """The ones of a worker, since its start."""

    def __init__(self) -> None:
        self.batch_work = Buckets(COUNTS)  # decisions that a batch with any was asked for
        self.deciding_s = Buckets(SECONDS)
        self.commit_s = Buckets(SECONDS)  # the sync is the most of it
        self.sync_s = Buckets(SECONDS)
        self.fold_s = Buckets(SECONDS)  # of all; sending what the batch before says is in it
        self._due_s = 0.0

    def is_due(self, begun_s: float) -> bool:
        """Tell whether a batch that began then is one to `add`."""
        return begun_s >= self._due_s

    def add(
        self, begun_s: float, work: int, *, deciding_s: float, commit_s: float, sync_s: float
    ) -> None:
        """Take a batch that asked for so many decisions; `sync_s` is 0 where none was synced."""
        self._due_s = begun_s + EVERY_S
        self.batch_work.add(work)
        self.deciding_s.add(deciding_s)
        self.commit_s.add(commit_s)
        if sync_s:
            self.sync_s.add(sync_s)
