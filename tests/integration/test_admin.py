"""What operators see of a relay, and that nothing of it is in the way of messages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.outside.frames import ALICE, BOB, CAROL, GROUP, delivery
from tests.outside.operator import Operator
from tests.outside.ports import free_port
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

# Of the answer; an operator's patience, and far more than the deadline of an inquiry.
SOON_S = 1.0


@pytest.fixture(scope="module")
def seen() -> Iterator[Relay]:
    """A relay with an admin, on which nothing is stopped or killed."""
    with Relay(admin=True, groups={GROUP: [ALICE, BOB, CAROL]}) as relay:
        Operator(relay).ask("/api/v1/status")  # it loads what answers
        yield relay


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    """One of the test's own."""
    relay = start_relay(admin=True)
    Operator(relay).ask("/api/v1/status")
    return relay


def command(relay: Relay, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay", *arguments, "--data", str(relay.directory / "data")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


# --- endpoints ---


def test_the_status_tells_of_every_process(seen: Relay) -> None:
    status = Operator(seen).ask("/api/v1/status").json

    roles = sorted((each["role"], each["index"]) for each in status["processes"])
    assert roles == [("admin", 0), ("front", 0), ("supervisor", 0), ("worker", 0), ("worker", 1)]
    assert status["not_asked"] == []
    pids = {each["pid"] for each in status["processes"]}
    assert pids == {seen.process.pid, *(child.process.pid for child in seen.children())}
    for each in status["processes"]:
        assert each["memory_bytes"] > 1_000_000
        assert each["descriptors"] > 0
        assert each["answers"]


def test_who_is_connected_is_listed_and_paged(seen: Relay) -> None:
    seen.logged_in("page1", "page2", "page3", "other")
    operator = Operator(seen)

    found = []
    cursor = ""
    while True:
        page = operator.ask(f"/api/v1/users?prefix=page&limit=2&cursor={cursor}").json
        assert len(page["users"]) <= 2
        found += [user["jid"] for user in page["users"]]
        cursor = page["next"]
        if not cursor:
            break

    assert found == [f"page{n}@s.whatsapp.com" for n in (1, 2, 3)]
    seen.drop_clients()


def test_a_user_is_told_with_what_waits(seen: Relay) -> None:
    author = seen.login("writer")
    for n in range(3):
        author.send_message("absent", f"W{n}")
        author.recv()
    user = Operator(seen).ask("/api/v1/users/absent@c.us").json

    assert (user["sessions"], user["reads"]) == ([], "")
    assert user["waiting_messages"] == 3
    assert user["authors"] == [
        {"author": "writer@s.whatsapp.com", "messages": 3, "size": user["waiting_bytes"]}
    ]
    assert user["oldest_ms"] > 0
    assert user["limits"]["sent_waiting_messages"] == 0
    connected = Operator(seen).ask("/api/v1/users/writer").json
    (session,) = connected["sessions"]
    assert session["address"].startswith("127.0.0.1:")
    assert (session["stage"], connected["reads"]) == ("LIVE", "LIVE")
    seen.drop_clients()


def test_a_queue_is_told_in_order_and_without_texts(seen: Relay) -> None:
    author = seen.login("poet")
    for n in range(3):
        author.send_message("reader", f"Q{n}", {"conversation": "a secret"})
        author.recv()
    operator = Operator(seen)
    first = operator.ask("/api/v1/users/reader/queue?limit=2").json
    second = operator.ask(f"/api/v1/users/reader/queue?after={first['next']}").json

    entries = first["entries"] + second["entries"]
    assert [(e["id"], e["kind"], e["author"]) for e in entries] == [
        (f"Q{n}", "message", "poet@s.whatsapp.com") for n in range(3)
    ]
    assert second["next"] == 0
    assert "secret" not in json.dumps(entries)
    assert operator.ask("/api/v1/users/reader/queue?texts=true").status == 403
    seen.drop_clients()


def test_looking_takes_nothing_away(seen: Relay) -> None:
    author = seen.login("sender")
    author.send_message("late", "L1")
    author.recv()
    for path in ("users/late", "users/late/queue", "status"):
        Operator(seen).ask(f"/api/v1/{path}")

    assert seen.login("late").queued == [delivery("L1", author="sender")]
    seen.drop_clients()


def test_the_metrics_are_openmetrics_and_count(seen: Relay) -> None:
    operator = Operator(seen)
    before = operator.samples()
    a, b = seen.logged_in("counted1", "counted2")
    a.send_message("counted2", "C1")
    a.recv()
    b.recv()
    after = operator.samples()

    def grown(name: str) -> float:
        return sum(after[key] - before.get(key, 0) for key in after if key.startswith(name))

    assert grown('relay_messages_received_total{index="0",kind="direct"') == 1
    assert grown("relay_acks_sent_total") == 1
    assert grown('relay_deliveries_total{index="0",kind="direct"') == 1
    assert grown("relay_logins_total") == 2
    assert grown("relay_sessions") == 2
    assert grown("relay_send_ack_seconds_count") == 1
    assert grown("relay_login_seconds_count") == 2
    assert grown("relay_batch_commit_seconds_count") >= 1
    answer = operator.ask("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    parse: Any = text_string_to_metric_families  # has no types
    families = list(parse(answer.body.decode()))
    assert {label for f in families for s in f.samples for label in s.labels} <= {
        *("role", "index", "kind", "code", "direction", "event", "status", "le", "version")
    }
    seen.drop_clients()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nowhere", 404),
        ("/schema", 404),
        ("/api/v1/users/no%20jid", 400),
        ("/api/v1/users?limit=0", 400),
        ("/api/v1/users?limit=x", 400),
        ("/api/v1/users?cursor=x", 400),
        ("/api/v1/users/a/queue?after=-1", 400),
    ],
)
def test_what_cannot_be_is_said_in_one_shape(seen: Relay, path: str, status: int) -> None:
    answer = Operator(seen).ask(path)

    assert answer.status == status
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json.keys() == {"status", "title", "detail"}
    assert answer.json["status"] == status


