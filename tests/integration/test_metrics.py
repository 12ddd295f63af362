"""The metrics: what they count, and that alerts and the dashboard ask for what is served."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from relay.admin.clusterfamilies import CLUSTER_EVENTS, CLUSTER_GAUGES
from relay.admin.families import COUNTERS, DISTRIBUTIONS, GAUGES
from tests.outside.certificates import Authority, tls_config
from tests.outside.frames import ALICE, BOB
from tests.outside.operator import Operator
from tests.outside.ports import free_port
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

CONFIG = Path(__file__).parents[2] / "config"
TOKEN = "p" * 40
_PARTS = re.compile(r"_(total|bucket|sum|count|info)\Z")
_NAME = re.compile(r"\brelay_[a-z_]+\b")

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool")


@pytest.fixture(scope="module")
def seen() -> Iterator[Relay]:
    with Relay(admin=True) as relay:
        Operator(relay).ask("/metrics")
        yield relay


# Which only several hosts tell.
OF_CLUSTERS = {CLUSTER_EVENTS, *CLUSTER_GAUGES}


def families(relay: Relay) -> list[Any]:
    parse: Any = text_string_to_metric_families  # has no types
    return list(parse(Operator(relay).ask("/metrics").body.decode()))


def names(relay: Relay) -> set[str]:
    return {family.name for family in families(relay)}


def asked_in(name: str) -> set[str]:
    """Return the families that the expressions of a file ask for."""
    text = (CONFIG / name).read_text()
    if name.endswith(".json"):
        expressions = re.findall(r'"(?:expr|query)": "((?:[^"\\]|\\.)*)"', text)
    else:
        lines = [line.partition("# ")[0] for line in text.splitlines()]
        expressions = re.findall(r"expr:(.*?)(?:for:|labels:)", "\n".join(lines), re.S)
    assert expressions
    return {_PARTS.sub("", found) for each in expressions for found in _NAME.findall(each)}


# --- names ---


@pytest.mark.parametrize("file", ["relay-alerts.yml", "grafana-dashboard.json"])
def test_alerts_and_dashboard_ask_for_nothing_that_is_not_served(seen: Relay, file: str) -> None:
    assert asked_in(file) - names(seen) == asked_in(file) & OF_CLUSTERS


def test_the_dashboard_shows_every_family(seen: Relay) -> None:
    assert (names(seen) | OF_CLUSTERS) - asked_in("grafana-dashboard.json") == set()


def test_a_relay_on_one_host_says_nothing_of_a_cluster(seen: Relay) -> None:
    assert names(seen) & OF_CLUSTERS == set()


def test_every_family_is_in_the_table_and_every_row_is_served(seen: Relay) -> None:
    rows = {*COUNTERS, *(name for name, _ in (*GAUGES.values(), *DISTRIBUTIONS.values()))}

    assert rows <= names(seen)


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = json.loads((CONFIG / "grafana-dashboard.json").read_text())

    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (at["x"] + right, at["y"] + down) for right in range(at["w"]) for down in range(at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"]


class _Again(Collector):
    def __init__(self, found: list[Any]) -> None:
        self._found = found

    def collect(self) -> Iterator[Any]:
        return iter(self._found)


@needs_promtool
def test_names_and_units_are_as_the_conventions_of_prometheus_have_them(seen: Relay) -> None:
    registry = CollectorRegistry()
    registry.register(_Again(families(seen)))
    linted = subprocess.run(  # promtool reads the older format alone
        ["promtool", "check", "metrics"],
        input=generate_latest(registry),
        capture_output=True,
        check=False,
    )

    assert (linted.stdout, linted.stderr, linted.returncode) == (b"", b"", 0)


@needs_promtool
def test_prometheus_understands_the_alert_rules() -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", str(CONFIG / "relay-alerts.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "24 rules found" in checked.stdout


# --- what they count ---


def test_what_waits_is_counted_at_once(seen: Relay) -> None:
    operator = Operator(seen)
    before = sums(operator)
    author = seen.login("writer")
    for n in range(5):
        author.send_message("away", f"W{n}")
        author.recv()
    waiting = sums(operator)
    reader = seen.login("away")
    assert len(reader.queued) == 5
    for frame in reader.queued:
        reader.ack(frame)
        author.recv()

    assert waiting["relay_queue_entries"] - before["relay_queue_entries"] == 5
    assert waiting["relay_queue_bytes"] - before["relay_queue_bytes"] > 500
    # The receipts, until their author's client has confirmed them, are entries as well.
    poll_for("none", lambda: sums(operator)["relay_queue_entries"] <= 5)
    seen.drop_clients()


def test_the_bytes_of_clients_are_counted_both_ways(seen: Relay) -> None:
    operator = Operator(seen)
    before = operator.samples()
    a, b = seen.logged_in("bytes1", "bytes2")
    a.send_message("bytes2", "B1", {"conversation": "x" * 10_000})
    a.recv()
    b.recv()
    after = operator.samples()

    for direction in ("received", "sent"):
        name = f'relay_client_bytes_total{{direction="{direction}",index="0",role="front"}}'
        assert 10_000 < after[name] - before.get(name, 0) < 13_000
    seen.drop_clients()


def test_a_front_is_ready_and_the_store_has_room(seen: Relay) -> None:
    found = Operator(seen).samples()

    assert found['relay_front_ready{index="0",role="front"}'] == 1
    for index in "01":
        assert found[f'relay_store_refuses_sends{{index="{index}",role="worker"}}'] == 0
        assert found[f'relay_store_room_bytes{{index="{index}",role="worker"}}'] > 0


def test_a_store_that_refuses_sends_says_so(start_relay: RelayStarter) -> None:
    relay = start_relay(admin=True, config="[store]\nmin_free_bytes = 1099511627776\n")
    relay.log.expect("store.refuses_sends")
    found = Operator(relay).samples()

    assert found['relay_store_refuses_sends{index="0",role="worker"}'] == 1
    assert found['relay_store_room_bytes{index="0",role="worker"}'] < 0


def test_syncs_are_timed_apart_from_commits(seen: Relay) -> None:
    operator = Operator(seen)
    author = seen.login("synced")

    def is_timed() -> bool:
        author.send_message("nobody", f"S{time.monotonic_ns()}")
        author.recv()
        found = sums(operator)
        count = found["relay_batch_sync_seconds_count"]
        return 0 < count <= found["relay_batch_commit_seconds_count"]

    poll_for("one that was timed", is_timed)
    seen.drop_clients()


def test_a_burst_of_questions_leaves_none_unanswered(seen: Relay) -> None:
    operator = Operator(seen)

    with ThreadPoolExecutor(5) as askers:
        answers = list(askers.map(operator.ask, ["/api/v1/status"] * 30))

    # A worker that has nothing else to do wakes up for the first one alone.
    assert [answer.json["not_asked"] for answer in answers] == [[]] * 30


def sums(operator: Operator) -> dict[str, float]:
    """The samples, summed over their labels."""
    found: dict[str, float] = {}
    for key, value in operator.samples().items():
        name = key.partition("{")[0]
        found[name] = found.get(name, 0) + value
    return found


# --- certificates ---


class Site:
    """Certificates of the admin and of the port, a CA, and the settings that name them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority()
        (directory / "ca.pem").write_bytes(self.authority.pem)
        self.renew(timedelta(days=1))
        tokens = directory / "tokens"
        tokens.write_text(f"{TOKEN} read\n")
        tokens.chmod(0o600)
        self.port = free_port()

    def renew(self, ends: timedelta) -> float:
        """Write another certificate of the admin's; return when it ends."""
        issued = self.authority.issue("127.0.0.1", ends=ends)
        self.pair = issued.write(self.directory, "admin")
        return issued.certificate.not_valid_after_utc.timestamp()

    def config(self, *, tls: bool = True) -> str:
        port_pair = self.authority.issue("127.0.0.1").write(self.directory, "port")
        lines = ["[admin]", f"port = {self.port}", f'token_file = "{self.directory / "tokens"}"']
        if tls:
            lines += [f'tls_certificate = "{self.pair[0]}"', f'tls_key = "{self.pair[1]}"']
            lines += ["", tls_config(port_pair)]
        return "\n".join(lines) + "\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def ask_tls(site: Site, path: str, token: str = TOKEN) -> tuple[int, bytes]:
    request = urllib.request.Request(
        f"https://127.0.0.1:{site.port}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(
            request, context=site.authority.trusted(), timeout=10
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def shown_until_s(site: Site) -> float:
    """When the certificate ends that a client of the admin sees."""
    with (
        socket.create_connection(("127.0.0.1", site.port), 10) as plain,
        site.authority.trusted().wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        found = tls.getpeercert()
        assert found
        return ssl.cert_time_to_seconds(str(found["notAfter"]))


def test_it_is_told_until_when_each_certificate_is_good(
    start_relay: RelayStarter, site: Site
) -> None:
    relay = start_relay(admin=True, config=site.config())
    poll_for("the port", lambda: bool(relay.log.events("admin.port_served")))
    status, body = ask_tls(site, "/metrics")

    assert status == 200
    metric = "relay_tls_certificate_expiry_timestamp_seconds"
    lines = [line for line in body.decode().splitlines() if line.startswith(metric + "{")]
    found = dict(line.removeprefix(metric).rsplit(" ", 1) for line in lines)
    port, own = (site.directory / f"{name}.pem" for name in ("port", "admin"))
    assert found.keys() == {
        f'{{file="{port}",index="0",role="front"}}',
        f'{{file="{own}",index="0",role="admin"}}',
    }
    for until_s in found.values():
        assert time.time() + 3600 < float(until_s) < time.time() + 3 * 86400


def test_the_admin_shows_a_renewed_certificate_without_a_restart(
    start_relay: RelayStarter, site: Site
) -> None:
    relay = start_relay(admin=True, config=site.config())
    poll_for("the port", lambda: bool(relay.log.events("admin.port_served")))
    before_s = shown_until_s(site)
    until_s = site.renew(timedelta(days=40))

    assert before_s < until_s
    poll_for("the new one", lambda: shown_until_s(site) == int(until_s))


def test_a_new_token_is_known_and_an_old_one_is_not_without_a_restart(
    start_relay: RelayStarter, site: Site
) -> None:
    relay = start_relay(admin=True, config=site.config())
    poll_for("the port", lambda: bool(relay.log.events("admin.port_served")))
    assert ask_tls(site, "/metrics")[0] == 200
    (site.directory / "tokens").write_text(f"{'n' * 40} read\n")

    poll_for("the new one", lambda: ask_tls(site, "/metrics", "n" * 40)[0] == 200)
    assert ask_tls(site, "/metrics")[0] == 401
    (site.directory / "tokens").write_text("short read\n")
    poll_for("a line of it", lambda: bool(relay.log.events("admin.tokens_refused")))
    assert ask_tls(site, "/metrics", "n" * 40)[0] == 200
    relay.log.expect("admin.tokens_refused")


# --- a real Prometheus ---


@contextmanager
def prometheus(directory: Path, scrape: str) -> Iterator[int]:
    """One that scrapes twice a second; yields its port."""
    port = free_port()
    (directory / "token").write_text(TOKEN)
    (directory / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n"
        f"rule_files: [{CONFIG / 'relay-alerts.yml'}]\n"
        "scrape_configs:\n"
        "  - job_name: relay\n"
        f"    authorization: {{credentials_file: {directory / 'token'}}}\n" + scrape
    )
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield port
        finally:
            process.terminate()
            process.wait(10)


def query(port: int, expression: str) -> list[Any]:
    """Return the value of each series that an expression has now."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = json.loads(answer.read())["data"]["result"]
    except OSError:
        return []
    return [float(each["value"][1]) for each in found]


@pytest.mark.ordeal
@pytest.mark.skipif(not shutil.which("prometheus"), reason="there is no Prometheus")
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_real_prometheus_sums_what_the_relay_counts(
    start_relay: RelayStarter, site: Site, tls: bool
) -> None:
    relay = start_relay(admin=True, fronts=1 if tls else 2, config=site.config(tls=tls))
    poll_for("the port", lambda: bool(relay.log.events("admin.port_served")))
    scrape = f"    static_configs: [{{targets: ['127.0.0.1:{site.port}']}}]\n"
    if tls:
        scrape += f"    scheme: https\n    tls_config: {{ca_file: {site.directory / 'ca.pem'}}}\n"
    else:
        alice, bob = relay.logged_in(ALICE, BOB)
        for n in range(7):
            alice.send_message(BOB, f"P{n}")
            alice.recv()
            bob.recv()
    with prometheus(site.directory, scrape) as port:
        poll_for("a scrape", lambda: query(port, 'up{job="relay"}') == [1.0], deadline_s=20)
        assert query(port, "sum(relay_process_up)") == [3.0 if tls else 4.0]
        if tls:
            soon = 'count(ALERTS{alertname="RelayCertificateExpiresSoon",alertstate="firing"})'
            poll_for("the alert", lambda: query(port, soon) == [2.0], deadline_s=20)
        else:
            assert query(port, "sum(relay_messages_received_total)") == [7.0]
            assert query(port, "sum(relay_deliveries_total)") == [7.0]
            assert query(port, "sum(relay_sessions)") == [2.0]
            assert query(port, "sum(relay_send_ack_seconds_count)") >= [1.0]
            assert query(port, "count(relay_build_info)") == [1.0]
