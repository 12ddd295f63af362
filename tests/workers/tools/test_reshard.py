"""Re-sharding: everything moves to its new owner, whole, once, and whenever it is interrupted."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import lmdb
import msgspec
import pytest

from relay.bus.envelopes import Refused, Stored
from relay.disk.layout import Layout, read_layout, write_layout
from relay.errors import BootError
from relay.process.memo import write_memo
from relay.protocol.slots import shard_ranges, slot_of
from relay.settings.tables import ServerSettings, Settings
from tests.workers.shard.harness import ClusterHarness, ack, to_group, to_user
from tests.workers.tools.harness import (
    CHOIR,
    HIKE,
    USERS,
    change,
    checked,
    cluster_on,
    fill,
    hold_up,
    lay_out,
    lose_sessions,
    mailboxes,
    problems,
    records,
    snapshots_of,
    waiting,
)
from workers.store.keys import box_of, pack_peer, pack_seq
from workers.tools import copying, takeover
from workers.tools import reshard as reshard_module

pytestmark = pytest.mark.slow  # processes of their own


def filled(data: Path, workers: int, *also: Callable[[ClusterHarness], None]) -> Path:
    lay_out(data, workers)
    with cluster_on(data) as cluster:
        fill(cluster)
        for more in also:
            more(cluster)
    assert problems(data) == []
    return data


def settings_on(data: Path, workers: int) -> bytes:
    """Return settings as a supervisor writes them for its children."""
    server = ServerSettings(data=str(data), workers=workers)
    return msgspec.json.encode(Settings(server=server))


def settled(data: Path, copy: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Return the mailboxes as they would be had the workers of before talked to each other."""
    shutil.copytree(data, copy)
    with cluster_on(copy) as cluster:
        cluster.settle()
    return mailboxes(copy)


CHANGES = [(1, 3), (3, 1), (8, 5), (2, 3), (5, 8), (3, 40)]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_every_mailbox_is_as_it_was(tmp_path: Path, before: int, after: int) -> None:
    data = filled(tmp_path / "data", before, lose_sessions)
    mail, known = mailboxes(data), records(data)

    lay_out(data, after)

    assert problems(data) == []
    assert mailboxes(data) == mail
    assert records(data) == known
    assert read_layout(data) == Layout(generation=2, workers=after)
    assert sorted(path.name for path in data.iterdir()) == ["gen-2", "meta.json", "reshard.lock"]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (3, 1), (8, 5), (2, 3), (5, 8)])
def test_what_was_on_its_way_between_workers_arrives_once(
    tmp_path: Path, before: int, after: int
) -> None:
    data = filled(tmp_path / "data", before, hold_up)
    mail = mailboxes(data)
    assert waiting(data)
    expected = settled(data, tmp_path / "copy")

    lay_out(data, after)

    assert problems(data) == []
    assert waiting(data) == []
    found = mailboxes(data)
    assert found.keys() == expected.keys()
    for user, entries in found.items():
        # What had arrived keeps its place and number; the rest follows.
        frames = [frame for _, frame in entries]
        assert Counter(frames) == Counter(frame for _, frame in expected[user])
        kept = [entry for entry in mail.get(user, ()) if entry in entries]
        assert entries[: len(kept)] == kept
        late = [frame for frame in frames if frame.startswith(b"g") and b"late-" in frame]
        assert late == sorted(late, key=lambda frame: frame[frame.index(b"late-") :])


def test_there_and_back_again(tmp_path: Path) -> None:
    data = filled(tmp_path / "data", 3)
    mail = mailboxes(data)

    for workers in (7, 2, 1, 4):
        lay_out(data, workers)

    assert problems(data) == []
    assert mailboxes(data) == mail
    assert read_layout(data).generation == 5


