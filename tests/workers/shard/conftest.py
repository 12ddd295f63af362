"""A relay's shards with an extension, for the tests of all that extensions reach."""

from __future__ import annotations

import pytest

from tests.workers.shard.diary import REGISTRY
from tests.workers.shard.harness import ALICE, BOB, CAROL, HIKE, ClusterHarness, Clusters, group_of


@pytest.fixture(params=[1, 3], ids=["1 worker", "3 workers"])
def diaries(clusters: Clusters, request: pytest.FixtureRequest) -> ClusterHarness:
    """Shards that have the extension `diary`, one that is deaf, and one for fronts only."""
    groups = group_of(HIKE, ALICE, BOB, CAROL)
    return clusters(workers=request.param, groups=groups, registry=REGISTRY)
