"""What was on its way between two workers, done by those that own it from now on.

The outboxes of a generation end with it. What a peer has applied, by its own count, is left out;
all the rest is applied to the new stores by the rules by which a worker changes its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, assert_never

import msgspec

from relay import log
from relay.bus.envelopes import Carry, Content, GroupCopy, Receipt
from relay.errors import BootError
from relay.extensions.registry import Registry
from relay.protocol.slots import ShardMap
from relay.settings.tables import Settings
from workers.shard import outbox
from workers.shard.shard import Shard
from workers.store.batch import Batch
from workers.store.keys import split_outgoing
from workers.store.schema import rows_of
from workers.store.snapshot import Snapshot
from workers.store.store import Store
from workers.tools.plan import Reached, ReshardPlan

# Outbox entries that are applied in one transaction a worker.
TAKEN_OVER_AT_ONCE: Final = 200

logger = log.get_logger()


def take_over(
    plan: ReshardPlan,
    snapshots: Sequence[Snapshot],
    settings: Settings,
    registry: Registry,
    reached: Reached,
) -> None:
    """Apply what the outboxes of the `snapshots` have left, to the stores that `copy` has made.

    `registry` has the extensions that are loaded, and do what others of their kind had them do.

    Raises:
        BootError: an outbox holds what it should not, or a store cannot be opened.
    """
    counters: Counter[str] = Counter()
    with _Shards(plan, settings, registry) as shards:
        for number, content in enumerate(unapplied(snapshots), start=1):
            if isinstance(content, Carry) and not _is_done_by(registry, content):
                raise BootError(
                    f"something for {content.owner} waits that is of the extension"
                    f" {content.extension}, which is not loaded: start once with it, or with as"
                    " many workers as before, which sets it aside"
                )
            for owner, part in by_owner(content, plan.shards):
                shards.of(owner).take_over(part)
            if number % TAKEN_OVER_AT_ONCE == 0:
                shards.commit()
                reached("taking over")
        shards.commit()
        counters = shards.counters()
        taken = shards.taken
    if taken:
        logger.info("reshard.took_over", entries=taken, **counters)


def _is_done_by(registry: Registry, carry: Carry) -> bool:
    extension = registry.extensions.get(carry.extension)
    return extension is not None and extension.worker is not None


def unapplied(snapshots: Sequence[Snapshot]) -> Iterator[Content]:
    """Yield what no peer has applied, each outbox in order.

    Raises:
        BootError: an outbox has an entry for nobody.
    """
    for sender, snapshot in enumerate(snapshots):
        for key, value in snapshot.items("outbox"):
            peer, seq = split_outgoing(key)
            if peer >= len(snapshots) or peer == sender:
                raise BootError(f"the outbox of worker {sender} has an entry for worker {peer}")
            if seq > snapshots[peer].applied(sender):
                yield outbox.decode(value).content


def by_owner(content: Content, shards: ShardMap) -> Iterator[tuple[int, Content]]:
    """Yield (worker, part) for each worker that has something to do with the entry."""
    match content:
        case Receipt():
            yield shards.owner_of(content.author), content
        case Carry():
            yield shards.owner_of(content.owner), content
        case GroupCopy():
            members_of: dict[int, list[str]] = {}
            for member in content.members:
                members_of.setdefault(shards.owner_of(member), []).append(member)
            for worker, members in members_of.items():
                yield worker, msgspec.structs.replace(content, members=members)
        case _:
            assert_never(content)


class _Shards:
    """The new stores with the rules by which a worker changes them; opened when first needed."""

    def __init__(self, plan: ReshardPlan, settings: Settings, registry: Registry) -> None:
        self.taken = 0
        self._plan = plan
        self._settings = settings
        self._registry = registry
        self._open: dict[int, tuple[Store, Shard]] = {}
        self._batches: dict[int, Batch] = {}

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        for batch in self._batches.values():
            batch.abort()
        for store, _ in self._open.values():
            store.close()

    def of(self, worker: int) -> Shard:
        """Return the shard of `worker`, within a batch."""
        self.taken += 1
        if worker not in self._open:
            store = Store(
                self._plan.directories[worker],
                durability="os",  # closing it syncs
                map_bytes=self._plan.map_bytes,
                max_map_bytes=self._plan.map_bytes,
                mark=self._plan.mark(worker),
                owned=rows_of(self._registry.extensions.values()),
            )
            shard = Shard(worker, self._plan.shards, self._settings, registry=self._registry)
            self._open[worker] = store, shard
        store, shard = self._open[worker]
        if worker not in self._batches:
            self._batches[worker] = store.begin()
            shard.begin(self._batches[worker], now_ms=time.time_ns() // 1_000_000)
        return shard

    def commit(self) -> None:
        for worker in list(self._batches):
            store, shard = self._open[worker]
            shard.end()
            self._batches.pop(worker).commit()
            store.fold()

    def counters(self) -> Counter[str]:
        return sum((shard.counters for _, shard in self._open.values()), Counter())