def test_repeats_are_recognised_and_acks_find_their_message_afterwards(tmp_path: Path) -> None:
    data = filled(tmp_path / "data", 3)
    lay_out(data, 2)

    with cluster_on(data) as cluster:
        answers = cluster.feed(
            to_user(USERS[0], USERS[1], "user0-1-0", ""),
            to_user(USERS[0], USERS[1], "user0-1-1", "another text"),
            to_group(USERS[0], HIKE, "hike-0"),
            to_group(USERS[0], HIKE, "new"),
        )

        assert [answer.code for answer in answers if isinstance(answer, Refused)] == [409]
        assert sum(isinstance(answer, Stored) for answer in answers) == 3
        assert cluster.counters()["sends_repeated"] == 2
        queued = [frame for _, frame in cluster.mail(USERS[5])]
        cluster.feed(ack(USERS[5], "hike-1", 2, author=USERS[1], group=HIKE))
        assert len(cluster.mail(USERS[5])) == len(queued) - 1
    assert problems(data) == []


def test_new_messages_come_behind_old_ones(tmp_path: Path) -> None:
    data = filled(tmp_path / "data", 3)
    lay_out(data, 2)
    old = mailboxes(data)[USERS[6]]

    with cluster_on(data) as cluster:
        cluster.now_ms = 1000  # a clock that was put back
        cluster.feed(to_user(USERS[0], USERS[6], "newest"), to_group(USERS[5], CHOIR, "too"))
        entries = cluster.login(USERS[6], 9)

    assert [entry.seq for entry in entries][: len(old)] == [seq for seq, _ in old]
    assert {entry.frame.split()[-2] for entry in entries[len(old) :]} == {b"newest", b"too"}
    assert problems(data) == []


def test_bodies_of_two_stores_with_one_number_stay_apart(tmp_path: Path) -> None:
    """Seqs are microseconds of the batch: two workers give the same ones at the same time."""
    data = tmp_path / "data"
    lay_out(data, 4)
    with cluster_on(data) as cluster:
        for group in (HIKE, CHOIR):
            cluster.feed(to_group(USERS[4], group, f"to {group}"))
    with snapshots_of(data) as snapshots:
        numbers = [key for each in snapshots.values() for key, _ in each.items("bodies")]
        assert len(set(numbers)) < len(numbers)
    mail = mailboxes(data)

    lay_out(data, 1)

    assert mailboxes(data) == mail
    assert problems(data) == []
    # And they are let go of one by one.
    with cluster_on(data) as cluster:
        for user in USERS:
            cluster.feed(ack(user, f"to {HIKE}", 2, author=USERS[4], group=HIKE))
            cluster.feed(ack(user, f"to {CHOIR}", 2, author=USERS[4], group=CHOIR))
        assert cluster.shards[0].tree("bodies") == {}
    assert problems(data) == []


def test_what_is_known_of_messages_is_forgotten_in_its_time(tmp_path: Path) -> None:
    data = filled(tmp_path / "data", 3)
    lay_out(data, 2)

    with cluster_on(data) as cluster:
        cluster.now_ms += 31 * 86_400_000
        cluster.sweep()
        cluster.sweep()
        assert all(shard.tree("messages") == {} for shard in cluster.shards)
        assert all(shard.tree("expiry") == {} for shard in cluster.shards)
        assert all(shard.tree("bodies") == {} for shard in cluster.shards)
    assert problems(data) == []


