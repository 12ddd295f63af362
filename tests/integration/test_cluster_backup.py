"""A backup of a cluster that is under load, and what becomes of it: on more hosts, or on one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from relay.admin.bans import Bans
from relay.admin.groupbook import GroupBook
from relay.auth.banned import Ban
from relay.cluster.backups import part_of, read_manifest
from relay.cluster.caller import cluster_of
from relay.cluster.shared import SharedFile
from relay.disk.layout import bans_path, groups_path
from relay.protocol.slots import ShardMap
from relay.settings.tables import ServerSettings, Settings
from tests.outside.cluster import READY_S, Cluster, Host
from tests.outside.frames import ALICE, SENT_AT, ack_1, message_id_of, receipt
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

# Eight hosts begin, one after another.
pytestmark = [pytest.mark.slow, pytest.mark.ordeal, pytest.mark.timeout(600)]

RANGES = 4
TYPED_S = 300.0
GROUP = b'{"123-456@g.us": {"subject": "s", "participants": ["910000000001@c.us"]}}'
BANNED = "919999999999"


def typed(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Return what `relay ...` says."""
    return subprocess.run(
        [sys.executable, "-m", "relay", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=TYPED_S,
        check=False,
    )


def killed(after: str, *arguments: object) -> None:
    """Begin `relay ...`, and kill it all once it has said something."""
    process = subprocess.Popen(
        [sys.executable, "-m", "relay", *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        said = ""
        while after not in said:
            said = process.stderr.readline()
            assert said, f"it ended without a word of {after!r}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        process.stderr.close()


def user_of(range_: int, nth: int = 0) -> str:
    """Return a user whose mailbox is in a range."""
    shards = ShardMap(RANGES)
    numbers = (f"91900000{number:04}" for number in range(400))
    return [each for each in numbers if shards.owner_of(each) == range_][nth]


def is_banned(data: Path) -> bool:
    return bans_path(data).exists() and BANNED.encode() in bans_path(data).read_bytes()


def note_logs(cluster: Cluster, error: BaseException) -> None:
    """Say what the hosts have logged where something fails."""
    for host in cluster:
        lines = [line for line in host.log.text().splitlines() if "engine.said" not in line]
        error.add_note("\n".join([f"--- log of {host.name}", *lines[-80:]]))


READERS = [user_of(range_) for range_ in range(RANGES)]


class Load(threading.Thread):
    """An author who sends to a user of each range, round after round, until it is told to stop."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self._alice = cluster["a"].login(ALICE)
        self._stops = threading.Event()
        self.acked: list[int] = []  # rounds
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            number = 0
            while not self._stops.wait(0.02):
                for range_, reader in enumerate(READERS):
                    self._alice.send_message(reader, f"R{number}-{range_}")
                frames = self._alice.recv_many(RANGES)
                assert {frame[1]["id"] for frame in frames} == {
                    f"R{number}-{range_}" for range_ in range(RANGES)
                }, frames
                assert all(frame[1]["ack"] == 1 for frame in frames), frames
                self.acked.append(number)
                number += 1
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        self._stops.set()
        self.join(60)
        assert self.failure is None, self.failure


def deliver(cluster: Cluster, reader: str) -> None:
    """Have a message delivered to a user, and its author know it."""
    alice, bob = cluster["b"].login("919000009999"), cluster["c"].login(reader)
    alice.send_message(reader, f"GONE-{reader}")
    alice.expect(ack_1(f"GONE-{reader}", author=alice.user, to=reader))
    came = bob.recv()
    bob.ack(came)
    alice.expect(receipt(f"GONE-{reader}", 2, author=alice.user, by=reader, t=SENT_AT))
    alice.confirm()
    bob.confirm()
    cluster["b"].drop_clients()
    cluster["c"].drop_clients()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[int]]]:
    """A backup that was made under load, and the rounds that were acked before it began."""
    backup = tmp_path_factory.mktemp("backups") / "monday"
    with Cluster(ranges=RANGES) as cluster:
        try:
            data = cluster["a"].directory / "data"
            settings = cluster_of(cluster.config, "a")
            everything = Settings(server=ServerSettings(data=str(data)), cluster=settings)
            GroupBook(lambda: everything).put(GROUP)
            Bans(data, SharedFile(settings, "bans", data)).add(Ban(BANNED, 1, "test"))
            for reader in READERS:
                deliver(cluster, reader)
            load = Load(cluster)
            load.start()
            poll_for("some rounds", lambda: len(load.acked) >= 20, deadline_s=60)
            killed("range 1:", "cluster", "backup", backup, "--config", cluster.config)
            assert part_of(backup).exists()
            before = list(load.acked)

            said = typed("cluster", "backup", backup, "--config", cluster.config)

            load.stop()
            assert said.returncode == 0, said.stdout + said.stderr
            assert len(load.acked) > len(before), "it was made under load"
            assert "nothing is wrong" in said.stdout
            assert f"{backup} is a backup of relay: {RANGES} ranges" in said.stdout
            assert f"{RANGES} of {RANGES} ranges" in said.stderr
            assert not part_of(backup).exists()
            again = typed("cluster", "backup", backup, "--config", cluster.config)
            assert again.returncode == 2
            assert "is there already" in again.stderr
            local = typed("backup", data, backup.with_name("local"))
            assert local.returncode == 2
            assert "relay cluster backup" in local.stderr
        except BaseException as error:
            note_logs(cluster, error)
            raise
    yield backup, before
    shutil.rmtree(backup, ignore_errors=True)


def assert_all_is_there(frames: list[str], range_: int, before: list[int]) -> None:
    """What waits for a reader: all rounds of before, perhaps some more, in order and once."""
    rounds = [int(each.partition("-")[0].removeprefix("R")) for each in frames]
    assert all(each.endswith(f"-{range_}") for each in frames), frames
    assert rounds == list(range(len(rounds)))
    assert len(rounds) >= len(before)


def waiting_for(there: Host | Relay, reader: str, least: int) -> list[str]:
    """Return the ids of what waits for a user, so many at least."""
    pages = there.connect().login_pages(reader, least)
    return [message_id_of(frame) for page in pages for frame in page]


def test_a_backup_under_load_is_restored_on_five_hosts_and_theirs_on_two_and_a_witness(
    made: tuple[Path, list[int]], tmp_path: Path
) -> None:
    backup, before = made
    tuesday = tmp_path / "tuesday"
    manifest = read_manifest(backup)
    assert set(manifest.files) == {"groups", "bans"}
    assert typed("check", backup).returncode == 0
    with Cluster("abcde", ranges=RANGES, backup=backup) as cluster:
        try:
            poll_for(
                "standbys that wait",
                lambda: any("store.not_fetched" in host.log.text() for host in cluster),
                deadline_s=READY_S,
            )
            assert typed("cluster", "status", "--config", cluster.config).returncode == 3

            killed("ranges are owned", "cluster", "restore", backup, "--config", cluster.config)
            said = typed("cluster", "restore", backup, "--config", cluster.config)

            assert said.returncode == 0, said.stdout + said.stderr
            cluster.await_ready()
            for range_, reader in enumerate(READERS):
                frames = waiting_for(cluster["de"[range_ % 2]], reader, len(before))
                assert_all_is_there(frames, range_, before)
            for host in cluster:
                data = host.directory / "data"
                poll_for("groups", groups_path(data).exists)
                poll_for("bans", partial(is_banned, data))
                assert groups_path(data).read_bytes() == groups_path(backup).read_bytes()
            status = json.loads(
                typed("cluster", "status", "--json", "--config", cluster.config).stdout
            )
            for range_, each in enumerate(status["status"]["ranges"]):
                assert each["epoch"] > manifest.ranges[range_].number
            # Done twice it changes nothing.
            again = typed("cluster", "restore", backup, "--config", cluster.config)
            assert again.returncode == 0, again.stderr
            # And what is restored is backed up like any other.
            second = typed("cluster", "backup", tuesday, "--config", cluster.config)
            assert second.returncode == 0, second.stdout + second.stderr
            # It serves on, over the loss of a host.
            alice = cluster["a"].login("919000009998")
            cluster["e"].kill()
            for range_ in range(RANGES):
                alice.send_message(user_of(range_, 1), f"AFTER{range_}")
            assert {frame[1]["id"] for frame in alice.recv_many(RANGES)} == {
                f"AFTER{range_}" for range_ in range(RANGES)
            }
        except BaseException as error:
            note_logs(cluster, error)
            raise

    with Cluster(ranges=RANGES, backup=tuesday, config='witness = "c"') as cluster:
        try:
            said = typed("cluster", "restore", tuesday, "--config", cluster.config)
            assert said.returncode == 0, said.stdout + said.stderr
            for name in "ab":
                cluster[name].await_ready()
            for range_, reader in enumerate(READERS):
                frames = waiting_for(cluster["ab"[range_ % 2]], reader, len(before))
                assert_all_is_there(frames, range_, before)
        except BaseException as error:
            note_logs(cluster, error)
            raise


def test_what_is_not_for_these_hosts_or_not_whole_is_refused(
    made: tuple[Path, list[int]], tmp_path: Path
) -> None:
    backup, _ = made
    hosts = [f"{name}=127.0.2.{number}" for number, name in enumerate("abc", 1)]
    init = ("cluster", "init", *hosts, "--file")
    assert typed(*init, tmp_path / "eight.toml", "--ranges", 8).returncode == 0
    assert typed(*init, tmp_path / "empty.toml", "--ranges", RANGES).returncode == 0
    assert typed(*init, tmp_path / "good.toml", "--backup", backup).returncode == 0
    wrong = typed(*init, tmp_path / "wrong.toml", "--backup", backup, "--ranges", 8)
    assert wrong.returncode == 1
    assert "has 4 ranges, and they stay so many" in wrong.stderr

    def refused(directory: Path, config: str) -> str:
        said = typed("cluster", "restore", directory, "--config", tmp_path / config)
        assert said.returncode == 2, said.stdout + said.stderr
        return said.stderr

    assert "has 4 ranges, and by" in refused(backup, "eight.toml")
    assert f"--backup {backup}" in refused(backup, "eight.toml")
    assert "hosts that begin empty" in refused(backup, "empty.toml")
    half = tmp_path / "monday.part"
    shutil.copytree(backup, half)
    (half / "cluster.json").unlink()
    assert "not made to its end" in refused(half, "good.toml")
    damaged = tmp_path / "damaged"
    shutil.copytree(backup, damaged)
    file = next(damaged.glob("gen-*/worker-2/data.mdb"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert "the store of range 2 is damaged" in refused(damaged, "good.toml")


def test_a_backup_serves_on_one_host_without_a_cluster(
    made: tuple[Path, list[int]], tmp_path: Path
) -> None:
    backup, before = made
    with Relay(workers=RANGES) as relay:
        relay.stop()
        data = relay.directory / "data"
        shutil.rmtree(data)
        said = typed("cluster", "restore", backup, "--without-cluster", data)
        assert said.returncode == 0, said.stdout + said.stderr
        assert f"of {RANGES} workers" in said.stdout

        relay.start()

        for range_, reader in enumerate(READERS):
            frames = waiting_for(relay, reader, len(before))
            assert_all_is_there(frames, range_, before)