def test_the_api_describes_itself(seen: Relay) -> None:
    document = Operator(seen).ask("/openapi.json").json

    assert document["openapi"].startswith("3.1")
    assert {"/api/v1/status", "/api/v1/users", "/metrics"} <= document["paths"].keys()
    for path in document["paths"].values():
        for operation in path.values():
            assert {"200", "401", "403", "503"} <= operation["responses"].keys()


# --- what is stopped, killed or gone ---


@pytest.mark.parametrize("role", ["worker", "front"])
def test_one_that_is_stopped_is_named_and_the_rest_is_answered(relay: Relay, role: str) -> None:
    operator = Operator(relay)
    alice = relay.login(ALICE)
    whole = ("/api/v1/status", "/metrics", "/api/v1/users")
    of_users = tuple(f"/api/v1/users/{name}" for name in (ALICE, BOB, CAROL))
    calm = [operator.ask(path) for path in (*whole, *of_users)]
    stopped = relay.children(role)[0]
    stopped.process.suspend()
    try:
        status, metrics, users = (operator.ask(path) for path in whole)
        user = [operator.ask(path) for path in of_users]
    finally:
        stopped.process.resume()

    busy_s = 5 * max(answer.took_s for answer in calm)  # what else this machine does
    for answer in (status, metrics, users, *user):
        assert answer.took_s < SOON_S + busy_s
    assert [(s["role"], s["index"]) for s in status.json["not_asked"]] == [(role, 0)]
    (told,) = (p for p in status.json["processes"] if (p["role"], p["index"]) == (role, 0))
    assert (told["state"], told["answers"]) == ("T", False)
    assert f'relay_process_up{{index="0",role="{role}"}} 0.0' in metrics.body.decode()
    assert {answer.status for answer in user} <= {200, 503}
    poll_for("it answers again", lambda: not operator.ask("/api/v1/status").json["not_asked"])
    alice.send_message(BOB, "S1")
    alice.recv()


def test_the_admin_may_die_and_come_back_unnoticed(relay: Relay) -> None:
    alice, bob = relay.logged_in(ALICE, BOB)
    admin = relay.child("admin")
    admin.process.kill()
    alice.send_message(BOB, "D1")
    alice.recv()
    assert bob.recv() == delivery("D1", author=ALICE)

    def is_back() -> bool:
        return [each.process.pid for each in relay.children("admin")] not in (
            [],
            [admin.process.pid],
        )

    poll_for("the next admin", is_back)
    poll_for("its answer", lambda: _status_of(relay) == 200)
    assert Operator(relay).ask("/api/v1/status").json["sessions"] == 2


def _status_of(relay: Relay) -> int:
    try:
        return Operator(relay).ask("/api/v1/status").status
    except OSError:
        return 0


def test_a_worker_that_comes_back_is_asked_again_and_counted(relay: Relay) -> None:
    relay.children("worker")[0].process.kill()

    def restarted() -> bool:
        found = Operator(relay).samples()
        again = found['relay_process_restarts_total{index="0",role="worker"}']
        return bool(again == 1 and found['relay_process_up{index="0",role="worker"}'])

    poll_for("its successor", restarted)


# --- over TCP ---

TOKENS = {"read": "r" * 40, "texts": "t" * 40}


