"""What the tests of a worker's parts need again and again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers.shard.harness import ClusterHarness, Clusters, settings_with
from workers.store.batch import Batch
from workers.store.store import Store


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A run directory; the bus has sockets in it, and the paths of sockets are bounded."""
    with tempfile.TemporaryDirectory(prefix="relay-test-") as directory:
        yield Path(directory)


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    """The open batch of an empty store; nothing of it is kept."""
    store = Store(tmp_path, durability="os", map_bytes=1 << 24, max_map_bytes=1 << 24)
    batch = store.begin()
    yield batch
    batch.abort()
    store.close()


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[Clusters]:
    """Start a relay's shards: see `ClusterHarness`; they are stopped when the test is over."""
    started: list[ClusterHarness] = []

    def start(**options: Any) -> ClusterHarness:
        started.append(ClusterHarness(tmp_path / f"cluster-{len(started)}", **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def cluster(clusters: Clusters) -> ClusterHarness:
    """The shard of a relay of one worker, without groups."""
    return clusters()


@pytest.fixture
def paged(clusters: Clusters) -> ClusterHarness:
    """The shard of a relay whose pages hold one entry."""
    return clusters(settings=settings_with(flow={"page_bytes": 1}))
