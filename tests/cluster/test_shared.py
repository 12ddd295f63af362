"""What is changed by one host's admin is the same on all, and no change is lost to another one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.cluster.jetstream import ApiError, create_stream, kv_config, kv_put, stream_info
from relay.cluster.natswire import Wire
from relay.cluster.shared import SharedFile, bring_up_to_date, read_kept
from relay.disk.layout import bans_path
from relay.errors import DiskError
from relay.settings.clustering import ClusterSettings
from tests.outside.waiting import poll_for

from .engines import Engines

pytestmark = pytest.mark.slow

WITHIN_S = 10.0


@pytest.fixture
def cluster(engines: Engines, wire: Wire) -> Iterator[ClusterSettings]:
    create_stream(wire, kv_config("s", replicas=3, max_bytes=4 << 20), WITHIN_S)
    login = engines.login
    yield ClusterSettings(
        name="s",
        hosts=("a=127.0.0.1", "b=127.0.0.2", "c=127.0.0.3"),
        host_name="a",
        engine=tuple(f"tls://{each.host}:{each.port}" for each in engines.servers),
        ca=login.ca,
        certificate=login.certificate,
        certificate_key=login.key,
        password=login.password,
    )
    wire.request("$JS.API.STREAM.DELETE.KV_s", timeout_s=WITHIN_S)


def is_whole(wire: Wire) -> bool:
    try:
        return stream_info(wire, "KV_s", 2.0).is_whole
    except (ApiError, TimeoutError):
        return False


class Admin:
    """That of one host: it adds a line to the file, or finds it there."""

    def __init__(self, cluster: ClusterSettings, data: Path) -> None:
        data.mkdir()
        self.path = bans_path(data)
        self.file = SharedFile(cluster, "bans", data)

    def add(self, line: bytes) -> None:
        def edit() -> bytes | None:
            before = self.path.read_bytes() if self.path.exists() else b""
            return None if line in before else before + line

        self.file.change(edit)


def test_a_change_is_made_of_what_others_have_made_of_it(
    cluster: ClusterSettings, tmp_path: Path, wire: Wire
) -> None:
    a, b = Admin(cluster, tmp_path / "a"), Admin(cluster, tmp_path / "b")

    a.add(b"one\n")
    b.add(b"two\n")
    b.add(b"one\n")

    assert a.path.read_bytes() == b"one\n"
    assert b.path.read_bytes() == read_kept(wire, "s", "bans", 5.0).content == b"one\ntwo\n"


def test_of_many_that_change_it_at_once_nothing_is_lost(
    cluster: ClusterSettings, tmp_path: Path, wire: Wire
) -> None:
    admins = [Admin(cluster, tmp_path / name) for name in "abc"]
    threads = [
        threading.Thread(target=admin.add, args=(f"{number}\n".encode(),))
        for number, admin in enumerate(admins)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    content = read_kept(wire, "s", "bans", 5.0).content
    assert content is not None
    assert sorted(content.split()) == [b"0", b"1", b"2"]


def test_what_a_majority_does_not_take_is_refused_and_nothing_is_changed_here(
    cluster: ClusterSettings, tmp_path: Path, engines: Engines, wire: Wire
) -> None:
    a = Admin(cluster, tmp_path / "a")
    a.add(b"one\n")
    engines.freeze(1)
    engines.freeze(2)
    try:
        with pytest.raises(DiskError, match="the cluster does not take it now"):
            a.add(b"two\n")
    finally:
        engines.thaw(1)
        engines.thaw(2)
        poll_for("all to follow", lambda: is_whole(wire), deadline_s=40)

    assert a.path.read_bytes() == b"one\n"


def test_what_is_in_the_bucket_and_is_no_file_is_not_taken(
    cluster: ClusterSettings, tmp_path: Path, wire: Wire
) -> None:
    a = Admin(cluster, tmp_path / "a")
    for value in (b"", b"nonsense"):
        kv_put(wire, "s", "bans", value, timeout_s=5.0)
        with pytest.raises(DiskError, match="damaged"):
            a.add(b"one\n")
    assert not a.path.exists()


def test_a_file_is_written_only_where_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "file"

    assert bring_up_to_date(path, b"one")
    before = path.stat().st_ino
    assert not bring_up_to_date(path, b"one")
    assert path.stat().st_ino == before
    assert bring_up_to_date(path, b"two")
    assert path.read_bytes() == b"two"


def test_two_who_write_a_file_at_once_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    failed: list[Exception] = []

    def write(name: bytes) -> None:
        try:
            for number in range(50):
                bring_up_to_date(path, name + bytes([number]))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert failed == []