def test_over_tcp_everything_needs_a_token(start_relay: RelayStarter, tmp_path: Path) -> None:
    port, tokens = free_port(), tmp_path / "tokens"
    tokens.write_text(f"# ours\n{TOKENS['read']} read\n{TOKENS['texts']} read texts\n")
    tokens.chmod(0o600)
    relay = start_relay(admin=True, config=f'[admin]\nport = {port}\ntoken_file = "{tokens}"\n')
    operator = Operator(relay)
    poll_for("the port", lambda: bool(relay.log.events("admin.port_served")))
    author = relay.login(ALICE)
    author.send_message(BOB, "T1", {"conversation": "a secret"})
    author.recv()

    for path in ("/metrics", "/api/v1/status", "/openapi.json", "/nowhere"):
        assert operator.ask_port(port, path).status == 401
        assert operator.ask_port(port, path, token="x" * 40).status == 401
    assert operator.ask("/api/v1/status", token="x" * 40).status == 401
    queue = f"/api/v1/users/{BOB}/queue?texts=true"
    assert operator.ask_port(port, queue, token=TOKENS["read"]).status == 403
    answer = operator.ask_port(port, queue, token=TOKENS["texts"])
    assert answer.json["entries"][0]["message"] == {"conversation": "a secret"}
    assert operator.ask_port(port, "/metrics", token=TOKENS["read"]).status == 200


@pytest.mark.parametrize("option", [["--check-config"], []])
def test_a_certificate_that_cannot_be_used_is_told_before_anything_starts(
    tmp_path: Path, option: list[str]
) -> None:
    config, key = tmp_path / "relay.toml", tmp_path / "key"
    key.write_text("no key")
    key.chmod(0o600)
    config.write_text(f'[admin]\ntls_certificate = "/gone"\ntls_key = "{key}"\n')

    refused = subprocess.run(
        [
            *(sys.executable, "-m", "relay", "serve", "--config", str(config), *option),
            *("--port", "0", "--data", str(tmp_path / "data")),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert refused.returncode == 2
    assert "admin.tls_certificate: /gone cannot be read: No such file" in refused.stderr
    assert not (tmp_path / "data").exists()


def test_a_user_is_told_with_why_it_gets_nothing(relay: Relay) -> None:
    def says(user: str) -> str:
        found: list[str] = Operator(relay).ask(f"/api/v1/users/{user}").json["says"]
        return found[0]

    author = relay.login("writer")
    author.send_message("absent", "S1")
    author.recv()
    relay.login("quiet")
    author.send_message("quiet", "S2")
    author.recv()

    assert says("absent").startswith("not connected: ")
    assert says("writer").startswith("connected, and has acked")
    assert "just now" in says("quiet")
    assert "spelled right" in says("nobody")
    assert command(relay, "ban", "absent", "--reason", "spam").returncode == 0
    assert says("absent").startswith("thrown out 0s ago by socket, spam")
    shown = command(relay, "user", "absent").stdout.splitlines()
    assert shown[1].startswith("- thrown out ")


def test_the_status_tells_what_is_stored_and_what_room_is_left(relay: Relay) -> None:
    disk = Operator(relay).ask("/api/v1/status").json["disk"]

    assert disk["used_bytes"] > 0
    assert disk["room_bytes"] > 0
    assert disk["full_in_s"] is None
    poll_for(  # the first look is kept soon after the start
        "what was measured",
        lambda: Operator(relay).ask("/api/v1/status").json["disk"]["measured_s"] > 0,
    )
    assert f"disk: {disk['says'].partition(',')[0]}" in command(relay, "status").stdout


# --- the command ---


def test_the_commands_show_it_in_tables(seen: Relay) -> None:
    author = seen.login("typist")
    author.send_message("nobody", "N1")
    author.recv()
    status = command(seen, "status")
    users = command(seen, "users", "typ")
    user = command(seen, "user", "nobody")
    queue = command(seen, "queue", "nobody")

    assert [each.returncode for each in (status, users, user, queue)] == [0, 0, 0, 0]
    assert re.search(r"^worker 1 +\d+ ", status.stdout, re.M)
    assert users.stdout.splitlines()[1].startswith("typist@s.whatsapp.com  127.0.0.1:")
    assert "not connected" in user.stdout
    assert "waiting: 1 messages" in user.stdout
    assert "N1" in queue.stdout
    assert json.loads(command(seen, "queue", "nobody", "--json").stdout)["entries"]
    assert command(seen, "user", "no jid").returncode == 1
    seen.drop_clients()


def test_the_commands_find_the_relay_by_the_environment(seen: Relay) -> None:
    environment = {**os.environ, "RELAY_DATA": str(seen.directory / "data")}

    result = subprocess.run(
        [sys.executable, "-m", "relay", "status"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert result.stdout.startswith("relay ")


def test_a_command_says_where_no_relay_runs(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "relay", "status", "--data", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert result.stderr == f"relay: {tmp_path} is no data directory of a relay; see --data\n"


def test_a_command_tells_by_its_exit_code_that_a_part_is_missing(relay: Relay) -> None:
    stopped = relay.children("worker")[0]
    stopped.process.suspend()
    try:
        result = command(relay, "status")
    finally:
        stopped.process.resume()

    assert result.returncode == 3
    assert "not asked: worker 0: it did not answer in time" in result.stderr


def test_a_relay_without_an_admin_says_so(shared_relay: Relay) -> None:
    result = command(shared_relay, "status")

    assert result.returncode == 1
    assert "answers no operators" in result.stderr
