"""For whom a backup is, how far its hosts are, and what of it a relay on one host can use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from relay.bus.envelopes import Seq
from relay.cluster.backups import BackupUnusable, Manifest, RangeEnd
from relay.cluster.requests import ClusterStatus, HostStatus, RangeStatus
from relay.cluster.shared import PATHS, Kept
from relay.errors import BootError
from relay.settings.clustering import ClusterSettings
from workers.store.keys import box_of
from workers.store.store import Store
from workers.tools import clusterrestore
from workers.tools.clusterrestore import (
    ClusterRestore,
    forget_log,
    reached_in,
    require_agreement,
)
from workers.tools.handout import hand_out

MIB = 1024 * 1024
BACKUP, FILE = Path("monday"), Path("cluster.toml")
MANIFEST = Manifest("relay", 1, "0", (RangeEnd(500, 7, 9, ""), RangeEnd(600, 8, 9, "")))
CLUSTER = ClusterSettings(
    name="c",
    hosts=("a=10.0.0.1", "b=10.0.0.2", "c=10.0.0.3"),
    ranges=2,
    begins_behind=(500, 600),
)
LIVING = {name: HostStatus("living") for name in "abc"}


def test_hosts_that_begin_where_a_backup_ends_are_those_that_it_is_for() -> None:
    require_agreement(MANIFEST, CLUSTER, BACKUP, FILE)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (
            structs.replace(CLUSTER, ranges=3),
            "monday has 2 ranges, and by cluster.toml there are 3",
        ),
        (structs.replace(CLUSTER, begins_behind=()), "hosts that begin empty"),
        (structs.replace(CLUSTER, begins_behind=(500, 601)), "from another backup"),
    ],
)
def test_others_are_refused_with_what_to_do(cluster: ClusterSettings, said: str) -> None:
    with pytest.raises(BackupUnusable, match=f"{said}.*relay cluster init NAME=HOST... --backup"):
        require_agreement(MANIFEST, cluster, BACKUP, FILE)


def status(*ranges: RangeStatus, hosts: dict[str, HostStatus] | None = None) -> ClusterStatus:
    return ClusterStatus(
        seen_by="a",
        has_majority=True,
        isolated=False,
        hosts=LIVING if hosts is None else hosts,
        ranges=ranges,
    )


def test_settings_and_keys_of_before_are_given_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was replaced since would be good again."""
    given: list[str] = []
    monkeypatch.setattr(clusterrestore, "read_kept", lambda *_: Kept(None, 0))

    def put(wire: Any, cluster: str, key: str, content: bytes, **_: Any) -> None:
        given.append(key)

    monkeypatch.setattr(clusterrestore, "kv_put", put)
    monkeypatch.setattr(clusterrestore, "stores_of", lambda *_: [tmp_path, tmp_path])
    for path_in in PATHS.values():
        path_in(tmp_path).write_bytes(b"{}")
    manifest = structs.replace(MANIFEST, files=dict.fromkeys(PATHS, ""))
    restore: Any = ClusterRestore(tmp_path, manifest, CLUSTER, within_s=1.0)

    assert restore._give_shared(None)

    assert given == ["groups", "bans", "revocations"]


def test_a_range_is_restored_when_it_is_owned_and_another_host_has_a_copy() -> None:
    waits = {"a": 0, "b": 0}
    said = status(RangeStatus(standing=waits), RangeStatus(owner="a", epoch=601, standing=waits))
    assert reached_in(said, CLUSTER) == (frozenset({1}), frozenset())

    said = status(
        RangeStatus(owner="a", epoch=501, standing={"b": 499}),
        RangeStatus(owner="a", epoch=601, standing={"b": 600}),
    )
    assert reached_in(said, CLUSTER) == (frozenset({0, 1}), frozenset({1}))

    alone = {"a": HostStatus("living"), "b": HostStatus("silent")}
    said = status(RangeStatus(owner="a", epoch=501), hosts=alone)
    assert reached_in(said, CLUSTER) == (frozenset({0}), frozenset({0}))


def test_a_store_that_has_forgotten_its_log_is_one_of_a_relay_on_one_host(tmp_path: Path) -> None:
    bob = box_of("bob")
    log = Store(tmp_path / "r", durability="log", map_bytes=16 * MIB, max_map_bytes=64 * MIB)
    log.apply(1, b"")
    log.close()
    (tmp_path / "copy").mkdir()
    hand_out(tmp_path / "r", tmp_path / "copy")
    with pytest.raises(BootError, match="of a range of a cluster"):
        Store(tmp_path / "copy", durability="fsync", map_bytes=MIB, max_map_bytes=64 * MIB)
    for name in ("lock", "lock.mdb"):
        (tmp_path / "copy" / name).unlink(missing_ok=True)

    forget_log(tmp_path / "copy")

    for seq in (1, 2):  # opened twice
        store = Store(tmp_path / "copy", durability="fsync", map_bytes=MIB, max_map_bytes=64 * MIB)
        with store.writing() as batch:
            batch.put_mail(bob, Seq(seq), b"x")
            batch.put_last_seq(Seq(seq))
        store.close()
    store = Store(tmp_path / "copy", durability="fsync", map_bytes=MIB, max_map_bytes=64 * MIB)
    with store.reading() as batch:
        assert batch.last_seq() == 2
        assert [seq for seq, _ in batch.scan_mail(bob)] == [1, 2]
    store.close()
