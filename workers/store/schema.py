"""The trees of a store, a row a tree: what it holds, who owns a key, and how it is moved.

Store, journal, snapshot, re-sharding, check and backup go by the rows. So one tree more is one row
more, and a look at it in `workers.tools.check`.

The trees of extensions have rows too, all of one kind: their keys begin with a slot and an owner.
That is enough to move, check and copy them without the extension, which may be loaded no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from struct import Struct
from typing import Any, Final

import msgspec

from relay.errors import SettingsError, StoreDamaged, StoreForeign
from relay.extensions.contract import Extension
from relay.protocol.slots import Slot
from workers.store.keys import slot_at, slot_of_message

# The most that LMDB is to open of a store, trees of extensions included. For each that may come it
# reserves some 50 bytes a transaction.
MAX_TREES: Final = 128

_OWNED_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\.[A-Za-z0-9_-]{1,64}")


class KeyKind(Enum):
    """How the keys of a tree are made, and so whose they are."""

    SLOT = auto()  # slot, then anything: the owner of the slot's
    MESSAGE = auto()  # a message's: its recipient's
    OWNED = auto()  # slot, owner, NUL, then the extension's own: the owner's
    SEQ = auto()  # a sequence number
    PEER_SEQ = auto()  # a worker, then a sequence number of its peer
    NAME = auto()  # a name


class Move(Enum):
    """What becomes of a tree when a data directory is laid out for another number of workers."""

    COPIED = auto()  # each item goes to the owner of its slot
    QUEUED = auto()  # the same, and the bodies that entries refer to go along
    SPLIT = auto()  # a list of message keys is divided among the owners of their slots
    MADE_ANEW = auto()  # from the entries that refer to it
    APPLIED = auto()  # what the peer lacks is done at once
    LEFT = auto()  # it is of the worker, and its successor has its own


class TreeRow(msgspec.Struct, frozen=True, kw_only=True):
    """All that is to be known of a tree.

    `keys` and `holds` say to people how its keys are made and what its values are. It `grows` with
    history if all its keys end in sequence numbers, each higher than any before: then folding need
    not remember the removal of what never came to a page (workers.store.tree). One that grows is
    `fleeting` if most of its items are gone within seconds: those are kept from the pages meanwhile
    (workers.store.journal).
    """

    name: str
    key: KeyKind
    keys: str
    holds: str
    move: Move
    grows: bool = False
    fleeting: bool = False

    def slot(self, key: bytes) -> Slot | None:
        """Return the slot whose owner keeps `key`; None where that does not follow from it.

        Raises:
            ValueError, struct.error: it is no key of this tree.
        """
        slot_of_key = _SLOTS.get(self.key)
        return None if slot_of_key is None else slot_of_key(key)

    @property
    def keeps_count(self) -> bool:
        """Whether all stores together have as many items after a move as before."""
        return self.move in (Move.COPIED, Move.QUEUED)


_SLOTS: Final[Mapping[KeyKind, Callable[[bytes], Slot]]] = {
    KeyKind.SLOT: slot_at,
    KeyKind.MESSAGE: slot_of_message,
    KeyKind.OWNED: slot_at,
}

ROWS: Final = (
    TreeRow(
        name="mail",
        key=KeyKind.SLOT,
        keys="box + seq",
        holds="a queued entry (workers.shard.mailbox)",
        move=Move.QUEUED,
        grows=True,
        fleeting=True,
    ),
    TreeRow(
        name="boxes",
        key=KeyKind.SLOT,
        keys="box",
        holds="totals of an absent user's mailbox",
        move=Move.COPIED,
    ),
    TreeRow(
        name="receipts",
        key=KeyKind.SLOT,
        keys="box + id, acker",
        holds="seq of an absent author's receipt, to replace it",
        move=Move.COPIED,
    ),
    TreeRow(
        name="messages",
        key=KeyKind.MESSAGE,
        keys="id, author, ...",
        holds="what is known of a message towards one recipient",
        move=Move.COPIED,
    ),
    TreeRow(
        name="expiry",
        key=KeyKind.SEQ,
        keys="seq",
        holds="the keys of `messages` that one batch added",
        move=Move.SPLIT,
        grows=True,
    ),
    TreeRow(
        name="bodies",
        key=KeyKind.SEQ,
        keys="seq",
        holds="one group message, however many mailboxes hold it",
        move=Move.MADE_ANEW,
        grows=True,
        fleeting=True,
    ),
    TreeRow(
        name="holders",
        key=KeyKind.SEQ,
        keys="seq",
        holds="how many mailboxes do",
        move=Move.MADE_ANEW,
        grows=True,
        fleeting=True,
    ),
    TreeRow(
        name="outbox",
        key=KeyKind.PEER_SEQ,
        keys="worker + seq",
        holds="what a peer has not yet stored",
        move=Move.APPLIED,
        grows=True,
        fleeting=True,
    ),
    TreeRow(
        name="meta",
        key=KeyKind.NAME,
        keys="name",
        holds="counters of the worker itself, and which store this is",
        move=Move.LEFT,
    ),
)

_CORE: Final = {row.name: row for row in ROWS}


def owned_row(name: str, *, grows: bool = False) -> TreeRow:
    """Return the row of a tree of an extension, which is named EXTENSION.TREE.

    One that grows may be taken for one that does not, as where nobody knows: it is folded as well.
    """
    return TreeRow(
        name=name,
        key=KeyKind.OWNED,
        keys="slot, owner, ...",
        holds="what an extension keeps of users and groups",
        move=Move.COPIED,
        grows=grows,
    )


def rows_of(extensions: Iterable[Extension]) -> tuple[TreeRow, ...]:
    """Return the rows of the trees that extensions have named.

    Raises:
        SettingsError: they are too many for a store.
    """
    rows = [
        owned_row(f"{extension.name}.{tree.name}", grows=tree.grows)
        for extension in extensions
        for tree in extension.trees
    ]
    if len(rows) > MAX_TREES - len(ROWS):
        raise SettingsError(
            f"the extensions name {len(rows)} trees, but a store has room for"
            f" {MAX_TREES - len(ROWS)}"
        )
    return tuple(rows)


def row_of(name: str) -> TreeRow:
    """Return the row of a tree that is found in a store; whether one of an extension grows is lost.

    Raises:
        StoreForeign: no version up to this one writes a tree of that name; a later one may.
    """
    row = _CORE.get(name)
    if row is not None:
        return row
    if not _OWNED_NAME.fullmatch(name):
        raise StoreForeign(f"it has a tree {name!r}, which this version does not know")
    return owned_row(name)


def names_in(txn: Any) -> list[str]:
    """Return the names of the trees that a store has in its pages, as the transaction sees them.

    Raises:
        StoreDamaged: one is no name.
    """
    try:
        return [name.decode() for name in txn.cursor().iternext(values=False)]
    except UnicodeDecodeError:
        raise StoreDamaged("it has a tree whose name is no text") from None


# --- values ---

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
