"""Slots: which worker owns the state of which user or group."""

from functools import lru_cache
from itertools import pairwise
from typing import Final, NewType
from zlib import crc32

Slot = NewType("Slot", int)  # in [0, SLOT_COUNT)
SLOT_COUNT: Final = 4096


@lru_cache(maxsize=4096)
def slot_of(local: str) -> Slot:
    """Return the slot that owns the user or group `local`.

    CRC-32, because `hash()` differs between processes. The mapping is part of the store's format:
    another one would look for a mailbox where it is not.
    """
    return Slot(crc32(local.encode()) % SLOT_COUNT)


class ShardMap:
    """Which worker owns which slot: contiguous shards in order, of nearly one size."""

    def __init__(self, workers: int) -> None:
        """Divide the slots among `workers`, at least 1 and at most as many as there are slots."""
        self.shards = tuple(shard_ranges(workers))  # of each worker, by its index
        self._owners = tuple(worker for worker, slots in enumerate(self.shards) for _ in slots)

    def __len__(self) -> int:
        return len(self.shards)

    def owner(self, slot: Slot) -> int:
        """Return the index of the worker that owns `slot`."""
        return self._owners[slot]

    def owner_of(self, local: str) -> int:
        """Return the index of the worker that owns the user or group `local`."""
        return self._owners[slot_of(local)]


def shard_ranges(workers: int) -> list[range]:
    """Divide all slots among `workers`: contiguous, in order, sizes differing by at most one."""
    if not 1 <= workers <= SLOT_COUNT:
        raise ValueError(f"{workers} workers: between 1 and {SLOT_COUNT} can share the slots")
    bounds = [index * SLOT_COUNT // workers for index in range(workers + 1)]
    return [range(first, end) for first, end in pairwise(bounds)]
