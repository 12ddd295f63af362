"""What a backup of a cluster says of itself, and when it is believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from relay.cluster.backups import (
    BackupUnusable,
    Manifest,
    RangeEnd,
    checksum_of,
    manifest_path,
    read_manifest,
    stores_of,
    verify,
    write_manifest,
)
from relay.disk.layout import Layout, bans_path, write_layout

LAYOUT = Layout(generation=1, workers=2)


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup whose stores are some bytes."""
    backup = tmp_path / "monday"
    ends = []
    for range_ in range(2):
        directory = LAYOUT.store_directory(backup, range_)
        directory.mkdir(parents=True)
        file = directory / "data.mdb"
        file.write_bytes(b"%d" % range_ * 9)
        ends.append(RangeEnd(100 + range_, 7, 9, checksum_of(file)))
    bans_path(backup).write_bytes(b"{}")
    files = {"bans": checksum_of(bans_path(backup))}
    write_manifest(backup, Manifest("relay", 1, "0", tuple(ends), files))
    write_layout(backup, LAYOUT)
    return backup


def test_it_says_with_which_record_each_range_ends_and_where_its_store_is(backup: Path) -> None:
    manifest = read_manifest(backup)
    read: list[int] = []

    verify(backup, manifest, on_bytes=read.append)

    assert manifest.numbers == (100, 101)
    assert sum(read) == 20
    assert [path.read_bytes()[:1] for path in stores_of(backup, manifest)] == [b"0", b"1"]


def _flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (
            lambda backup: _flip(LAYOUT.store_directory(backup, 1) / "data.mdb"),
            "range 1 is damaged",
        ),
        (
            lambda backup: (LAYOUT.store_directory(backup, 0) / "data.mdb").unlink(),
            "range 0 is missing",
        ),
        (lambda backup: _flip(bans_path(backup)), "bans is damaged"),
        (lambda backup: bans_path(backup).unlink(), "bans is missing"),
        (lambda backup: (backup / "meta.json").unlink(), "restore that file"),
        (
            lambda backup: write_layout(backup, Layout(generation=1, workers=3)),
            "laid out for 3 ranges",
        ),
        (lambda backup: manifest_path(backup).write_bytes(b"{"), "is damaged"),
        (lambda backup: manifest_path(backup).write_bytes(b'{"format":1}'), "is damaged"),
        (lambda backup: manifest_path(backup).write_bytes(b'{"format":2}'), "has format 2"),
        (lambda backup: manifest_path(backup).unlink(), "no backup of a cluster"),
    ],
)
def test_what_is_not_whole_is_refused(
    backup: Path, harm: Callable[[Path], object], said: str
) -> None:
    harm(backup)

    with pytest.raises(BackupUnusable, match=said):
        verify(backup, read_manifest(backup))


def test_half_a_backup_is_told_from_one_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BackupUnusable, match="not made to its end"):
        read_manifest(tmp_path / "monday.part")
