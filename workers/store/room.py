"""Whether there is room for more messages: on the disk, inside the store's file, in its map.

Asked before sends are taken, so that they can be refused with a reason while what frees room (acks,
confirmations, expiry) still finds the little that it needs itself.
"""

from __future__ import annotations

from pathlib import Path

from relay.disk.files import free_bytes
from relay.settings.tables import StoreSettings
from workers.store.store import Store

# The part of the largest map that stays free. LMDB writes the changed pages of a stretch anew
# before it frees the old ones, so even removing needs some.
_MAP_RESERVE = 1 / 8

# The part of `min_free_bytes` that must be free on the disk itself, however much is free inside:
# a journal may grow, and LMDB takes new pages for what does not fit between those that were freed,
# or where a backup still reads these.
_DISK_SHARE = 1 / 4

# How much may be written, and how long, until it is asked again; far less than the reserves.
CHECK_EVERY_BYTES = 1024 * 1024
CHECK_EVERY_MS = 200


def lack_of_room(store: Store, directory: Path, settings: StoreSettings) -> str:
    """Return why no more messages can be stored, for people; empty while they can."""
    used = store.used_bytes()
    lack = _lack_on_disk(store.inner_bytes(used), directory, settings.min_free_bytes)
    if lack or store.refusal:
        return lack or store.refusal
    limit = _map_limit(settings)
    if used > limit:
        return f"the store is full: {used} bytes used of {limit}"
    return ""


def room_bytes(store: Store, directory: Path, settings: StoreSettings) -> int:
    """Return how much may be stored until `lack_of_room` says why not; below 0 where it does."""
    used, free, kept = store.used_bytes(), free_bytes(directory), settings.min_free_bytes
    on_disk = min(free + store.inner_bytes(used) - kept, free - int(kept * _DISK_SHARE))
    return min(on_disk, _map_limit(settings) - used)


def _map_limit(settings: StoreSettings) -> int:
    return int(settings.max_map_bytes * (1 - _MAP_RESERVE))


def _lack_on_disk(inner: int, directory: Path, kept: int) -> str:
    free = free_bytes(directory)
    if free + inner < kept:
        return f"the disk is full: {free} bytes free and {inner} inside the store, {kept} are kept"
    least = int(kept * _DISK_SHARE)
    if free < least:
        return (
            f"the disk is full: {free} bytes free, {least} are kept; {inner} are free inside the"
            " store, which `relay store compact` gives back"
        )
    return ""
