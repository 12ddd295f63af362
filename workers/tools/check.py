"""Whether a store is true to itself: every index, count and reference agrees with every other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import lmdb

from workers.store.meta import Mark
from workers.store.moment import find_gaps
from workers.store.schema import KeyKind, TreeRow
from workers.store.snapshot import Snapshot
from workers.tools.looks.bodies import look_at_body, look_at_holders, name_uneven_bodies
from workers.tools.looks.inspection import Inspection
from workers.tools.looks.mailboxes import look_at_mail, look_at_receipt, look_at_totals
from workers.tools.looks.messages import (
    look_at_expiry,
    look_at_message,
    name_uneven_expiry,
    name_uneven_mail,
)
from workers.tools.looks.owned import look_at_owned
from workers.tools.looks.peers import look_at_meta, look_at_outgoing
from workers.tools.looks.readable import MALFORMED
from workers.tools.progress import Progress
from workers.tools.report import Report

# How a tree of the store's own is looked at: as a whole, or item by item.
WHOLE: Final[Mapping[str, Callable[[Inspection], None]]] = {
    "mail": look_at_mail,
    "boxes": look_at_totals,
}
ITEMS: Final[Mapping[str, Callable[[Inspection, bytes, bytes], None]]] = {
    "receipts": look_at_receipt,
    "messages": look_at_message,
    "expiry": look_at_expiry,
    "bodies": look_at_body,
    "holders": look_at_holders,
    "outbox": look_at_outgoing,
    "meta": look_at_meta,
}
# What is done last, by tree: what another should have named too, and did not.
_UNEVEN: Final[Mapping[str, Callable[[Inspection], None]]] = {
    "mail": name_uneven_mail,
    "expiry": name_uneven_expiry,
    "bodies": name_uneven_bodies,
}


def check_stores(
    snapshots: Mapping[int, Snapshot],
    report: Report,
    *,
    generation: int,
    workers: int,
    began: Callable[[str], None] = lambda name: None,
) -> None:
    """Check the stores of one data directory, whose snapshots are of one moment.

    `began` is told the name of each store before it is read.
    """
    items = 0
    for index, snapshot in snapshots.items():
        began(f"worker-{index}")
        items += _size(snapshot)
    progress = Progress("checked", items)
    for gap in find_gaps(snapshots):
        report.add(f"worker-{gap.older}", "meta", "", f"is older than the other stores: {gap.why}")
    for index, snapshot in snapshots.items():
        name = f"worker-{index}"
        began(name)
        wanted = Mark(generation, workers, index)
        found = snapshot.mark()
        if found != wanted:
            report.add(name, "meta", "mark", f"it is the store of {found}, not of {wanted}")
        _look(name, snapshot, wanted, report, progress)
    progress.end()


def check_store(name: str, snapshot: Snapshot, report: Report) -> None:
    """Check one store by itself; what others know of it is left out."""
    progress = Progress("checked", _size(snapshot))
    mark = snapshot.mark()
    if mark is None:
        report.add(name, "meta", "mark", "it does not say whose store it is")
    _look(name, snapshot, mark, report, progress)
    progress.end()


def _size(snapshot: Snapshot) -> int:
    return sum(snapshot.count(row.name) for row in snapshot.rows)


def _look(
    name: str, snapshot: Snapshot, mark: Mark | None, report: Report, progress: Progress
) -> None:
    store = Inspection(name, snapshot, mark, report, progress)
    try:
        for row in snapshot.rows:
            _look_at_tree(store, row)
        for tree, name_uneven in _UNEVEN.items():
            try:
                name_uneven(store)
            except MALFORMED as error:
                report.add(name, tree, "", f"has what cannot be compared: {error}")
    except lmdb.Error as error:
        report.add(name, "", "", f"data.mdb cannot be read further: {error}")
    report.stores += 1


def _look_at_tree(store: Inspection, row: TreeRow) -> None:
    if row.key is KeyKind.OWNED:
        look_at_owned(store, row.name)
    elif row.name in WHOLE:
        WHOLE[row.name](store)
    else:
        _look_at_items(store, row.name)


def _look_at_items(store: Inspection, tree: str) -> None:
    look = ITEMS[tree]
    for key, value in store.items(tree):
        try:
            look(store, key, value)
        except MALFORMED as error:
            store.found(tree, key, f"is malformed: {error}")
