"""What is told of a cluster: nothing but that the agent is silent, or all that it says."""

from __future__ import annotations

from prometheus_client.metrics_core import Metric

from relay.admin.clusterfamilies import CLUSTER_EVENTS, CLUSTER_GAUGES, cluster_families
from relay.cluster.requests import ClusterStatus, HostStatus, RangeStatus


def samples(found: list[Metric]) -> dict[tuple[str, ...], float]:
    return {
        (each.name, *each.labels.values()): each.value
        for family in found
        for each in family.samples
    }


def test_of_an_agent_that_does_not_answer_that_alone_is_told() -> None:
    found = list(cluster_families(None))

    assert samples(found) == {("relay_cluster_agent_up",): 0.0}
    assert [family.name for family in found] == [*CLUSTER_GAUGES, CLUSTER_EVENTS]


def test_all_that_the_agent_says_is_told() -> None:
    status = ClusterStatus(
        seen_by="a",
        has_majority=True,
        isolated=False,
        hosts={
            "a": HostStatus("living", behind={1: 905}, lacks_room=True),
            "b": HostStatus("silent", drained=True),
        },
        ranges=(
            RangeStatus(owner="a", epoch=3, standing={"b": 7}, leader="b", last=9, fill=0.25),
            RangeStatus(last=4),
        ),
        counters={"hosts_lost": 2},
    )

    found = samples(list(cluster_families(status)))

    assert found == {
        ("relay_cluster_agent_up",): 1.0,
        ("relay_cluster_majority",): 1.0,
        ("relay_cluster_isolated",): 0.0,
        ("relay_cluster_host_living", "a"): 1.0,
        ("relay_cluster_host_living", "b"): 0.0,
        ("relay_cluster_host_drained", "a"): 0.0,
        ("relay_cluster_host_drained", "b"): 1.0,
        ("relay_cluster_host_lacks_room", "a"): 1.0,
        ("relay_cluster_host_lacks_room", "b"): 0.0,
        ("relay_cluster_range_owner", "0", "a"): 1.0,
        ("relay_cluster_range_epoch", "0"): 3.0,
        ("relay_cluster_range_epoch", "1"): 0.0,
        ("relay_cluster_log_leader", "0", "b"): 1.0,
        ("relay_cluster_log_last_record", "0"): 9.0,
        ("relay_cluster_log_last_record", "1"): 4.0,
        ("relay_cluster_log_fill_ratio", "0"): 0.25,
        ("relay_cluster_log_fill_ratio", "1"): 0.0,
        ("relay_cluster_standby_lag_records", "0", "b"): 2.0,
        ("relay_cluster_replica_lag_records", "1", "a"): 905.0,
        ("relay_cluster_agent_events_total", "hosts_lost"): 2.0,
    }
