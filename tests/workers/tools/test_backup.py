"""The backup: a data directory like the first, of one moment, or none at all."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from relay.disk.layout import read_layout
from relay.errors import BackupFailed, BootError
from tests.workers.shard.harness import to_user
from tests.workers.tools.harness import (
    DIARY,
    USERS,
    change,
    cluster_on,
    fill,
    hold_up,
    lay_out,
    mailboxes,
    owned,
    problems,
    records,
    snapshots_of,
    waiting,
    write_owned,
)
from workers.store.keys import pack_seq
from workers.store.meta import APPLIED_NAME, CONFIRMED_NAME, SEQ_NAME
from workers.store.moment import pin
from workers.store.snapshot import Snapshot
from workers.tools.backup import back_up

pytestmark = pytest.mark.slow  # processes of their own

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lay_out(tmp_path / "data", 2)
    with cluster_on(tmp_path / "data") as cluster:
        fill(cluster)
        hold_up(cluster)
    write_owned(tmp_path / "data", DIARY)
    return tmp_path / "data"


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers.store", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_relay_can_go_on_from_the_copy(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "some" / "copy"

    done = tool("backup", data, copy)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    verdict, size = done.stdout.splitlines()
    assert verdict.endswith("nothing is wrong")
    assert size.startswith(f"{copy} is a copy of 2 stores, ")
    assert read_layout(copy) == read_layout(data)
    assert mailboxes(copy) == mailboxes(data)
    assert records(copy) == records(data)
    assert waiting(copy) == waiting(data)
    assert owned(copy) == owned(data) == DIARY
    assert {path.name for path in copy.rglob("*") if path.is_file()} == {"data.mdb", "meta.json"}
    for path in copy.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    # What was on its way is still on its way.
    with cluster_on(copy) as cluster:
        cluster.settle()
        cluster.feed(to_user(USERS[0], USERS[1], "more"))
    assert waiting(copy) == []
    assert problems(copy) == []


def test_the_copy_can_be_laid_out_anew(data: Path, tmp_path: Path) -> None:
    assert tool("backup", data, tmp_path / "copy").returncode == 0

    lay_out(tmp_path / "copy", 3)

    assert problems(tmp_path / "copy") == []


def test_faults_are_copied_and_told(data: Path, tmp_path: Path) -> None:
    """A copy of a store with a wrong index is better than none."""
    change(data, 0, lambda txn, trees: txn.drop(trees["receipts"], delete=False))

    done = tool("backup", data, tmp_path / "copy")

    assert done.returncode == 1
    assert "does not name" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("with all that is wrong with them")
    assert mailboxes(tmp_path / "copy") == mailboxes(data)


@pytest.mark.parametrize("kind", ["file", "full"])
def test_a_place_that_is_taken_is_refused(data: Path, tmp_path: Path, kind: str) -> None:
    to = tmp_path / "to"
    if kind == "full":
        to.mkdir()
        (to / "precious").touch()
    else:
        to.touch()

    done = tool("backup", data, to)

    assert done.returncode == 2
    assert done.stderr == f"workers.store: {to} is not an empty directory\n"


def test_what_is_no_data_directory_is_refused(tmp_path: Path) -> None:
    done = tool("backup", tmp_path, tmp_path / "copy")

    assert done.returncode == 2
    assert "is no data directory" in done.stderr
    assert not (tmp_path / "copy").exists()


def test_a_store_that_is_not_whole_is_refused(data: Path, tmp_path: Path) -> None:
    (data / "gen-1" / "worker-1" / "data.mdb").write_bytes(b"")

    done = tool("backup", data, tmp_path / "copy")

    assert done.returncode == 2
    assert "worker-1: data.mdb is no whole store: it is empty" in done.stderr
    assert not (tmp_path / "copy").exists()


def test_a_copy_that_was_cut_short_is_no_data_directory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Snapshot, directory: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Snapshot, "copy", fail)

    with snapshots_of(data) as snapshots, pytest.raises(OSError, match="No space"):
        back_up(snapshots, read_layout(data), tmp_path / "copy")

    with pytest.raises(BootError, match=r"no meta\.json"):
        read_layout(tmp_path / "copy")


def test_a_disk_without_room_is_refused_with_numbers(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 12_345))

    with (
        snapshots_of(data) as snapshots,
        pytest.raises(BackupFailed, match=r"12,345 bytes free, but the stores take [\d,]+"),
    ):
        back_up(snapshots, read_layout(data), tmp_path / "copy")


# --- one moment ---


def set_counter(data: Path, worker: int, name: bytes, value: int) -> None:
    change(data, worker, lambda txn, trees: txn.put(name, pack_seq(value), db=trees["meta"]))


@pytest.mark.parametrize(
    ("worker", "name", "older"),
    [
        # The receiver's moment is before that at which it stored what the sender let go of.
        (0, CONFIRMED_NAME % 1, 1),
        # The sender's moment is before that at which it sent what the receiver has.
        (1, APPLIED_NAME % 0, 0),
    ],
)
@pytest.mark.slow
def test_a_gap_that_stays_is_told_of_the_copy(
    data: Path, tmp_path: Path, worker: int, name: bytes, older: int
) -> None:
    last_seq = 1 << 61
    if name.startswith(b"confirmed"):
        set_counter(data, worker, SEQ_NAME, last_seq)
    set_counter(data, worker, name, last_seq)

    with snapshots_of(data) as snapshots:
        gaps = pin(snapshots, attempts=2)
    done = tool("backup", data, tmp_path / "copy")

    assert [gap.older for gap in gaps] == [older]
    assert done.returncode == 1
    assert f"worker-{older} meta: is older than the other stores" in done.stdout
    assert mailboxes(tmp_path / "copy") == mailboxes(data)


def test_the_copy_is_of_the_moment_that_was_taken(tmp_path: Path) -> None:
    """A writer goes on in another process between the moment and the copy."""
    data = tmp_path / "data"
    lay_out(data, 1)
    with cluster_on(data) as cluster:
        fill(cluster)
    before = mailboxes(data)
    script = (
        "import sys; from pathlib import Path;"
        "from tests.workers.tools.harness import *;"
        "\nwith cluster_on(Path(sys.argv[1])) as cluster:"
        "\n    for n in range(200):"
        "\n        cluster.feed(to_user('user1', 'user2', f'later-{n}', 't' * 900))"
    )

    with snapshots_of(data) as snapshots:
        subprocess.run(
            [sys.executable, "-c", script, str(data)],
            cwd=REPOSITORY,
            check=True,
        )
        to = tmp_path / "copy" / "gen-1" / "worker-0"
        to.mkdir(parents=True)
        snapshots[0].copy(to)
    shutil.copy(data / "meta.json", tmp_path / "copy")

    assert mailboxes(tmp_path / "copy") == before
    assert problems(tmp_path / "copy") == []
    assert len(mailboxes(data)["user2"]) == len(before["user2"]) + 200


def test_a_copy_counts_as_many_items_as_what_was_copied(data: Path, tmp_path: Path) -> None:
    checked = tool("check", data)
    assert tool("backup", data, tmp_path / "copy").returncode == 0

    again = tool("check", tmp_path / "copy")

    assert "2 stores, " in checked.stdout
    assert again.stdout.replace(str(tmp_path / "copy"), str(data)) == checked.stdout


def test_a_copy_of_one_store_is_told_so(tmp_path: Path) -> None:
    lay_out(tmp_path / "data", 1)

    done = tool("backup", tmp_path / "data", tmp_path / "copy")

    assert "copy is a copy of 1 store, " in done.stdout


@pytest.mark.parametrize("inside", [".", "backup", "gen-1/worker-0/backup"])
def test_no_copy_is_made_inside_of_what_is_copied(data: Path, inside: str) -> None:
    before = sorted(data.rglob("*"))

    done = tool("backup", data, data / inside)

    assert done.returncode == 2
    assert f"is inside {data}" in done.stderr
    assert sorted(data.rglob("*")) == before


@pytest.mark.parametrize("command", ["check", "backup", "compact", "purge"])
def test_the_help_names_the_exit_code_of_an_interrupt_and_what_it_takes(command: str) -> None:
    said = tool(command, "--help").stdout

    assert "130 interrupted" in said
    assert ("TO cannot be used" in said) == (command == "backup")
