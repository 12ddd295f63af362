"""What a host's nats-server is told: its configuration, as a text.

Everybody who reaches it must show the cluster's certificate, over TLS from the first byte, and then
say the cluster's password: processes of the hosts, and the other engines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from relay.settings.clustering import ClusterSettings

# Who the processes of the hosts are there, in an account with JetStream; and who may ask the
# servers how they are. Both have the password of the cluster.
USER: Final = "relay"
SYSTEM_USER: Final = "system"

# Above the largest batch of a worker and its headers. It warns of more than 8 MiB.
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
# Nothing is kept in memory alone; 0 would be three quarters of the machine's.
_MEMORY_BYTES: Final = 64 * 1024 * 1024
# A host has an agent and two workers a range, each with a connection or two.
_MAX_CONNECTIONS: Final = 4096
# A connection that never finishes its handshake is held so long.
_HANDSHAKE_S: Final = 3


class Material(NamedTuple):
    """Paths of the files in PEM that an engine reads when it starts."""

    ca: str
    certificate: str
    key: str


def engine_config(cluster: ClusterSettings, *, store: str, material: Material) -> str:
    """Return the configuration of this host's engine, which keeps all it has in `store`."""
    own, password = cluster.address, cluster.password
    tls = {
        "cert_file": material.certificate,
        "key_file": material.key,
        "ca_file": material.ca,
        "verify": True,
        "min_version": "1.3",
        "timeout": _HANDSHAKE_S,
    }
    document = {
        "server_name": cluster.host_name,
        "listen": _endpoint(own, cluster.engine_port),
        "max_payload": MAX_PAYLOAD_BYTES,
        "max_connections": _MAX_CONNECTIONS,
        "logtime": False,
        "tls": {**tls, "handshake_first": True},
        "accounts": {
            "RELAY": {
                "jetstream": "enabled",
                "users": [{"user": USER, "password": password}],
            },
            "SYSTEM": {"users": [{"user": SYSTEM_USER, "password": password}]},
        },
        "system_account": "SYSTEM",
        "jetstream": {
            "store_dir": store,
            # By default it acks what a power cut takes away.
            "sync_interval": "always",
            "max_file_store": cluster.store_bytes,
            "max_memory_store": _MEMORY_BYTES,
        },
        "cluster": {
            "name": cluster.name,
            "listen": _endpoint(own, cluster.route_port),
            "tls": tls,
            "authorization": {"user": USER, "password": password, "timeout": _HANDSHAKE_S},
            # All know all, and nobody is to come in by hearsay.
            "no_advertise": True,
            "routes": [
                f"tls://{USER}:{password}@{_endpoint(address, cluster.route_port)}"
                for name, address in cluster.addresses.items()
                if name != cluster.host_name
            ],
        },
    }
    return "".join(_lines(document))


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _lines(document: dict[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield f"{indent}{key} {{\n"
            yield from _lines(value, indent + "  ")
            yield f"{indent}}}\n"
        else:
            # It reads JSON's strings, numbers and lists as JSON does, but for \\u.
            yield f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}\n"
