"""A check of what is damaged: it says so in its own words, whatever the damage is."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

from relay.disk.layout import read_layout
from tests.workers.tools.harness import (
    DIARY,
    change,
    cluster_on,
    fill,
    fold_in,
    hold_up,
    lay_out,
    write_owned,
)
from workers.store.keys import SEQ_BYTES, pack_seq, unpack_seq
from workers.store.meta import MARK_NAME
from workers.store.snapshot import Snapshot
from workers.store.storefile import FILE_NAME
from workers.tools.commandline import main

PAGE = 4096
ROUNDS = 40

Trees = dict[str, Any]
Checked = Callable[[Path], tuple[int, str]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores with a bit of everything, all of it in pages; to be copied, not changed."""
    data = tmp_path_factory.mktemp("filled") / "data"
    lay_out(data, 2)
    with cluster_on(data) as cluster:
        fill(cluster)
        hold_up(cluster)
    write_owned(data, DIARY)
    for worker in range(2):
        fold_in(store_of(data, worker))
    return data


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "data"))


@pytest.fixture
def checked(capfd: pytest.CaptureFixture[str]) -> Checked:
    """A function that checks a directory: its exit code, and all that was said."""

    def check(directory: Path) -> tuple[int, str]:
        code = main(["check", str(directory)])
        out, err = capfd.readouterr()
        assert "Traceback" not in err, err
        return code, out + err

    return check


def store_of(data: Path, worker: int) -> Path:
    return read_layout(data).store_directory(data, worker)


# How pages may be damaged, by a stretch of the file from `at` on.
Damage = Callable[[random.Random, bytearray, int], None]


def flip(chance: random.Random, content: bytearray, at: int) -> None:
    content[at] ^= 1 << chance.randrange(8)


def number(chance: random.Random, content: bytearray, at: int) -> None:
    size = chance.choice((2, 4, 8))
    value = chance.choice((0, 1, 2, 255, 2**15, len(content) // PAGE))
    content[at : at + size] = value.to_bytes(8, "little")[:size]


def zero(chance: random.Random, content: bytearray, at: int) -> None:
    size = chance.choice((16, 512, PAGE))
    content[at : at + size] = bytes(size)


def another_page(chance: random.Random, content: bytearray, at: int) -> None:
    to, of = (chance.randrange(len(content) // PAGE) * PAGE for _ in range(2))
    content[to : to + PAGE] = content[of : of + PAGE]


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, number, zero, another_page])
def test_whatever_becomes_of_its_pages_a_check_ends_with_words(
    data: Path, checked: Checked, damage: Damage
) -> None:
    path = store_of(data, 0) / FILE_NAME
    whole = path.read_bytes()
    chance = random.Random(damage.__name__)
    codes = set()
    for round_ in range(ROUNDS):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 2, 8))):
            # Half of it where the file says of itself what is where.
            end = len(whole) if chance.random() < 0.5 else 6 * PAGE
            damage(chance, content, chance.randrange(end))
        path.write_bytes(content[: len(whole)])
        codes.add(checked(store_of(data, 0) if round_ % 2 else data)[0])

    assert codes <= {0, 1}, "damage is no bad usage"
    assert 1 in codes


@pytest.mark.parametrize(
    "mark",
    [
        b'{"generation":1,"workers":0,"index":0}',
        b'{"generation":1,"workers":2,"index":2}',
        b'{"generation":1,"workers":99999999999,"index":0}',
        b"garbage",
    ],
)
def test_a_store_that_says_to_be_of_a_worker_that_cannot_be_is_a_finding(
    data: Path, checked: Checked, mark: bytes
) -> None:
    change(data, 0, lambda txn, trees: txn.put(MARK_NAME, mark, db=trees["meta"]))

    for directory in (data, store_of(data, 0)):
        code, said = checked(directory)
        assert code == 1
        assert "worker-0 meta mark: it " in said


def test_a_key_that_is_none_keeps_no_tree_from_being_looked_at(
    data: Path, checked: Checked
) -> None:
    def spoil(txn: Any, trees: Trees) -> None:
        last = list(txn.cursor(trees["mail"]).iternext(values=False))[-1]
        # An entry without a record, for which its slot is searched, and behind it a key without a
        # slot.
        txn.put(last[:-SEQ_BYTES] + pack_seq(unpack_seq(last) - 1), b"m", db=trees["mail"])
        txn.put(bytes([last[0] + 1]), b"m", db=trees["mail"])
        txn.put(b"forgotten", b"", db=trees["meta"])  # the last tree

    change(data, 0, spoil)

    code, said = checked(data)
    assert code == 1
    assert "worker-0 mail: has what cannot be compared: " in said
    assert "worker-0 meta forgotten: is unknown or malformed" in said


def test_what_lmdb_says_of_a_file_amid_the_count_is_a_finding(
    data: Path, checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(snapshot: Snapshot, tree: str) -> int:
        raise lmdb.CorruptedError("Located page was wrong type")

    monkeypatch.setattr(Snapshot, "count", count)

    code, said = checked(data)
    assert code == 1
    assert "worker-0: data.mdb is damaged: reading it ends with Located page was wrong" in said
