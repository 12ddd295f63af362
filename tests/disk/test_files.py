import errno
import os
from pathlib import Path

import pytest

from relay.disk.files import replace_file
from relay.errors import DiskError


def test_a_replaced_file_leaves_nothing_beside_it(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"old")
    replace_file(tmp_path / "file", b"new")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"new"}


def test_a_file_that_cannot_be_replaced_stands(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"old")
    (tmp_path / "file.new").mkdir()

    with pytest.raises(DiskError, match="file cannot be written"):
        replace_file(tmp_path / "file", b"new")

    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_full_disk_is_not_made_fuller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    replace_file(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(DiskError, match="file cannot be written: No space left on device"):
        replace_file(tmp_path / "file", b"new")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


@pytest.mark.timeout(10)
def test_a_fifo_in_the_way_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file.new")

    with pytest.raises(DiskError, match="file cannot be written"):
        replace_file(tmp_path / "file", b"new")
