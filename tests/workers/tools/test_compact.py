"""Compacting: the same store, without what was free inside; a kill leaves one or the other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay.bus.envelopes import Seq
from relay.errors import BootError
from tests.outside.processes import REPOSITORY
from tests.workers.tools.harness import (
    DIARY,
    cluster_on,
    fill,
    hold_up,
    lay_out,
    mailboxes,
    owned,
    problems,
    records,
    waiting,
    write_owned,
)
from workers.store.keys import box_of
from workers.store.meta import Mark
from workers.store.store import UNFINISHED, Store
from workers.tools.compact import Compacted, NoRoom, compact, compact_all, estimate

pytestmark = pytest.mark.slow  # processes of their own

MIB = 1024 * 1024
MARK = Mark(1, 2, 0)


def open_store(directory: Path, mark: Mark | None = MARK) -> Store:
    return Store(directory, durability="os", map_bytes=1 << 24, max_map_bytes=1 << 28, mark=mark)


def filled_and_emptied(data: Path) -> Path:
    """Lay out two stores and have 20 MiB free inside the first."""
    lay_out(data, 2)
    directory = data / "gen-1" / "worker-0"
    store = open_store(directory)
    box = box_of("nobody")
    for seq in range(1, 41):
        with store.writing() as batch:
            batch.put_mail(box, Seq(seq), bytes(MIB // 2))
        store.fold(at_once=True)
    with store.writing() as batch:
        for seq in range(1, 41):
            batch.pop_mail(box, Seq(seq))
    store.close()
    return directory


def test_room_that_a_start_takes_again_is_not_given_back(tmp_path: Path) -> None:
    """That of the journals: at each start they are made anew, as large as before."""
    directory = filled_and_emptied(tmp_path / "data")
    compact(directory, MARK)
    open_store(directory).close()
    journals = sum(path.stat().st_blocks for path in directory.glob("journal-*")) * 512
    assert journals > MIB

    for before, after in (estimate(directory), compact(directory, MARK)):
        assert 0 <= before - after < MIB // 8  # a few pages


class Killed(BaseException):
    pass


def test_a_store_keeps_all_that_it_has_and_gives_back_what_is_free(tmp_path: Path) -> None:
    data = tmp_path / "data"
    directory = filled_and_emptied(data)
    with cluster_on(data) as cluster:
        fill(cluster)
        hold_up(cluster)
    write_owned(data, DIARY)
    before = mailboxes(data), records(data), waiting(data), owned(data)

    expected = estimate(directory)
    done = compact(directory, MARK)

    assert done.before >= 20 * MIB
    assert done.after < MIB
    assert expected.before >= 20 * MIB
    assert abs(expected.after - done.after) < MIB
    assert (mailboxes(data), records(data), waiting(data), owned(data)) == before
    assert problems(data) == []
    with cluster_on(data) as cluster:
        fill(cluster)
    assert problems(data) == []


@pytest.mark.parametrize("step", ["copied", "replaced"])
def test_a_kill_leaves_a_store_that_is_whole(tmp_path: Path, step: str) -> None:
    data = tmp_path / "data"
    directory = filled_and_emptied(data)
    with cluster_on(data) as cluster:
        fill(cluster)
    before = mailboxes(data), records(data)

    def reached(now: str) -> None:
        if now == step:
            shutil.copytree(data, tmp_path / "killed", symlinks=True)
            raise Killed

    with pytest.raises(Killed):
        compact(directory, MARK, reached=reached)

    left = tmp_path / "killed"
    assert (mailboxes(left), records(left)) == before
    assert problems(left) == []
    open_store(left / "gen-1" / "worker-0").close()
    assert not (left / "gen-1" / "worker-0" / UNFINISHED).exists()
    assert (mailboxes(left), records(left)) == before
    compact(left / "gen-1" / "worker-0", MARK)
    assert (mailboxes(left), records(left)) == before


def test_without_room_for_the_copy_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = filled_and_emptied(tmp_path / "data")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))

    with pytest.raises(NoRoom, match="to be compacted, but 1,000 are free"):
        compact(directory, MARK)
    compact_all(tmp_path / "data")  # at a start it is left out

    assert estimate(directory).before >= 20 * MIB


def test_a_store_in_use_or_of_another_is_refused(tmp_path: Path) -> None:
    directory = filled_and_emptied(tmp_path / "data")

    with pytest.raises(BootError, match="it is the store of"):
        compact(directory, Mark(7, 2, 0))

    reads = "import sys, pathlib; from workers.store.snapshot import Snapshot as S;"
    reads += "s = S(pathlib.Path(sys.argv[1])); print('reads', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", reads, str(directory)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        try:
            with pytest.raises(BootError, match="is being read"):
                compact(directory, MARK)
        finally:
            reader.communicate(b"\n", timeout=30)
    assert isinstance(compact(directory, MARK), Compacted)
