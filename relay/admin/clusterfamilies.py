"""The metrics of a cluster, as this host's agent sees it: ranges, hosts, logs and how far who is.

Each host tells all that it sees. Labels are names of hosts and numbers of ranges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from relay.cluster.requests import ClusterStatus


class Row(NamedTuple):
    """A family, beside its name."""

    text: str
    labels: tuple[str, ...] = ()


CLUSTER_GAUGES: Final = {
    "relay_cluster_agent_up": Row("1 while the agent of this host answers."),
    "relay_cluster_majority": Row("1 while this host sees a majority of the hosts."),
    "relay_cluster_isolated": Row("1 while this host serves nobody for want of a majority."),
    "relay_cluster_host_living": Row("1 while beats of a host are heard here.", ("host",)),
    "relay_cluster_host_drained": Row("1 for a host that is to own nothing.", ("host",)),
    "relay_cluster_host_lacks_room": Row(
        "1 for a host with less than store.min_free_bytes free on its disk.", ("host",)
    ),
    "relay_cluster_range_owner": Row("1 for the host that serves a range.", ("range", "host")),
    "relay_cluster_range_epoch": Row("The record by which a range is its owner's.", ("range",)),
    "relay_cluster_log_leader": Row("1 for the host whose engine leads a log.", ("range", "host")),
    "relay_cluster_log_last_record": Row("The last record of a log.", ("range",)),
    "relay_cluster_log_fill_ratio": Row("How full a log is; at 1 sends are refused.", ("range",)),
    "relay_cluster_standby_lag_records": Row(
        "Records of a log that a standby has not applied.", ("range", "host")
    ),
    "relay_cluster_replica_lag_records": Row(
        "Records of a log that an engine with a copy lacks.", ("range", "host")
    ),
}
CLUSTER_EVENTS: Final = "relay_cluster_agent_events"


def cluster_families(seen: ClusterStatus | None) -> Iterator[Metric]:
    """Yield what there is to say of what the agent says; None: it says nothing."""
    found: dict[str, Any] = {
        name: GaugeMetricFamily(name, row.text, None, row.labels)
        for name, row in CLUSTER_GAUGES.items()
    }

    def add(name: str, value: float, *labels: object) -> None:
        found[f"relay_cluster_{name}"].add_metric([*map(str, labels)], float(value))

    add("agent_up", seen is not None)
    events = CounterMetricFamily(
        CLUSTER_EVENTS, "What the agent counts, by the name of its counter.", None, ("event",)
    )
    if seen is not None:
        add("majority", seen.has_majority)
        add("isolated", seen.isolated)
        for name, host in seen.hosts.items():
            add("host_living", host.life == "living", name)
            add("host_drained", host.drained, name)
            add("host_lacks_room", host.lacks_room, name)
            for behind, lacks in host.behind.items():
                add("replica_lag_records", lacks, behind, name)
        for number, range_ in enumerate(seen.ranges):
            if range_.owner:
                add("range_owner", 1, number, range_.owner)
            if range_.leader:
                add("log_leader", 1, number, range_.leader)
            add("range_epoch", range_.epoch, number)
            add("log_last_record", range_.last, number)
            add("log_fill_ratio", range_.fill, number)
            for name, applied in range_.standing.items():
                add("standby_lag_records", max(0, range_.last - applied), number, name)
        for event, count in seen.counters.items():
            events.add_metric([event], count)
    yield from found.values()
    yield events
