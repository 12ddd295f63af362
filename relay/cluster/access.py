"""How the processes of a host reach the engines: where they are, and what to say there."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from relay.cluster.engineconfig import USER
from relay.cluster.natswire import Login, Server
from relay.settings.clustering import ClusterSettings


def servers_of(cluster: ClusterSettings) -> list[Server]:
    """Return where engines are: this host's first, or those of the operator in their order."""
    if isinstance(cluster.engine, str):
        others = [each for name, each in cluster.addresses.items() if name != cluster.host_name]
        return [Server(each, cluster.engine_port) for each in (cluster.address, *others)]
    parts = [urlsplit(url) for url in cluster.engine]
    return [Server(each.hostname or "", each.port or _NATS_PORT) for each in parts]


def login_of(cluster: ClusterSettings, *, user: str = USER) -> Login:
    """Return what to say there, as one of the processes or as SYSTEM_USER."""
    return Login(
        user=user,
        password=cluster.password,
        ca=cluster.ca,
        certificate=cluster.certificate,
        key=cluster.certificate_key,
    )


_NATS_PORT: Final = 4222
