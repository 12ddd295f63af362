"""The layout of a data directory: read whole, replaced whole, refused where it is in doubt."""

import os
from pathlib import Path

import pytest

from relay.disk.layout import Layout, discarded, is_settled, leftovers, read_layout, write_layout
from relay.errors import BootError


def test_an_empty_directory_has_no_stores(tmp_path: Path) -> None:
    assert read_layout(tmp_path) == Layout(generation=0, workers=0)
    assert not is_settled(tmp_path, read_layout(tmp_path), workers=1)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_layout(tmp_path, Layout(generation=3, workers=8))

    assert (tmp_path / "meta.json").read_text() == '{"format":4,"generation":3,"workers":8}'
    assert read_layout(tmp_path) == Layout(generation=3, workers=8)
    assert Layout(generation=3).store_directory(tmp_path, 7) == tmp_path / "gen-3" / "worker-7"


@pytest.mark.parametrize(
    ("meta", "complaint"),
    [
        (None, r"holds stores but no meta\.json"),
        ('{"format":1,"workers":4}', "has format 1, but this version reads format 4: "),
        ('{"format":5,"new":true}', "has format 5, but this version reads format 4: "),
        ('{"format":4', r"meta\.json is damaged"),
        ("", r"meta\.json is damaged"),
        ('{"format":4,"generation":1,"workers":"4"}', r"meta\.json is damaged"),
        ('{"format":4,"generation":-1,"workers":4}', r"meta\.json is damaged"),
        ('{"format":4,"generation":1,"workers":100000}', r"meta\.json is damaged"),
    ],
)
@pytest.mark.parametrize("store", ["gen-1/worker-0", "worker-0"])
def test_stores_of_unknown_layout_are_refused_and_left_alone(
    tmp_path: Path, meta: str | None, complaint: str, store: str
) -> None:
    (tmp_path / store).mkdir(parents=True)
    if meta is not None:
        (tmp_path / "meta.json").write_text(meta)

    with pytest.raises(BootError, match=complaint):
        read_layout(tmp_path)

    assert (tmp_path / store).is_dir()
    if meta is not None:
        assert (tmp_path / "meta.json").read_text() == meta


def test_a_meta_json_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meta.json").mkdir()

    with pytest.raises(BootError, match=r"meta\.json cannot be read: Is a directory"):
        read_layout(tmp_path)


def test_only_the_generation_that_counts_is_no_leftover(tmp_path: Path) -> None:
    layout = Layout(generation=2, workers=1)
    for name in ("gen-1", "gen-2", "gen-3", "discarded-0", "precious", "gentle"):
        (tmp_path / name).mkdir()

    names = [path.name for path in leftovers(tmp_path, layout)]

    assert names == ["discarded-0", "gen-1", "gen-3"]
    assert not is_settled(tmp_path, layout, workers=1)


def test_before_the_first_start_is_over_every_generation_is_a_leftover(tmp_path: Path) -> None:
    (tmp_path / "gen-1").mkdir()

    assert leftovers(tmp_path, Layout()) == [tmp_path / "gen-1"]


def test_it_is_settled_with_as_many_workers_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "gen-2").mkdir()
    layout = Layout(generation=2, workers=4)

    assert is_settled(tmp_path, layout, workers=4)
    assert not is_settled(tmp_path, layout, workers=3)


def test_a_discarded_generation_has_another_name(tmp_path: Path) -> None:
    assert discarded(tmp_path / "gen-12") == tmp_path / "discarded-12"
    assert discarded(tmp_path / "discarded-12") == tmp_path / "discarded-12"


@pytest.mark.timeout(10)
def test_a_fifo_in_place_of_the_layout_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "meta.json")

    with pytest.raises(BootError, match=r"meta\.json cannot be read: Is a fifo"):
        read_layout(tmp_path)
