"""Where the next stores of a data directory are to be, and whether there is room for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from relay.disk.layout import Layout, generation_directory
from relay.errors import BootError
from relay.protocol.slots import ShardMap
from workers.store.journalfile import STEP
from workers.store.meta import Mark
from workers.store.schema import unpack_count
from workers.store.snapshot import Snapshot

# Pages that are filled in another order than that of their keys are a third empty.
ROOM_FACTOR: Final = 1.3
# What an empty store takes, and its journal once a worker has opened it.
STORE_BYTES: Final = 128 * 1024 + 2 * STEP

# Is told each step that has been made durable, or could be lost.
Reached = Callable[[str], None]


class ReshardPlan(msgspec.Struct, frozen=True):
    """The layout that a data directory is to get, and how large each store's map may be."""

    data: Path
    layout: Layout
    map_bytes: int

    @property
    def generation(self) -> Path:
        """Where the stores are to be."""
        return generation_directory(self.data, self.layout.generation)

    @property
    def directories(self) -> list[Path]:
        """Where each worker's store is to be, by its index."""
        workers = range(self.layout.workers)
        return [self.layout.store_directory(self.data, index) for index in workers]

    @property
    def shards(self) -> ShardMap:
        """Which worker will own which slot."""
        return ShardMap(self.layout.workers)

    def mark(self, worker: int) -> Mark:
        """Return what the store of `worker` is to say of itself."""
        return Mark(self.layout.generation, self.layout.workers, worker)


def make_plan(
    data: Path, snapshots: Sequence[Snapshot], layout: Layout, *, map_bytes: int
) -> ReshardPlan:
    """Plan to divide what is in the stores; `map_bytes` is the map of one that is empty."""
    size = sum(snapshot.used_bytes() for snapshot in snapshots)
    # An upper bound, which takes address space only: a body in every store.
    return ReshardPlan(data, layout, map_bytes + 2 * size * min(layout.workers, 8))


def check_room(data: Path, snapshots: Sequence[Snapshot], workers: int) -> None:
    """Make sure that the disk takes the stores for `workers` beside those that there are.

    What is live is needed, and no reserve: nobody sends meanwhile, and the old stores go after it,
    with all that is free inside them.

    Raises:
        BootError: it would not.
    """
    if not snapshots:
        return
    needed = sum(snapshot.live_bytes() for snapshot in snapshots)
    for snapshot in snapshots:
        # A body is stored once a worker that has some of its holders.
        for key, value in snapshot.items("holders"):
            copies = min(unpack_count(value), workers)
            if copies > 1:
                needed += (copies - 1) * len(snapshot.get("bodies", key) or b"")
    needed = int(needed * ROOM_FACTOR) + workers * STORE_BYTES
    free = shutil.disk_usage(data).free
    if free < needed:
        raise BootError(
            f"data directory {data} is laid out for {len(snapshots)} workers, not for {workers};"
            f" laying it out anew needs {needed:,} bytes beside the present stores, but {free:,}"
            f" are free: make room (`relay store compact {data}` gives back what is free inside),"
            f" or start with --workers {len(snapshots)}"
        )
