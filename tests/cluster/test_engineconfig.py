"""What the nats-server of a host is told."""

from typing import Any

from relay.cluster.engineconfig import Material, engine_config
from tests.cluster.engine_harness import cluster_settings

MATERIAL = Material("/m/ca", "/m/certificate", "/m/key")


def lines_of(**others: Any) -> list[str]:
    cluster = cluster_settings(engine_port=9013, route_port=9014, **others)
    return engine_config(cluster, store="/data/engine", material=MATERIAL).splitlines()


def test_it_syncs_before_it_acks() -> None:
    assert '  sync_interval: "always"' in lines_of()


def test_both_ports_want_certificates_and_tls_comes_before_the_first_word() -> None:
    lines = lines_of()

    assert sum(line.strip() == "verify: true" for line in lines) == 2
    assert sum(line.strip() == 'ca_file: "/m/ca"' for line in lines) == 2
    assert "  handshake_first: true" in lines


def test_it_listens_where_its_host_is_and_routes_to_the_others() -> None:
    lines = lines_of(host_name="b", hosts=("a=fd00::1", "b=10.0.0.2", "c=relay-c"))

    assert 'server_name: "b"' in lines
    assert 'listen: "10.0.0.2:9013"' in lines
    assert '  listen: "10.0.0.2:9014"' in lines
    [routes] = [line for line in lines if line.strip().startswith("routes")]
    assert "@[fd00::1]:9014" in routes
    assert "@relay-c:9014" in routes
    assert "10.0.0.2" not in routes


def test_there_is_no_port_that_tells_how_it_is() -> None:
    assert not [line for line in lines_of() if line.strip().startswith(("http", "monitor", "prof"))]


def test_it_keeps_no_more_than_it_may() -> None:
    assert "  max_file_store: 67108864" in lines_of()
