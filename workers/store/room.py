"""Whether there is room for more messages: on the disk, and in the store's map.

Asked before sends are taken, so that they can be refused with a reason while what frees room (acks,
confirmations, expiry) still finds the little that it needs itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from relay.settings.tables import StoreSettings
from workers.store.store import Store

# The part of the largest map that stays free. LMDB writes the changed pages of a stretch anew
# before it frees the old ones, so even removing needs some.
_MAP_RESERVE = 1 / 8

# How much may be written, and how long, until it is asked again; far less than the reserves.
CHECK_EVERY_BYTES = 1024 * 1024
CHECK_EVERY_MS = 200


def lack_of_room(store: Store, directory: Path, settings: StoreSettings) -> str:
    """Return why no more messages can be stored, for people; empty while they can."""
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    if free < settings.min_free_bytes:
        return f"the disk is full: {free} bytes free, {settings.min_free_bytes} are kept"
    if store.refusal:
        return store.refusal
    used = store.used_bytes()
    limit = int(settings.max_map_bytes * (1 - _MAP_RESERVE))
    if used > limit:
        return f"the store is full: {used} bytes used of {limit}"
    return ""