# --- interrupted ---


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code catches it."""


def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "COMMIT_BYTES", 3000)
    monkeypatch.setattr(takeover, "TAKEN_OVER_AT_ONCE", 5)


@pytest.mark.slow
def test_killed_at_any_step_it_begins_again_and_nothing_is_lost_or_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch)
    origin = filled(tmp_path / "origin", 3, hold_up)
    expected = {
        user: Counter(frame for _, frame in entries)
        for user, entries in settled(origin, tmp_path / "copy").items()
    }
    known = records(tmp_path / "copy").keys()
    steps: list[str] = []
    for killed_at in count():
        data = tmp_path / f"data-{killed_at}"
        shutil.copytree(origin, data)
        passed = count()

        def reached(step: str, passed: Iterator[int] = passed, at: int = killed_at) -> None:
            if next(passed) == at:
                steps.append(step)
                raise Killed

        try:
            lay_out(data, 2, reached=reached)
        except Killed:
            lay_out(data, 2)
        else:
            break
        layout = read_layout(data)
        assert layout.workers == 2, steps
        assert problems(data) == [], steps
        assert waiting(data) == []
        assert records(data).keys() == known
        found = {user: Counter(f for _, f in entries) for user, entries in mailboxes(data).items()}
        assert found == expected, steps
        assert [path.name for path in data.glob("*-*")] == [f"gen-{layout.generation}"]
        shutil.rmtree(data)

    assert set(steps) == STEPS
    assert steps.count("copying") > 3
    assert steps.count("taking over") > 1


STEPS = {
    "locked",
    "made",
    "copying",
    "copied worker-0",
    "copied worker-1",
    "copied worker-2",
    "copied",
    "taking over",
    "taken over",
    "synced",
    "committed",
    "set aside",
    "removed",
}


@pytest.mark.parametrize("steps", [["copied"], ["made", "synced"], ["committed", "removed"]])
def test_killed_again_and_then_started_with_another_number(
    tmp_path: Path, steps: list[str]
) -> None:
    data = filled(tmp_path / "data", 2)
    mail = mailboxes(data)

    for workers, step in enumerate(steps, start=3):

        def reached(now: str, step: str = step) -> None:
            if now == step:
                raise Killed

        with pytest.raises(Killed):
            lay_out(data, workers, reached=reached)
    lay_out(data, 6)

    assert mailboxes(data) == mail
    assert problems(data) == []


def test_a_killed_first_start_begins_again(tmp_path: Path) -> None:
    def reached(step: str) -> None:
        if step == "synced":
            raise Killed

    with pytest.raises(Killed):
        lay_out(tmp_path / "data", 2, reached=reached)
    lay_out(tmp_path / "data", 3)

    assert read_layout(tmp_path / "data") == Layout(generation=1, workers=3)
    assert checked(tmp_path / "data").stores == 3


def test_a_process_that_really_dies_leaves_the_old_layout(tmp_path: Path) -> None:
    """With open transactions and no clean-up at all."""
    data = filled(tmp_path / "data", 2)
    mail = mailboxes(data)
    script = (
        "import os, sys; from pathlib import Path; import msgspec;"
        "from relay.settings.tables import Settings; from workers.tools import copying, reshard;"
        "copying.COMMIT_BYTES = 3000;"
        "settings = msgspec.json.decode(sys.argv[2], type=Settings);"
        "steps = iter(range(4));"
        "reshard.reshard(Path(sys.argv[1]), settings,"
        " reached=lambda step: next(steps, None) is None and os._exit(9))"
    )

    died = subprocess.run(
        [sys.executable, "-c", script, str(data), settings_on(data, 3).decode()],
        cwd=Path(__file__).parents[3],
        check=False,
    )

    assert died.returncode == 9
    assert read_layout(data) == Layout(generation=1, workers=2)
    assert (data / "gen-2").is_dir()
    assert mailboxes(data) == mail
    lay_out(data, 3)
    assert mailboxes(data) == mail
    assert problems(data) == []


def test_nothing_is_done_where_the_layout_is_right(tmp_path: Path) -> None:
    data = filled(tmp_path / "data", 2)
    inode = (data / "gen-1" / "worker-0" / "data.mdb").stat().st_ino

    lay_out(data, 2)

    assert read_layout(data).generation == 1
    assert (data / "gen-1" / "worker-0" / "data.mdb").stat().st_ino == inode


# --- refused ---


def refuse(data: Path, workers: int, match: str) -> None:
    before = {path: path.read_bytes() for path in data.rglob("data.mdb")}
    meta = (data / "meta.json").read_bytes()
    with pytest.raises(BootError, match=match):
        lay_out(data, workers)
    assert {path: path.read_bytes() for path in data.rglob("data.mdb")} == before
    assert (data / "meta.json").read_bytes() == meta


def test_a_disk_without_room_is_refused_with_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = filled(tmp_path / "data", 2)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 40, 1 << 40, 12_345)
    )

    refuse(data, 3, r"needs [\d,]+ bytes .* but 12,345 are free: .* start with --workers 2")


def test_a_disk_that_fills_meanwhile_is_refused_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = filled(tmp_path / "data", 2)

    def full(*_: object) -> None:
        raise lmdb.DiskError("mdb_txn_commit: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(reshard_module, "take_over", full)
        refuse(data, 3, r"3 workers: .*No space left.*; nothing has changed")
    assert not (data / "gen-2").exists()


def test_a_store_in_use_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = filled(tmp_path / "data", 2)
    monkeypatch.setattr(reshard_module, "LOCK_WAIT_S", 0.05)

    with cluster_on(data):
        refuse(data, 3, "worker-0 is in use by another process")


def test_a_missing_store_is_refused(tmp_path: Path) -> None:
    data = filled(tmp_path / "data", 2)
    shutil.rmtree(data / "gen-1" / "worker-1")

    refuse(data, 3, r"worker-1/data\.mdb cannot be used: its directory is missing")


@pytest.mark.parametrize("content", [b"", b"garbage" * 9999])
def test_a_store_that_is_not_whole_is_refused(tmp_path: Path, content: bytes) -> None:
    data = filled(tmp_path / "data", 2)
    (data / "gen-1" / "worker-1" / "data.mdb").write_bytes(content)

    refuse(data, 3, r"worker-1/data\.mdb cannot be used: it is .*; restore the data directory")


def test_leftovers_stay_while_the_stores_that_count_are_not_whole(tmp_path: Path) -> None:
    """A meta.json from a backup may name a generation that is gone."""
    data = filled(tmp_path / "data", 2)
    lay_out(data, 3)
    write_layout(data, Layout(generation=1, workers=2))

    refuse(data, 2, "its directory is missing")
    assert (data / "gen-2").exists()


def test_stores_in_each_other_s_place_are_refused(tmp_path: Path) -> None:
    data = filled(tmp_path / "data", 2)
    one, other = data / "gen-1" / "worker-0", data / "gen-1" / "worker-1"
    one.rename(data / "aside")
    other.rename(one)
    (data / "aside").rename(other)

    refuse(data, 3, "it is the store of worker 1 of 2, generation 1, not of worker 0 of 2")


def test_an_item_of_another_worker_is_refused(tmp_path: Path) -> None:
    data = filled(tmp_path / "data", 2)
    stray = next(user for user in USERS if slot_of(user) in shard_ranges(2)[1])
    change(
        data,
        0,
        lambda txn, trees: txn.put(box_of(stray) + pack_seq(7), b"mx", db=trees["mail"]),
    )

    refuse(data, 3, "worker 0 holds what it should not .*check")


def test_an_outbox_entry_for_nobody_is_refused(tmp_path: Path) -> None:
    data = filled(tmp_path / "data", 2)
    change(
        data,
        0,
        lambda txn, trees: txn.put(pack_peer(9) + pack_seq(7), b"x", db=trees["outbox"]),
    )

    refuse(data, 3, "worker 0 has an entry for worker 9")


# --- the process ---


def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    data = filled(tmp_path / "data", 2)
    memo = write_memo("settings", settings_on(data, 3))
    with (data / "gen-1" / "worker-0" / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # so that it waits
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.tools.reshard", "--settings-fd", str(memo)],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[memo],
        )
        os.close(memo)

        _, errors = process.communicate(timeout=20)  # which closes its stdin

    assert (process.returncode, errors) == (1, b"")
    assert read_layout(data).workers == 2
