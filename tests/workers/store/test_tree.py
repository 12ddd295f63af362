"""A tree: pages, and what is newer than they are, read as one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.store import tree as tree_module
from workers.store.tree import Folded, Layer, Tree

SHORT_KEYS = st.binary(min_size=1, max_size=3)
FEW_KEYS = st.integers(0, 40).map(lambda number: b"%02d" % number)


class Pages:
    """An LMDB tree within one transaction."""

    def __init__(self, environment: lmdb.Environment, *, grows: bool) -> None:
        self.db = environment.open_db(b"tree")
        self.txn: Any = environment.begin(write=True)
        self.tree = Tree(self.db, grows=grows)
        self.tree.use(self.txn)

    def fold(self, *, max_bytes: int = 1 << 20) -> Folded:
        """Write what memory has into the pages, and forget it."""
        recent = self.tree.recent
        keys = recent.between(b"", b"")
        folded = self.tree.fold(self.txn, keys, max_bytes=max_bytes)
        if folded.keys:
            recent.forget_run(keys[: folded.keys])
        return folded

    def store(self, **items: bytes) -> None:
        self.tree.recent.update({key.encode(): value for key, value in items.items()})
        self.fold()

    def keys(self) -> list[bytes]:
        with self.txn.cursor(self.db) as cursor:
            return list(cursor.iternext(keys=True, values=False))


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[lmdb.Environment]:
    with lmdb.open(str(tmp_path), map_size=1 << 20, max_dbs=1, sync=False) as environment:
        yield environment


@pytest.fixture
def pages(environment: lmdb.Environment) -> Iterator[Pages]:
    pages = Pages(environment, grows=False)
    yield pages
    pages.txn.abort()


@pytest.fixture
def growing(environment: lmdb.Environment) -> Iterator[Pages]:
    pages = Pages(environment, grows=True)
    yield pages
    pages.txn.abort()


@pytest.fixture
def tree(pages: Pages) -> Tree:
    return pages.tree


def test_the_newest_value_is_read(pages: Pages) -> None:
    tree = pages.tree
    pages.store(a=b"page", b=b"page", c=b"page")
    tree.recent.update({b"b": b"recent", b"c": b"recent"})
    tree.put(b"c", b"fresh")

    assert [tree.get(key) for key in (b"a", b"b", b"c", b"d")] == [
        b"page",
        b"recent",
        b"fresh",
        None,
    ]
    assert list(tree.scan(b"")) == [(b"a", b"page"), (b"b", b"recent"), (b"c", b"fresh")]
    assert tree.count() == 3


def test_what_was_removed_is_gone_wherever_it_was(pages: Pages) -> None:
    tree = pages.tree
    pages.store(a=b"page")
    tree.recent[b"b"] = b"recent"
    tree.put(b"c", b"fresh")

    assert [tree.pop(key) for key in (b"a", b"b", b"c")] == [b"page", b"recent", b"fresh"]
    assert [tree.pop(key) for key in (b"a", b"b", b"c")] == [None] * 3
    assert list(tree.scan(b"")) == []
    assert tree.count() == 0


def test_a_scan_keeps_to_its_prefix_and_begins_where_it_is_told(pages: Pages) -> None:
    tree = pages.tree
    pages.store(ax=b"1", ay=b"2", b=b"3")
    tree.recent[b"aw"] = b"4"
    tree.put(b"az", b"5")

    assert [key for key, _ in tree.scan(b"a", b"a")] == [b"aw", b"ax", b"ay", b"az"]
    assert [key for key, _ in tree.scan(b"ay", b"a")] == [b"ay", b"az"]
    assert list(tree.scan(b"c", b"c")) == []


@pytest.mark.parametrize("prefix", [b"\xff", b"a\xff", b"\xff\xff"])
def test_a_prefix_may_end_in_the_highest_byte(tree: Tree, prefix: bytes) -> None:
    for number, key in enumerate((prefix, prefix + b"\xff", b"a", b"b")):
        tree.put(key, b"%d" % number)

    assert [key for key, _ in tree.scan(prefix, prefix)] == [prefix, prefix + b"\xff"]


def test_folding_makes_the_pages_say_what_memory_said(pages: Pages) -> None:
    tree = pages.tree
    pages.store(a=b"1", b=b"2")
    tree.recent.update({b"a": b"3", b"b": None, b"c": b"4"})
    before = list(tree.scan(b""))

    pages.fold()

    assert list(tree.scan(b"")) == before == [(b"a", b"3"), (b"c", b"4")]
    assert not tree.recent


def test_folding_ends_with_the_key_that_reaches_the_bytes_allowed(pages: Pages) -> None:
    pages.tree.recent.update({b"a": b"12", b"b": None, b"c": b"34", b"d": b"56"})

    assert pages.fold(max_bytes=3) == Folded(3, 4)
    assert pages.keys() == [b"a", b"c"]
    assert pages.tree.recent == {b"d": b"56"}


def test_what_is_unfolded_is_counted_as_the_difference_to_the_pages(growing: Pages) -> None:
    tree = growing.tree
    low, high = (b"a" * 8, b"b" * 8), (b"c" * 8, b"d" * 8)
    growing.store(**{low[0].decode(): b"page", low[1].decode(): b"page"})
    tree.stored_up_to = low[1]
    assert tree.unfolded() == Folded(0, 0)
    tree.recent.update({high[0]: b"12345", high[1]: b"678"})

    assert tree.unfolded() == Folded(2, 8)
    tree.recent[low[0]] = None  # removed from the pages
    assert tree.unfolded() == Folded(1, 8)
    tree.recent[low[1]] = b"other"  # is in the pages, and is written once more
    assert tree.unfolded() == Folded(1, 8)
    assert tree.count() == 3


def test_folding_leaves_out_what_was_forgotten_meanwhile(pages: Pages) -> None:
    recent = pages.tree.recent
    recent.update({b"a": b"1", b"b": b"2"})
    keys = recent.between(b"", b"")
    recent.forgetting()(b"a", None)

    pages.tree.fold(pages.txn, keys, max_bytes=100)
    recent.forget_run(keys)

    assert pages.keys() == [b"b"]
    assert not recent


OLD, NEW = b"box" + bytes(7) + b"\x05", b"box" + bytes(7) + b"\x06"


def test_a_tree_that_grows_remembers_no_removal_of_what_was_never_in_a_page(
    growing: Pages,
) -> None:
    tree = growing.tree
    tree.stored_up_to = OLD[-8:]
    for key in (OLD, NEW):
        tree.put(key, b"entry")
    tree.keep()
    for key in (OLD, NEW):
        tree.pop(key)
    tree.keep()

    assert tree.recent == {OLD: None}
    assert list(tree.scan(b"")) == []


def test_any_other_tree_remembers_every_removal(tree: Tree) -> None:
    tree.put(NEW, b"entry")
    tree.keep()
    tree.pop(NEW)
    tree.keep()

    assert tree.recent == {NEW: None}


def test_folding_notes_how_far_a_tree_that_grows_is_in_its_pages(growing: Pages) -> None:
    growing.tree.stored_up_to = b""
    growing.tree.recent.update({b"z" + OLD: b"entry", b"a" + NEW: b"entry", b"\xff" * 9: None})

    assert growing.fold() == Folded(3, 10)
    assert growing.tree.stored_up_to == NEW[-8:]


def test_a_tree_of_which_nobody_said_what_is_in_its_pages_remembers_every_removal(
    growing: Pages,
) -> None:
    growing.tree.put(NEW, b"entry")
    growing.tree.keep()
    growing.tree.pop(NEW)
    growing.tree.keep()

    assert growing.tree.recent == {NEW: None}


def test_a_scan_of_the_pages_alone_finds_the_next_key_there(pages: Pages) -> None:
    pages.store(b=b"page")
    pages.tree.recent[b"a"] = b"recent"
    pages.tree.pop(b"b")

    assert [pages.tree.next_stored(key) for key in (b"", b"b", b"c")] == [b"b", b"b", None]


@given(
    st.dictionaries(FEW_KEYS, st.binary(max_size=2) | st.none(), max_size=40),
    st.lists(
        st.tuples(
            st.dictionaries(FEW_KEYS, st.none(), max_size=40),
            st.lists(FEW_KEYS, max_size=30),
            st.booleans(),
        ),
        max_size=6,
    ),
    FEW_KEYS,
    FEW_KEYS,
    st.integers(0, 10),
)
def test_a_layer_is_in_order_however_it_came_to_be(
    first: dict[bytes, bytes | None],
    steps: list[tuple[dict[bytes, None], list[bytes], bool]],
    low: bytes,
    high: bytes,
    most: int,
) -> None:
    """Keys that were forgotten may come again, before somebody asks for the order or after."""
    layer = Layer()
    layer.update(first)
    for more, gone, by_run in steps:
        layer.update(more)
        keys = layer.between(b"", b"")
        assert keys == sorted(layer)
        run = layer.between(low, high)
        assert run == [key for key in keys if low <= key < high]
        for key in gone:
            layer.forgetting()(key, None)
        assert (
            layer.between(low, high, most)
            == [key for key in sorted(layer) if low <= key < high][:most]
        )
        for key in gone[:2]:
            layer.forgetting()(key, None)
            layer[key] = b""
        if run and by_run:
            layer.forget_run(run)

    assert layer.between(b"", b"") == sorted(layer)
    layer.empty()
    assert layer.between(b"", b"") == []


@given(
    st.dictionaries(SHORT_KEYS, st.binary(max_size=2), max_size=60),
    st.dictionaries(SHORT_KEYS, st.binary(max_size=2) | st.none(), max_size=60),
    st.dictionaries(SHORT_KEYS, st.binary(max_size=2) | st.none(), max_size=60),
    SHORT_KEYS,
    st.binary(max_size=1),
)
def test_a_scan_is_the_same_however_few_keys_it_looks_up_at_a_time(
    stored: dict[bytes, bytes],
    recent: dict[bytes, bytes | None],
    fresh: dict[bytes, bytes | None],
    first: bytes,
    prefix: bytes,
) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        lmdb.open(directory, map_size=1 << 20, max_dbs=1, sync=False) as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(tree_module, "_RUN", 3)
        pages = Pages(environment, grows=False)
        pages.tree.recent.update(stored)
        pages.fold()
        pages.tree.recent.update(recent)
        pages.tree.fresh.update(fresh)

        first = prefix + first
        scanned = list(pages.tree.scan(first, prefix))

        pages.txn.abort()
    merged = {**stored, **recent, **fresh}
    assert scanned == sorted(
        (key, value)
        for key, value in merged.items()
        if value is not None and key >= first and key.startswith(prefix)
    )


def test_a_key_that_is_forgotten_does_not_have_all_others_sorted_again() -> None:
    """Acks between the looks at a full mailbox would each cost a sort of it."""
    layer = Layer()
    compared = 0

    class KeyKind(bytes):
        def __lt__(self, other: bytes) -> bool:
            nonlocal compared
            compared += 1
            return bytes.__lt__(self, other)

    layer.update({KeyKind(b"%06d" % n): b"" for n in range(5_000)})
    layer.between(b"", b"")
    compared = 0

    for n in range(0, 1_000):
        layer.forgetting()(b"%06d" % (n * 5), None)
        assert layer.between(b"", b"", 1)

    assert compared < 100_000
    assert layer.between(b"", b"") == sorted(layer)
