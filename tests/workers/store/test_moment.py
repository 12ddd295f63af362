"""The stores of several workers at one moment: what left one of them is in the other."""

from pathlib import Path

import pytest

from tests.workers.tools.harness import cluster_on, fill, hold_up, lay_out, snapshots_of
from workers.store.moment import find_gaps, pin
from workers.store.snapshot import Snapshot


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two stores, with entries in their outboxes."""
    lay_out(tmp_path / "data", 2)
    with cluster_on(tmp_path / "data") as cluster:
        fill(cluster)
        hold_up(cluster)
    return tmp_path / "data"


def test_stores_of_one_moment_have_no_gap(data: Path) -> None:
    with snapshots_of(data) as snapshots:
        assert list(find_gaps(snapshots)) == []
        # Something was applied, and the word of it lost: that is no gap.
        assert snapshots[0].applied(1) > snapshots[1].confirmed(0)


def test_snapshots_are_taken_again_until_they_are_of_one_moment(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    real = Snapshot.confirmed

    def confirmed(self: Snapshot, peer: int) -> int:
        return 1 << 61 if len(taken) < 6 else real(self, peer)

    def refresh(self: Snapshot, real: object = Snapshot.refresh) -> None:
        taken.append(1)
        assert callable(real)
        real(self)

    monkeypatch.setattr(Snapshot, "confirmed", confirmed)
    monkeypatch.setattr(Snapshot, "refresh", refresh)
    with snapshots_of(data) as snapshots:
        assert pin(snapshots) == []

    assert len(taken) >= 6
