"""How a worker opens its store, as owner or standby of its shard."""

from __future__ import annotations

from pathlib import Path

from relay.disk.layout import Layout, read_layout
from relay.errors import BootError
from relay.extensions.registry import Registry
from relay.process.place import Place
from workers.store.journal import Durability
from workers.store.meta import Mark
from workers.store.schema import rows_of
from workers.store.store import LOCK_WAIT_S, Store


def layout_of(place: Place) -> Layout:
    """Return the layout of the data directory.

    Raises:
        BootError: it cannot be read, or is one for another number of workers.
    """
    layout = read_layout(place.data_dir)
    wanted = place.settings.server.workers
    if layout.workers != wanted:
        raise BootError(
            f"data directory {place.data_dir} is laid out for {layout.workers} workers,"
            f" not for {wanted}"
        )
    return layout


def directory_of(place: Place) -> Path:
    """Return where the store is; raises BootError as `layout_of` does."""
    return layout_of(place).store_directory(place.data_dir, place.index)


def mark_of(place: Place) -> Mark:
    """Return the mark that the store must bear; raises BootError as `layout_of` does."""
    layout = layout_of(place)
    return Mark(layout.generation, layout.workers, place.index)


def open_store(place: Place, registry: Registry, durability: Durability) -> Store:
    """Open the store.

    Raises:
        BootError: that cannot be.
    """
    settings = place.settings.store
    return Store(
        directory_of(place),
        durability=durability,
        map_bytes=settings.map_bytes,
        max_map_bytes=settings.max_map_bytes,
        lock_wait_s=LOCK_WAIT_S,
        mark=mark_of(place),
        owned=rows_of(registry.extensions.values()),
    )
