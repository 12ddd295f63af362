"""The rows of the store's trees: what they say is what is documented and stored."""

from pathlib import Path
from struct import error as StructError

import pytest

import workers.store.store
from relay.errors import SettingsError, StoreDamaged
from relay.extensions.contract import Extension, TreeSpec
from relay.protocol.slots import slot_of
from workers.store.keys import (
    SEQ_BYTES,
    box_of,
    message_key,
    owned_prefix,
    pack_seq,
    receipt_key,
)
from workers.store.schema import MAX_TREES, ROWS, KeyKind, Move, TreeRow, owned_row, row_of, rows_of
from workers.store.snapshot import Snapshot
from workers.store.store import Store


def row(name: str) -> TreeRow:
    return next(each for each in ROWS if each.name == name)


def test_the_documentation_of_the_store_has_a_line_for_each_tree_and_no_other() -> None:
    documented = [
        " ".join(line.split())
        for line in (workers.store.store.__doc__ or "").splitlines()
        if "->" in line
    ]

    assert documented == [f"{each.name} {each.keys} -> {each.holds}" for each in ROWS]


def test_each_tree_has_a_name_of_its_own_that_no_extension_can_have() -> None:
    assert len({each.name for each in ROWS}) == len(ROWS)
    assert not any("." in each.name for each in ROWS)


def test_what_a_key_belongs_to_follows_from_it() -> None:
    box = box_of("bob")

    assert row("mail").slot(box + pack_seq(1)) == slot_of("bob")
    assert row("boxes").slot(box) == slot_of("bob")
    assert row("receipts").slot(receipt_key(box, "id", "carol", "")) == slot_of("bob")
    assert row("messages").slot(message_key("id", "bob", "carol", "")) == slot_of("carol")
    assert row("messages").slot(message_key("id", "bob", "", "1-2")) == slot_of("1-2")
    assert owned_row("a.b").slot(owned_prefix("bob") + b"key") == slot_of("bob")


def test_no_other_key_has_a_slot() -> None:
    without = {each.name for each in ROWS if each.key not in (KeyKind.SLOT, KeyKind.MESSAGE)}

    assert without == {"expiry", "bodies", "holders", "outbox", "meta"}
    assert all(row(name).slot(pack_seq(7)) is None for name in without)


@pytest.mark.parametrize("name", ["mail", "messages"])
def test_what_is_no_key_has_no_slot(name: str) -> None:
    with pytest.raises((ValueError, StructError)):
        row(name).slot(b"x")


def test_what_goes_by_slots_is_moved_by_slots_and_only_that_keeps_its_count() -> None:
    for each in [*ROWS, owned_row("a.b")]:
        has_slot = each.key in (KeyKind.SLOT, KeyKind.MESSAGE, KeyKind.OWNED)
        assert (each.move in (Move.COPIED, Move.QUEUED)) is has_slot is each.keeps_count


def test_trees_that_grow_have_keys_that_end_in_a_number() -> None:
    growing = {each.name for each in ROWS if each.grows}

    assert growing == {each.name for each in ROWS if each.keys.endswith("seq")}
    assert len(pack_seq(1)) == SEQ_BYTES


def test_the_trees_of_an_extension_are_rows() -> None:
    extension = Extension(
        name="history", trees=(TreeSpec(name="log", grows=True), TreeSpec(name="read-up-to"))
    )

    assert rows_of([extension, Extension(name="blocks")]) == (
        owned_row("history.log", grows=True),
        owned_row("history.read-up-to"),
    )


def test_a_store_has_room_for_so_many_trees_and_no_more(tmp_path: Path) -> None:
    most = MAX_TREES - len(ROWS)
    trees = tuple(TreeSpec(name=f"tree{number}") for number in range(most + 1))
    with pytest.raises(SettingsError, match=rf"{most + 1} trees, but a store has room for {most}"):
        rows_of([Extension(name="many", trees=trees)])

    rows = rows_of([Extension(name="many", trees=trees[:most])])
    Store(tmp_path, durability="os", map_bytes=1 << 24, max_map_bytes=1 << 24, owned=rows).close()

    snapshot = Snapshot(tmp_path)
    assert len(snapshot.rows) == MAX_TREES
    snapshot.close()


def test_a_tree_that_is_found_is_one_of_the_store_s_or_of_an_extension() -> None:
    assert row_of("mail") is row("mail")
    assert row_of("history.log") == owned_row("history.log")
    with pytest.raises(StoreDamaged, match="a tree 'tree', which this version does not know"):
        row_of("tree")
