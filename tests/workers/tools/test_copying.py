"""Copying: what extensions keep moves with its owner, be they loaded or not."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import BootError
from relay.protocol.slots import ShardMap
from tests.workers.tools.harness import (
    DIARY,
    HIKE,
    LOG,
    NOTES,
    USERS,
    Item,
    change,
    fold_in,
    lay_out,
    owned,
    problems,
    snapshots_of,
    write_owned,
)
from workers.store.keys import owned_prefix, pack_seq, split_owned
from workers.store.schema import KeyKind

OWNERS = st.sampled_from([*USERS, HIKE]) | st.text(
    st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20
)
ITEMS = st.dictionaries(
    st.tuples(st.just(NOTES.name), OWNERS, st.binary(max_size=40))
    | st.tuples(st.just(LOG.name), OWNERS, st.integers(1, 1 << 50).map(pack_seq)),
    st.binary(max_size=40),
    max_size=40,
)


@settings(max_examples=12, deadline=None)
@given(
    items=ITEMS,
    before=st.integers(1, 5),
    others=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    folded=st.booleans(),
)
@pytest.mark.slow
def test_items_survive_the_move_to_any_number_of_workers_and_back(
    items: dict[Item, bytes], before: int, others: list[int], folded: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data"
        lay_out(data, before)
        write_owned(data, items)
        if folded:
            for index in range(before):
                fold_in(data / "gen-1" / f"worker-{index}")

        for workers in [*others, before]:
            lay_out(data, workers)

            assert owned(data) == items
            assert problems(data) == []  # so each is in the store of the owner's worker


def test_each_item_is_in_the_store_of_its_owner_s_worker(tmp_path: Path) -> None:
    lay_out(tmp_path / "data", 2)
    write_owned(tmp_path / "data", DIARY)

    lay_out(tmp_path / "data", 3)

    shards = ShardMap(3)
    with snapshots_of(tmp_path / "data") as snapshots:
        for index, snapshot in snapshots.items():
            found = [
                split_owned(key)[0]
                for row in snapshot.rows
                if row.key is KeyKind.OWNED
                for key, _ in snapshot.items(row.name)
            ]
            assert {shards.owner_of(owner) for owner in found} == {index}


def test_a_tree_that_one_store_alone_has_is_moved_too(tmp_path: Path) -> None:
    """As where a worker died before it had opened its store with an extension that is new."""
    data = tmp_path / "data"
    lay_out(data, 2)
    write_owned(data, DIARY)
    emptied = {item: value for item, value in DIARY.items() if ShardMap(2).owner_of(item[1]) == 1}
    for tree in (NOTES.name, LOG.name):

        def drop(txn: Any, trees: dict[str, Any], tree: str = tree) -> None:
            txn.drop(trees[tree])

        change(data, 0, drop)

    lay_out(data, 3)

    assert owned(data) == emptied
    assert problems(data) == []


def test_an_item_of_another_worker_s_owner_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    lay_out(data, 2)
    write_owned(data, DIARY)
    stranger = next(user for user in USERS if ShardMap(2).owner_of(user) == 1)
    change(
        data,
        0,
        lambda txn, trees: txn.put(owned_prefix(stranger) + b"x", b"x", db=trees[NOTES.name]),
    )

    with pytest.raises(BootError, match=r"worker 0 holds what it should not .*check"):
        lay_out(data, 3)
