"""The plan: where the next stores are to be, whose they are, and whether there is room."""

import shutil
from pathlib import Path

import pytest

from relay.bus.envelopes import Seq
from relay.disk.layout import Layout
from relay.errors import BootError
from relay.protocol.slots import ShardMap
from tests.workers.tools.harness import cluster_on, fill, lay_out, snapshots_of
from workers.store.keys import box_of
from workers.store.meta import Mark
from workers.store.snapshot import Snapshot
from workers.store.store import Store
from workers.tools.plan import ROOM_FACTOR, STORE_BYTES, ReshardPlan, check_room, make_plan


def test_it_names_the_stores_of_the_next_generation() -> None:
    plan = ReshardPlan(Path("data"), Layout(generation=4, workers=3), 1 << 20)

    assert plan.generation == Path("data/gen-4")
    assert plan.directories == [Path(f"data/gen-4/worker-{index}") for index in range(3)]
    assert plan.mark(2) == Mark(generation=4, workers=3, index=2)
    assert plan.shards.shards == ShardMap(3).shards


def test_the_maps_have_room_for_a_body_in_every_store(tmp_path: Path) -> None:
    lay_out(tmp_path / "data", 2)
    with cluster_on(tmp_path / "data") as cluster:
        fill(cluster)
    layout = Layout(generation=2, workers=3)

    with snapshots_of(tmp_path / "data") as snapshots:
        used = sum(snapshot.used_bytes() for snapshot in snapshots.values())
        plan = make_plan(tmp_path, list(snapshots.values()), layout, map_bytes=1 << 20)
    empty = make_plan(tmp_path, [], layout, map_bytes=1 << 20)

    assert plan.map_bytes >= (1 << 20) + 3 * used
    assert empty.map_bytes == 1 << 20


@pytest.mark.parametrize("workers", [1, 3])
def test_bodies_are_needed_once_a_worker_that_has_holders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    lay_out(tmp_path / "data", 2)
    with cluster_on(tmp_path / "data") as cluster:
        fill(cluster)
    free = 0
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 40, 1 << 40, free)
    )
    with snapshots_of(tmp_path / "data") as found:
        snapshots = list(found.values())
        needed = sum(snapshot.live_bytes() for snapshot in snapshots)
        for snapshot in snapshots:
            for key, body in snapshot.items("bodies"):
                holders = int.from_bytes(snapshot.get("holders", key) or b"", "big")
                needed += (min(holders, workers) - 1) * len(body)

        free = int(needed * ROOM_FACTOR) + workers * STORE_BYTES
        check_room(tmp_path, snapshots, workers)
        free -= 1
        with pytest.raises(BootError, match=f"not for {workers}; .* but {free:,} are free"):
            check_room(tmp_path, snapshots, workers)


def test_what_the_journal_removes_needs_no_room(tmp_path: Path) -> None:
    """As when a relay stops right after its clients acked: the pages have it all yet."""
    store = Store(tmp_path, durability="os", map_bytes=1 << 26, max_map_bytes=1 << 26)
    with store.writing() as batch:
        for seq in range(1, 21):
            batch.put_mail(box_of("bob"), Seq(seq), bytes(100_000))
    store.fold(at_once=True)
    with store.writing() as batch:
        for seq in range(1, 20):
            batch.pop_mail(box_of("bob"), Seq(seq))
        batch.put_mail(box_of("bob"), Seq(21), bytes(1000))
    store.close()

    snapshot = Snapshot(tmp_path)
    assert snapshot.used_bytes() > 2_000_000
    assert 100_000 < snapshot.live_bytes() < 300_000
    snapshot.close()


def test_a_first_start_needs_no_room(tmp_path: Path) -> None:
    check_room(tmp_path, [], 3)
