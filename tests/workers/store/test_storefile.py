"""A store's file: what LMDB wrote is taken, what is cut off or overwritten is not."""

import random
from pathlib import Path

import lmdb
import pytest

from relay.errors import StoreDamaged, StoreForeign
from tests.workers.store import pages
from workers.store.storefile import inspect_store_file

PAGE = 4096


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """A file with trees of some depth, freed pages among the others, and none at its end."""
    with lmdb.open(str(tmp_path / "origin"), map_size=1 << 26, max_dbs=3, sync=False) as env:
        trees = [env.open_db(name) for name in (b"one", b"two", b"three")]
        for start in range(0, 2000, 100):
            with env.begin(write=True) as txn:
                for number in range(start, start + 100):
                    txn.put(b"%08d" % number, bytes(number % 700), db=trees[number % 3])
        with env.begin(write=True) as txn:
            for number in range(0, 600):
                txn.delete(b"%08d" % number, db=trees[number % 3])
        with env.begin(write=True) as txn:
            txn.put(b"big", bytes(10 * PAGE), db=trees[0])
    return (tmp_path / "origin" / "data.mdb").read_bytes()


def inspect(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / "store"
    directory.mkdir(exist_ok=True)
    (directory / "data.mdb").write_bytes(content)
    inspect_store_file(directory)


def test_a_whole_file_is_taken(tmp_path: Path, content: bytes) -> None:
    inspect(tmp_path, content)


def test_a_new_store_is_taken(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path), max_dbs=3).close()

    inspect_store_file(tmp_path)


def test_a_missing_file_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect_store_file(tmp_path)


@pytest.mark.parametrize("pages", [1, 2, 7])
@pytest.mark.parametrize("bytes_more", [0, 1, PAGE - 1])
def test_a_file_that_is_cut_off_is_damaged(
    tmp_path: Path, content: bytes, pages: int, bytes_more: int
) -> None:
    with pytest.raises(StoreDamaged, match="cut off"):
        inspect(tmp_path, content[: len(content) - pages * PAGE + bytes_more])


@pytest.mark.parametrize("size", [1, 100, PAGE, PAGE + 1, 2 * PAGE, 5 * PAGE])
def test_of_the_first_pages_nothing_can_be_made(tmp_path: Path, content: bytes, size: int) -> None:
    with pytest.raises(StoreDamaged, match="cut off"):
        inspect(tmp_path, content[:size])


def test_an_empty_file_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(StoreDamaged, match="it is empty"):
        inspect(tmp_path, b"")


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_store(tmp_path: Path, content: bytes, seed: int) -> None:
    noise = random.Random(seed).randbytes(len(content))

    with pytest.raises(StoreDamaged, match="not an LMDB file"):
        inspect(tmp_path, noise)
    # Behind pages that are as they should be.
    with pytest.raises(StoreDamaged):
        inspect(tmp_path, content[: 2 * PAGE] + noise[2 * PAGE :])


@pytest.mark.parametrize(
    ("offset", "replacement", "complaint"),
    [
        (16, b"\0\0\0\0", "not an LMDB file"),
        (PAGE + 16, b"\0\0\0\0", "not an LMDB file"),
        (40, b"\x01\x10\0\0", "pages cannot have 4097 bytes"),
    ],
)
def test_a_wrong_head_is_told(
    tmp_path: Path, content: bytes, offset: int, replacement: bytes, complaint: str
) -> None:
    changed = content[:offset] + replacement + content[offset + len(replacement) :]

    with pytest.raises(StoreDamaged, match=complaint):
        inspect(tmp_path, changed)


def test_another_format_is_told_from_damage(tmp_path: Path, content: bytes) -> None:
    changed = content[:20] + b"\x02\0\0\0" + content[24:]
    with pytest.raises(StoreForeign, match="LMDB's format 2, not 1"):
        inspect(tmp_path, changed)

    lmdb.open(str(tmp_path / "later"), lib_version=1).close()
    with pytest.raises(StoreForeign, match="LMDB's format 3, not 1"):
        inspect_store_file(tmp_path / "later")


def test_a_file_without_its_last_pages_is_whole_if_nothing_was_in_them(tmp_path: Path) -> None:
    """LMDB does not write pages that a transaction took and freed again."""
    shorter = 0
    chance = random.Random(1)
    present: list[bytes] = []
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=3, sync=False) as env:
        trees = [env.open_db(name) for name in (b"one", b"two", b"three")]
        while shorter < 3:
            with env.begin(write=True) as txn:
                for _ in range(chance.randrange(1, 60)):
                    key = chance.randbytes(12)
                    present.append(key)
                    value = bytes(chance.choice((100, 300, 5000)))
                    txn.put(key, value, db=trees[chance.randrange(3)])
                for _ in range(min(chance.randrange(1, 60), len(present))):
                    key = present.pop(chance.randrange(len(present)))
                    for tree in trees:
                        txn.delete(key, db=tree)
            pages = env.info()["last_pgno"] + 1
            shorter += (tmp_path / "data.mdb").stat().st_size < pages * PAGE
            inspect_store_file(tmp_path)


def test_a_file_made_page_by_page_is_taken(tmp_path: Path) -> None:
    whole = pages.store_pages()

    inspect(tmp_path, b"".join(whole))
    inspect(tmp_path, b"".join(whole[:-1]))  # of the last page nobody says anything


ROOT, FREE = 2, 3


@pytest.mark.parametrize(
    ("number", "content", "complaint"),
    [
        pytest.param(
            ROOT,
            pages.page(ROOT, pages.LEAF, [pages.node(b"mail", bytes(47), pages.SUB_TREE)]),
            "a tree is said in 47 bytes",
            id="less than a tree takes",
        ),
        pytest.param(
            ROOT,
            pages.page(ROOT, pages.LEAF, [pages.node(b"mail", b"", pages.SUB_TREE, size=48)]),
            "a value goes beyond its page",
            id="a value that is not there",
        ),
        pytest.param(
            ROOT,
            pages.page(ROOT, pages.LEAF, [pages.big(b"mail", 2**60, 48)]),
            "cut off",
            id="a large value beyond what a file may have",
        ),
        pytest.param(
            ROOT,
            pages.page(ROOT, pages.LEAF, [pages.big(b"mail", 6, 2**32 - 1)]),
            "cut off",
            id="a value larger than the file",
        ),
        pytest.param(
            ROOT,
            pages.page(ROOT, pages.BRANCH, [pages.child(ROOT)]),
            "page 2 is twice in a tree",
            id="a page that leads to itself",
        ),
        pytest.param(
            ROOT,
            pages.page(ROOT, pages.BRANCH, [pages.child(5)] * 2),
            "page 5 is twice in a tree",
            id="two ways to a page",
        ),
        pytest.param(
            ROOT,
            pages.page(ROOT, pages.BRANCH, [pages.child(2**47)]),
            "cut off",
            id="a child beyond the file",
        ),
        pytest.param(
            FREE,
            pages.page(FREE, pages.LEAF, [pages.big(b"free", FREE, 8)]),
            "page 3 is twice in a tree",
            id="a large value in its own page",
        ),
    ],
)
@pytest.mark.timeout(10)
def test_pages_that_say_what_cannot_be_are_damage(
    tmp_path: Path, number: int, content: bytes, complaint: str
) -> None:
    whole = pages.store_pages()[:-1]  # so that the free pages are looked at, too
    whole[number] = content

    with pytest.raises(StoreDamaged, match=complaint):
        inspect(tmp_path, b"".join(whole))
