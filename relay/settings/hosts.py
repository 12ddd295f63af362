"""What several hosts need of their settings to be one relay: [cluster] judged as a whole."""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from relay.settings.clustering import FEWEST_HOSTS, WRITTEN_BY_INIT, ClusterSettings
from relay.settings.tables import Settings
from relay.settings.words import quoted

# A name whose last part is no number: 10.0.0.300 is a mistake.
_HOST_NAME: Final = re.compile(r"([0-9A-Za-z_-]{1,63}\.)*[A-Za-z_][0-9A-Za-z_-]{0,62}")
# A key of the settings that were looked at, and a line that says what is wrong.
Judgement = tuple[tuple[str, ...], str]


def cluster_lacks(settings: Settings) -> Iterator[Judgement]:
    """Yield what keeps the hosts from being a cluster; the settings are whole by now."""
    cluster = settings.cluster
    if not cluster.is_on:
        if cluster.host_name:
            yield (
                ("cluster.name", "cluster.host_name"),
                "cluster.host_name (--host-name) is of use only with cluster.name: start with the"
                " file that `relay cluster init` has written",
            )
        return
    yield from _hosts(cluster)
    yield from _own_host(cluster)
    yield from _ports(settings)
    missing = [name for name in WRITTEN_BY_INIT if not getattr(cluster, name)]
    if missing:
        keys = tuple(f"cluster.{name}" for name in missing)
        yield (
            keys,
            f"{_listed(keys)} missing: start with the file that `relay cluster init` has written",
        )
    if len(cluster.begins_behind) not in (0, cluster.ranges):
        yield (
            ("cluster.begins_behind", "cluster.ranges"),
            f"cluster.begins_behind has {len(cluster.begins_behind)} numbers, and must have one for"
            f" each of cluster.ranges, here {cluster.ranges}, or none",
        )
    workers = settings.server.workers
    if workers not in (0, cluster.ranges):
        yield (
            ("server.workers", "cluster.ranges"),
            f"server.workers = {workers} must not be given with [cluster]: cluster.ranges, here"
            f" {cluster.ranges}, says how many there are",
        )


def _hosts(cluster: ClusterSettings) -> Iterator[Judgement]:
    keys = ("cluster.hosts", "cluster.witness")
    parts = [host.partition("=") for host in cluster.hosts]
    for what, values in (
        ("name", [name for name, _, _ in parts]),
        ("address", [address for _, _, address in parts]),
    ):
        for value, times in Counter(values).items():
            if times > 1:
                yield keys, f"cluster.hosts: {times} hosts have the {what} {quoted(value)}"
    for name, _, address in parts:
        if not _is_address(address):
            yield (
                keys,
                f"cluster.hosts: {quoted(address)}, of {name}, is neither an IP address nor a"
                " host's name",
            )
    count = len(cluster.addresses)
    if count == 0:
        yield keys, "cluster.hosts is missing: a cluster has three hosts or more"
    elif count == 1:
        yield (
            keys,
            "cluster.hosts: one host needs no cluster: `relay serve` without [cluster] is all",
        )
    elif count < FEWEST_HOSTS:
        yield (
            keys,
            "cluster.hosts: of two hosts neither can tell whether the other is lost or cut off; a"
            " third is needed, which may be one that only votes: `relay cluster init a=HOST b=HOST"
            " w=HOST --witness w`",
        )
    if cluster.witness and cluster.witness not in cluster.addresses:
        yield (
            keys,
            f"cluster.witness = {quoted(cluster.witness)} is none of cluster.hosts:"
            f" {_names(cluster)}",
        )
    serving = len(cluster.serving)
    if count >= FEWEST_HOSTS and cluster.standbys >= serving:
        yield (
            (*keys, "cluster.standbys"),
            f"cluster.standbys = {cluster.standbys} must be less than the hosts that serve, here"
            f" {serving}: a range's owner is no standby of it",
        )


def _own_host(cluster: ClusterSettings) -> Iterator[Judgement]:
    keys = ("cluster.hosts", "cluster.host_name")
    if not cluster.host_name:
        yield (
            keys,
            "cluster.host_name is missing: say which host this one is, --host-name and one of"
            f" {_names(cluster)}",
        )
    elif cluster.addresses and cluster.host_name not in cluster.addresses:
        yield (
            keys,
            f"cluster.host_name (--host-name) = {quoted(cluster.host_name)} is none of"
            f" cluster.hosts: {_names(cluster)}",
        )


def _ports(settings: Settings) -> Iterator[Judgement]:
    cluster, bus = settings.cluster, settings.cluster.bus_port_range
    needed = 2 * cluster.ranges
    if not bus or bus[-1] > 65535 or bus[0] == 0:
        yield (
            ("cluster.bus_ports",),
            f"cluster.bus_ports = {quoted(cluster.bus_ports)} must be from 1 to 65535, the lower"
            " one first",
        )
    elif len(bus) < needed:
        yield (
            ("cluster.bus_ports", "cluster.ranges"),
            f"cluster.bus_ports = {quoted(cluster.bus_ports)} are {len(bus)} ports, and must be two"
            f" for each of cluster.ranges, here {needed}",
        )
    single = {
        "server.port": settings.server.port,
        "cluster.engine_port": cluster.engine_port,
        "cluster.route_port": cluster.route_port,
    }
    if not cluster.has_own_engine:
        single = {"server.port": settings.server.port}
    taken: dict[int, str] = {}
    for key, port in single.items():
        if port in taken:
            yield (key, taken[port]), f"{key} and {taken[port]} are both {port}"
        elif port in bus:
            yield (
                (key, "cluster.bus_ports"),
                f"{key} = {port} is among cluster.bus_ports, {cluster.bus_ports}",
            )
        taken.setdefault(port, key)


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None


def _names(cluster: ClusterSettings) -> str:
    return ", ".join(cluster.addresses) or "none"


def _listed(words: Sequence[str]) -> str:
    if len(words) == 1:
        return f"{words[0]} is"
    return f"{', '.join(words[:-1])} and {words[-1]} are"
