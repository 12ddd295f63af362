"""How the processes of a host reach the engine: at which servers, and as whom."""

from __future__ import annotations

from urllib.parse import urlsplit

from relay.cluster.names import USER
from relay.cluster.natsdial import Login, Server
from relay.settings.clustering import ClusterSettings


def servers_of(cluster: ClusterSettings) -> tuple[Server, ...]:
    """Return the servers in the order in which they are to be tried: this host's own first.

    Through that of another host everything is done as well, while that is there.
    """
    if not cluster.has_own_engine:
        urls = [urlsplit(url) for url in cluster.engine]
        return tuple(Server(url.hostname or "", url.port or 0) for url in urls)
    others = [address for name, address in cluster.addresses.items() if name != cluster.host_name]
    return tuple(Server(host, cluster.engine_port) for host in (cluster.address, *others))


def login_of(cluster: ClusterSettings) -> Login:
    """Return as whom the processes of all hosts come."""
    return Login(
        user=USER,
        password=cluster.password,
        ca=cluster.ca,
        certificate=cluster.certificate,
        key=cluster.certificate_key,
    )
