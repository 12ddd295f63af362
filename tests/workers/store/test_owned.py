"""Trees of extensions: whose an item is follows from its key, and no one can reach another's."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.bus.envelopes import Seq
from relay.errors import BootError, StoreDamaged
from relay.extensions.contract import ExtensionTree as Promised
from relay.protocol.slots import slot_of
from workers.store.keys import owned_prefix, pack_seq, slot_at, split_owned
from workers.store.owned import OwnedTree
from workers.store.renewal import is_lost
from workers.store.schema import MAX_TREES, ROWS, TreeRow, owned_row
from workers.store.snapshot import Snapshot
from workers.store.store import Store

MIB = 1024 * 1024
NOTES, LOG = "diary.notes", "diary.log"
OWNED = (owned_row(NOTES), owned_row(LOG, grows=True))


def open_store(directory: Path, *owned: TreeRow) -> Store:
    return Store(
        directory, durability="os", map_bytes=16 * MIB, max_map_bytes=64 * MIB, owned=owned
    )


def fold_in(store: Store) -> None:
    while store.has_unfolded:
        store.fold(at_once=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "worker-0", *OWNED)
    yield store
    store.close()


@pytest.fixture
def notes(store: Store) -> Iterator[OwnedTree]:
    with store.reading() as batch:
        yield batch.owned_tree(NOTES)


# --- the tree ---


def test_it_is_what_extensions_are_promised(notes: OwnedTree) -> None:
    promised: Promised = notes

    promised.put("bob", b"key", b"value")
    assert promised.get("bob", b"key") == b"value"
    assert list(promised.scan("bob")) == [(b"key", b"value")]
    assert promised.pop("bob", b"key") == b"value"
    assert promised.pop("bob", b"key") is None
    assert promised.get("bob", b"key") is None


def test_owners_whose_names_begin_alike_keep_apart(notes: OwnedTree) -> None:
    for owner in ("b", "bo", "bob"):
        notes.put(owner, b"key", owner.encode())

    for owner in ("b", "bo", "bob"):
        assert list(notes.scan(owner)) == [(b"key", owner.encode())]


def test_a_scan_begins_where_it_is_told(notes: OwnedTree) -> None:
    for key in (b"", b"a", b"b", b"b\0", b"\xff"):
        notes.put("bob", key, b"value")

    assert [key for key, _ in notes.scan("bob")] == [b"", b"a", b"b", b"b\0", b"\xff"]
    assert [key for key, _ in notes.scan("bob", b"b")] == [b"b", b"b\0", b"\xff"]
    assert [key for key, _ in notes.scan("bob", b"\xff\0")] == []


def test_a_key_may_have_as_many_bytes_as_its_owner_leaves(notes: OwnedTree) -> None:
    longest = b"k" * (511 - 2 - len("bob") - 1)

    notes.put("bob", longest, b"value")
    with pytest.raises(ValueError, match=r"506 bytes in diary.notes: .* bob it may have 505"):
        notes.put("bob", longest + b"k", b"value")
    with pytest.raises(ValueError, match="it may have 0"):
        notes.put("b" * 600, b"key", b"value")

    assert list(notes.scan("bob")) == [(longest, b"value")]


def test_under_a_key_that_is_too_long_there_is_nothing(notes: OwnedTree) -> None:
    longest = b"k" * 505
    notes.put("bob", longest, b"value")
    notes.put("bob", b"l", b"value")

    assert notes.get("bob", longest + b"k") is None
    assert notes.pop("bob", longest + b"k") is None
    assert [key for key, _ in notes.scan("bob", longest + b"k")] == [b"l"]
    assert [key for key, _ in notes.scan("bob", longest)] == [longest, b"l"]


@pytest.mark.parametrize("owner", ["", "bob\0carol", "\ud800"])
def test_an_owner_is_somebody(notes: OwnedTree, owner: str) -> None:
    with pytest.raises(ValueError, match=r"an item of|surrogates"):
        notes.put(owner, b"key", b"value")


def test_a_tree_that_grows_takes_keys_that_can_end_in_a_number(store: Store) -> None:
    with store.reading() as batch:
        log = batch.owned_tree(LOG)
        log.put("bob", pack_seq(1), b"entry")
        log.put("bob", b"chat\0" + pack_seq(1), b"entry")
        with pytest.raises(ValueError, match=r"7 bytes in diary.log, whose keys end in 8 bytes"):
            log.put("bob", b"1234567", b"entry")


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1), st.binary())
def test_whose_an_item_is_follows_from_its_key(owner: str, key: bytes) -> None:
    whole = owned_prefix(owner) + key

    assert split_owned(whole) == (owner, key)
    assert slot_at(whole) == slot_of(owner)


@pytest.mark.parametrize("key", [b"", b"\0\1", b"\0\1\0key", b"\0\1bob", b"\0\1\xff\0key"])
def test_what_names_no_owner_is_told(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"names no owner|invalid start byte"):
        split_owned(key)


# --- in a store ---


def write(store: Store, seq: int = 1) -> None:
    with store.writing() as batch:
        batch.put_last_seq(Seq(seq))
        batch.owned_tree(NOTES).put("bob", b"key", b"%d" % seq)
        batch.owned_tree(LOG).put("bob", pack_seq(seq), b"entry")


def items(store: Store) -> dict[str, dict[bytes, bytes]]:
    with store.reading():
        return {name: dict(store._trees[name].scan(b"")) for name in (NOTES, LOG)}


def test_what_a_batch_wrote_is_there_when_it_is_committed_and_not_else(store: Store) -> None:
    write(store)
    with store.reading() as batch:
        batch.owned_tree(NOTES).put("bob", b"key", b"lost")

    with store.reading() as batch:
        assert batch.owned_tree(NOTES).get("bob", b"key") == b"1"
        assert list(batch.owned_tree(LOG).scan("bob")) == [(pack_seq(1), b"entry")]


def test_what_was_removed_from_a_growing_tree_stays_removed(store: Store, tmp_path: Path) -> None:
    write(store, 1)
    fold_in(store)
    write(store, 2)
    with store.writing() as batch:
        for seq in (1, 2):
            assert batch.owned_tree(LOG).pop("bob", pack_seq(seq)) == b"entry"
    fold_in(store)

    with store.reading() as batch:
        assert list(batch.owned_tree(LOG).scan("bob")) == []


def test_a_batch_knows_no_tree_of_an_extension_that_is_not_loaded(store: Store) -> None:
    with store.reading() as batch, pytest.raises(KeyError):
        batch.owned_tree("other.tree")


@pytest.mark.parametrize("folded", [0, 1, 2])
def test_a_tree_is_kept_replayed_and_folded_while_its_extension_is_not_loaded(
    tmp_path: Path, folded: int
) -> None:
    store = open_store(tmp_path, *OWNED)
    write(store, 1)
    if folded:
        fold_in(store)
    write(store, 2)
    expected = items(store)
    store.close()

    store = open_store(tmp_path)
    assert items(store) == expected
    if folded == 2:
        fold_in(store)
    with store.writing() as batch:
        batch.put_last_seq(Seq(3))
    store.close()

    snapshot = Snapshot(tmp_path)
    assert {name: dict(snapshot.items(name)) for name in (NOTES, LOG)} == expected
    snapshot.close()
    store = open_store(tmp_path, *OWNED)
    assert items(store) == expected
    store.close()


def test_a_tree_that_only_the_journal_names_is_kept_too(tmp_path: Path) -> None:
    """As where a power cut took the pages that named it."""
    store = open_store(tmp_path, *OWNED)
    write(store)
    expected = items(store)
    store.close()
    with lmdb.open(str(tmp_path), max_dbs=MAX_TREES) as environment:
        for name in (NOTES, LOG):
            tree = environment.open_db(name.encode())
            with environment.begin(write=True) as txn:
                txn.drop(tree)

    snapshot = Snapshot(tmp_path)
    assert [row.name for row in snapshot.rows[len(ROWS) :]] == [LOG, NOTES]
    assert {name: dict(snapshot.items(name)) for name in (NOTES, LOG)} == expected
    assert [snapshot.count(name) for name in (NOTES, LOG)] == [1, 1]
    assert snapshot.get(NOTES, owned_prefix("bob") + b"key") == b"1"
    assert snapshot.get(NOTES, owned_prefix("bob") + b"other") is None
    (tmp_path / "copy").mkdir()
    snapshot.copy(tmp_path / "copy")
    snapshot.close()
    for directory in (tmp_path, tmp_path / "copy"):
        store = open_store(directory)
        assert items(store) == expected
        fold_in(store)
        store.close()
        store = open_store(directory, *OWNED)
        assert items(store) == expected
        store.close()


@pytest.mark.slow
@pytest.mark.parametrize("folded", [False, True])
def test_a_snapshot_finds_a_tree_that_came_after_it_was_opened(
    tmp_path: Path, folded: bool
) -> None:
    """A worker with an extension more started meanwhile, in another process."""
    open_store(tmp_path).close()
    snapshot = Snapshot(tmp_path)
    script = (
        "import sys; from pathlib import Path; from tests.workers.store.test_owned import *;"
        "store = open_store(Path(sys.argv[1]), *OWNED); write(store);"
        f"{folded} and fold_in(store); store.close()"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[3], check=True
    )

    assert snapshot.rows == ROWS
    snapshot.refresh()

    assert [row.name for row in snapshot.rows[len(ROWS) :]] == [LOG, NOTES]
    key = owned_prefix("bob")
    assert list(snapshot.items(NOTES)) == [(key + b"key", b"1")]
    assert list(snapshot.items(LOG)) == [(key + pack_seq(1), b"entry")]
    snapshot.close()


def test_a_store_without_extensions_has_no_tree_but_its_own(tmp_path: Path) -> None:
    open_store(tmp_path).close()

    with lmdb.open(str(tmp_path), max_dbs=MAX_TREES) as environment, environment.begin() as txn:
        names = [key.decode() for key in txn.cursor().iternext(values=False)]
    assert sorted(names) == sorted(row.name for row in ROWS)


def test_a_tree_that_no_version_wrote_is_refused_and_not_dropped(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with lmdb.open(str(tmp_path), max_dbs=MAX_TREES) as environment:
        environment.open_db(b"news")

    with pytest.raises(
        BootError, match="it has a tree 'news', which this version does not know"
    ) as refused:
        open_store(tmp_path)
    assert not is_lost(refused.value)  # no host of a cluster replaces it: a later version wrote it
    with pytest.raises(StoreDamaged, match="it has a tree 'news'"):
        Snapshot(tmp_path)


# --- all owners ---


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["a", "b", "c1", "c11"]), st.binary(max_size=4)),
        st.binary(max_size=3),
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_items_of_all_owners_come_in_pages_each_once(
    tmp_path_factory: pytest.TempPathFactory, items: dict[tuple[str, bytes], bytes], page: int
) -> None:
    store = open_store(tmp_path_factory.mktemp("worker"), *OWNED)
    with store.writing() as batch:
        tree = batch.owned_tree(NOTES)
        for (owner, key), value in items.items():
            tree.put(owner, key, value)
    with store.reading() as batch:
        tree, found = batch.owned_tree(NOTES), []
        behind: tuple[str, bytes] | None = None
        while some := list(islice(tree.items(behind), page)):
            found += some
            behind = some[-1][:2]
    store.close()

    assert {(owner, key): value for owner, key, value in found} == items
    assert len(found) == len(items)
