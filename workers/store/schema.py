"""The trees of a store: what each holds, and how its keys and values are packed."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final

import msgspec

from relay.disk.layout import DATA_FORMAT
from workers.store.tree import Tree

TREES: Final = (
    "mail",
    "boxes",
    "receipts",
    "messages",
    "expiry",
    "bodies",
    "holders",
    "outbox",
    "meta",
)


# Those whose keys all end in sequence numbers.
GROWING_TREES: Final = frozenset({"mail", "expiry", "bodies", "holders", "outbox"})


# Keys of the tree `meta`.
SEQ_NAME: Final = b"seq"


FORGOTTEN_NAME: Final = b"forgotten"


MARK_NAME: Final = b"mark"


APPLIED_NAME: Final = b"applied:%d"


CONFIRMED_NAME: Final = b"confirmed:%d"


_COUNT = Struct(">I")


pack_count = _COUNT.pack


def unpack_count(value: bytes) -> int:
    """Return a number of holders."""
    count: int
    (count,) = _COUNT.unpack(value)
    return count


# The values of the tree `expiry`.
encode_keys = msgspec.msgpack.Encoder().encode


decode_keys = msgspec.msgpack.Decoder(list[bytes]).decode


class Mark(msgspec.Struct, frozen=True):
    """Which store this is, written in it: one in another's place is told from the right one."""

    generation: int
    workers: int
    index: int
    format: int = DATA_FORMAT

    def __str__(self) -> str:
        return f"worker {self.index} of {self.workers}, generation {self.generation}"


encode_mark = msgspec.json.Encoder().encode


decode_mark = msgspec.json.Decoder(Mark).decode


def make_trees(dbs: Mapping[str, Any]) -> dict[str, Tree]:
    """Return the trees of a store whose pages are in the databases `dbs`, by name."""
    return {name: Tree(dbs[name], grows=name in GROWING_TREES) for name in TREES}
