"""Trees of extensions: whose each item is. What it says, only its extension can tell."""

from __future__ import annotations

from relay.protocol.slots import slot_of
from workers.store.keys import slot_at, split_owned
from workers.tools.looks.inspection import Inspection
from workers.tools.looks.readable import MALFORMED


def look_at_owned(store: Inspection, tree: str) -> None:
    """Look at every key of a tree EXTENSION.TREE, be the extension loaded or not."""
    for key, _ in store.items(tree):
        try:
            owner, _ = split_owned(key)
        except MALFORMED as error:
            store.found(tree, key, f"is malformed: {error}")
            continue
        if slot_of(owner) != slot_at(key):
            store.found(tree, key, f"is in slot {slot_at(key)}, not in that of its owner")
        store.check_slot(tree, key, slot_at(key))
