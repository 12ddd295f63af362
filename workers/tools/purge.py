"""Carry out an operator's order to throw something away, on stores whose relay does not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from relay.clock import now_ms
from relay.disk.layout import Layout
from relay.errors import DiskError, NotFolded
from relay.protocol.slots import ShardMap
from relay.settings.sizes import MIB, TIB
from relay.settings.tables import ServerSettings, Settings
from workers.shard import messages
from workers.shard.dates import decode
from workers.shard.purging import Purging, count
from workers.shard.shard import Shard
from workers.store.keys import SEQ_BYTES, box_of, parse_message_key, unpack_seq
from workers.store.meta import DATES_NAME, Mark
from workers.store.orders import Order, Purged
from workers.store.snapshot import Snapshot
from workers.store.store import LOCK_WAIT_S, Store
from workers.tools.progress import Progress

_MAP_BYTES = 64 * MIB


def owners(order: Order, layout: Layout) -> list[int]:
    """Return the workers in whose stores something may be to do, of those that it is for."""
    found = list(range(layout.workers))
    if order.user:
        found = [ShardMap(layout.workers).owner_of(order.user)]
    return [each for each in found if not order.workers or each in order.workers]


def foresee(snapshot: Snapshot, order: Order, progress: Progress) -> Purged:
    """Return what would go of one store; nothing is changed."""
    purged = Purged()
    for entry in _due(snapshot, order):
        progress.advance()
        count(purged, entry)
    if order.user:
        for key, record in snapshot.items("messages"):
            progress.advance()
            _, recipient, _ = parse_message_key(key)
            purged.known += recipient == order.user and messages.parse(key, record) is not None
    return purged


def _due(snapshot: Snapshot, order: Order) -> Iterator[bytes]:
    if order.user:
        box = box_of(order.user)
        for key, entry in snapshot.items("mail", box):
            if not key.startswith(box):
                return
            yield entry
        return
    dates = decode(snapshot.get("meta", DATES_NAME))
    before = dates.reached((now_ms() - order.older_than_ms) * 1000)
    for key, entry in snapshot.items("mail"):
        if unpack_seq(key[-SEQ_BYTES:]) < before:
            yield entry


def size_of(snapshot: Snapshot, order: Order) -> int:
    """Return how many items are looked at to carry out the order."""
    return snapshot.count("messages" if order.user else "mail")


def purge(directory: Path, mark: Mark, order: Order, purged: Purged, progress: Progress) -> None:
    """Carry out the order on the store in `directory`, which must bear the `mark`.

    What has gone is added to `purged` as it goes, whatever happens then.

    Raises:
        BootError: it is in use, cannot be read, or takes no write.
        StoreWriteError: it cannot be written further; what has gone until then is gone.
        NotFolded: all is gone, but the next start has to bring the pages up to date.
    """
    store = Store(
        directory,
        durability="fsync",
        map_bytes=_MAP_BYTES,
        max_map_bytes=TIB,
        lock_wait_s=LOCK_WAIT_S,
        mark=mark,
    )
    in_order = False
    try:
        settings = Settings(server=ServerSettings(workers=mark.workers))
        shard = Shard(mark.index, ShardMap(mark.workers), settings)
        purging = Purging(order)
        while not purging.is_done:
            before = msgspec.structs.replace(purging.purged)
            with store.writing() as batch:
                shard.begin(batch, now_ms=now_ms())
                shard.purge(purging, day_ms=now_ms())
                shard.end()
            purged.add(purging.purged.since(before))
            store.fold()
            progress.advance(purging.purged.entries - before.entries)
        _fold(store)
        in_order = True
    finally:
        with suppress(DiskError, OSError):  # then a start takes this for a kill
            store.close(seals=in_order)


def _fold(store: Store) -> None:
    while store.has_unfolded:
        store.fold(at_once=True)
        if store.refusal:
            raise NotFolded(
                f"its pages could not be brought up to date: {store.refusal}; the next start does"
                " that, if the disk has room then"
            )
