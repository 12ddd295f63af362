"""How long a worker's batches take, and how large they are: measured once a batch."""

from __future__ import annotations

from relay.process.distribution import COUNTS, SECONDS, Buckets


class Measures:
    """The ones of a worker, since its start."""

    def __init__(self) -> None:
        self.batch_work = Buckets(COUNTS)  # decisions that a batch with any was asked for
        self.deciding_s = Buckets(SECONDS)
        self.commit_s = Buckets(SECONDS)  # the sync is the most of it
        self.fold_s = Buckets(SECONDS)
