"""Operators throw away, back up and check through the admin, which may die amid that."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from tests.outside.frames import ALICE, BOB
from tests.outside.operator import Answer, Operator
from tests.outside.ports import free_port
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_admin import TOKENS, command

pytestmark = pytest.mark.ordeal


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def relay(start_relay: RelayStarter, backups: Path) -> Relay:
    # Workers that a test stops are not to be taken for hung, however busy this machine is.
    config = f'[supervisor]\nhung_after_s = 60.0\n[admin]\nbackup_directory = "{backups}"\n'
    relay = start_relay(admin=True, config=config)
    Operator(relay).ask("/api/v1/status")
    return relay


def post(relay: Relay, path: str, body: object) -> Answer:
    return Operator(relay).ask(f"/api/v1/{path}", method="POST", body=body)


def ended(relay: Relay, answer: Answer) -> Any:
    """Return the operation that was asked for, once it has ended."""
    found = answer.json
    assert answer.status == 200, found

    def has_ended() -> bool:
        nonlocal found
        if found["state"] == "running":
            found = Operator(relay).ask(f"/api/v1/operations/{found['id']}").json
        return bool(found["state"] != "running")

    poll_for("the end of the operation", has_ended, deadline_s=60)
    return found


def fill(relay: Relay, *users: str, messages: int = 3) -> None:
    author = relay.login("writer")
    for user in users:
        for n in range(messages):
            author.send_message(user, f"{user}-{n}")
            author.recv()
    relay.drop_clients()


def waiting_for(relay: Relay, user: str) -> int:
    found: int = Operator(relay).ask(f"/api/v1/users/{user}").json["waiting_messages"]
    return found


def tools_of(relay: Relay) -> list[Any]:
    """Return the tools that run on the relay's data."""
    data = str(relay.directory / "data")
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "workers.store" in words and any(word.startswith(data) for word in words):
            found.append(process)
    return found


def next_admin(relay: Relay, before: int) -> None:
    """Wait until another admin answers."""

    def is_back() -> bool:
        now = [each.process.pid for each in relay.children("admin")]
        return bool(now) and now != [before]

    poll_for("the next admin", is_back)

    def answers() -> bool:
        try:
            return Operator(relay).ask("/api/v1/status").status == 200
        except OSError:
            return False

    poll_for("its answer", answers)


# --- purge ---


def test_what_waits_for_a_user_is_counted_and_then_goes(relay: Relay) -> None:
    fill(relay, ALICE, BOB)

    counted = ended(relay, post(relay, "purge", {"user": f"{ALICE}@c.us"}))

    assert (counted["state"], counted["counts"]["messages"], counted["counts"]["known"]) == (
        *("done", 3, 3),
    )
    assert "would go" in counted["detail"]
    assert waiting_for(relay, ALICE) == 3
    gone = ended(relay, post(relay, "purge", {"user": ALICE, "dry_run": False}))
    assert (gone["state"], gone["counts"]) == ("done", counted["counts"])
    assert (waiting_for(relay, ALICE), waiting_for(relay, BOB)) == (0, 3)
    assert relay.login(ALICE).queued == []


def test_what_waits_too_long_goes_of_everybody(relay: Relay) -> None:
    fill(relay, ALICE, BOB)

    young = ended(relay, post(relay, "purge", {"older_than_s": 3600, "dry_run": False}))
    old = ended(relay, post(relay, "purge", {"older_than_s": 0, "dry_run": False}))

    assert (young["counts"]["messages"], old["counts"]["messages"]) == (0, 6)
    assert (waiting_for(relay, ALICE), waiting_for(relay, BOB)) == (0, 0)


@pytest.mark.parametrize(
    "body", [{}, {"user": ALICE, "older_than_s": 1}, {"user": "no jid"}, {"older_than_s": -1}]
)
def test_a_purge_of_nothing_or_of_what_is_none_is_refused(relay: Relay, body: object) -> None:
    assert post(relay, "purge", body).status == 400


def test_the_purge_command_counts_asks_and_does_it(relay: Relay) -> None:
    fill(relay, ALICE)

    counted = command(relay, "purge", ALICE, "--dry-run")
    unasked = command(relay, "purge", ALICE)
    assert (counted.returncode, "3 messages" in counted.stdout) == (0, True)
    assert (unasked.returncode, "--yes" in unasked.stderr) == (2, True)
    assert waiting_for(relay, ALICE) == 3
    done = command(relay, "purge", ALICE, "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)["counts"]["messages"]) == (0, 3)
    assert waiting_for(relay, ALICE) == 0
    assert command(relay, "purge").returncode == 2
    assert command(relay, "purge", "--older-than", "soon", "--yes").returncode == 2


def test_a_purge_amid_which_the_admin_dies_is_completed_by_another(relay: Relay) -> None:
    fill(relay, ALICE, messages=50)
    workers = relay.children("worker")
    for worker in workers:  # so that the purge waits for them
        worker.process.send_signal(signal.SIGSTOP)
    try:
        begun = post(relay, "purge", {"user": ALICE, "dry_run": False})
        assert begun.json["state"] == "running"
        orders = relay.directory / "data" / "orders"
        poll_for("the order", lambda: bool(list(orders.glob("*.json"))))
        admin = relay.child("admin")
        admin.process.kill()
        poll_for("the end of the tool", lambda: not tools_of(relay))
        assert not list(orders.glob("*.json"))
    finally:
        for worker in workers:
            worker.process.send_signal(signal.SIGCONT)
    next_admin(relay, admin.process.pid)
    assert Operator(relay).ask(f"/api/v1/operations/{begun.json['id']}").status == 404

    again = ended(relay, post(relay, "purge", {"user": ALICE, "dry_run": False}))

    assert (again["state"], again["counts"]["messages"]) == ("done", 50)
    assert relay.login(ALICE).queued == []


# --- backup and check ---


def test_a_backup_is_made_named_listed_and_checked(relay: Relay, backups: Path) -> None:
    fill(relay, ALICE)

    made = ended(relay, post(relay, "backups", {"name": "monday"}))

    assert (made["state"], made["counts"]["findings"]) == ("done", 0)
    assert str(backups / "monday") in made["detail"]
    assert [path.name for path in backups.glob("[!.]*")] == ["monday"]
    assert not list(backups.glob(".*.partial"))
    listed = Operator(relay).ask("/api/v1/backups").json["backups"]
    assert [each["name"] for each in listed] == ["monday"]
    checked = ended(relay, post(relay, "check", {"backup": "monday"}))
    assert (checked["state"], "nothing is wrong" in checked["detail"]) == ("done", True)
    assert post(relay, "backups", {"name": "monday"}).status == 409
    assert post(relay, "check", {"backup": "sunday"}).status == 404


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/tmp/x", ".hidden", "x" * 101])
def test_a_backup_goes_nowhere_else(relay: Relay, backups: Path, name: str) -> None:
    assert post(relay, "backups", {"name": name}).status == 400
    assert not backups.exists()


@pytest.mark.parametrize("to", ["nowhere", "name", "elsewhere"])
def test_a_name_that_is_a_link_is_taken(relay: Relay, backups: Path, to: str) -> None:
    backups.mkdir()
    elsewhere = backups.with_name("elsewhere")
    elsewhere.mkdir()
    (backups / "name").symlink_to(backups.with_name(to) if to != "name" else backups / "name")

    answer = post(relay, "backups", {"name": "name"})

    assert (answer.status, "is there already" in answer.json["detail"]) == (409, True)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_in_the_way_of_a_backup_is_removed_and_nothing_behind_it(
    relay: Relay, backups: Path, kind: str
) -> None:
    backups.mkdir()
    elsewhere = backups.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    if kind == "link":
        (backups / ".monday.partial").symlink_to(elsewhere)
    else:
        (backups / ".monday.partial").touch()

    assert ended(relay, post(relay, "backups", {"name": "monday"}))["state"] == "done"
    assert (elsewhere / "kept").exists()
    assert not list(backups.glob(".*.partial"))


def test_without_a_directory_for_them_no_backup_is_made(start_relay: RelayStarter) -> None:
    relay = start_relay(admin=True)

    refused = post(relay, "backups", {"name": "monday"})

    assert (refused.status, "backup_directory" in refused.json["detail"]) == (409, True)


def test_over_tcp_a_token_that_only_reads_may_do_none_of_it(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    port, tokens = free_port(), tmp_path / "tokens"
    tokens.write_text(f"{TOKENS['read']} read\n")
    tokens.chmod(0o600)
    relay = start_relay(admin=True, config=f'[admin]\nport = {port}\ntoken_file = "{tokens}"\n')
    poll_for("the port", lambda: bool(relay.log.events("admin.port_served")))

    for path in ("purge", "backups", "check", "messages"):
        answer = subprocess.run(
            [
                *("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"),
                *("-H", f"Authorization: Bearer {TOKENS['read']}", "-d", "{}"),
                *("-H", "Content-Type: application/json"),
                f"http://127.0.0.1:{port}/api/v1/{path}",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout == "403", path


def test_a_backup_amid_which_the_admin_dies_leaves_nothing_and_can_be_made_again(
    relay: Relay, backups: Path
) -> None:
    fill(relay, ALICE)
    # Amid the copy: the tool is stopped as soon as it has begun.
    begun = post_in_background(relay, "monday")
    stopped = caught(lambda: tools_of(relay))
    try:
        admin = relay.child("admin")
        admin.process.kill()
        begun.communicate(timeout=30)
    finally:
        for process in stopped:
            process.resume()
    next_admin(relay, admin.process.pid)

    again = ended(relay, post(relay, "backups", {"name": "monday"}))

    assert again["state"] == "done"
    assert [path.name for path in backups.glob("[!.]*")] == ["monday"]
    assert not list(backups.glob(".*.partial"))
    poll_for("the end of all tools", lambda: not tools_of(relay))


def post_in_background(relay: Relay, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "relay", "backup", name),
            *("--data", str(relay.directory / "data")),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def caught(find: Callable[[], list[Any]]) -> list[Any]:
    """Stop processes as soon as there are some, and return them."""
    found: list[Any] = []

    def is_there() -> bool:
        found[:] = find()
        return bool(found)

    poll_for("a tool", is_there)
    for process in found:
        process.suspend()
    return found


def test_one_tool_runs_at_a_time(relay: Relay) -> None:
    first = post_in_background(relay, "monday")
    stopped = caught(lambda: tools_of(relay))
    try:
        second = post(relay, "check", {})
    finally:
        for process in stopped:
            process.resume()

    assert (second.status, "backup monday runs" in second.json["detail"]) == (409, True)
    assert "done" in first.communicate(timeout=30)[0]
    assert ended(relay, post(relay, "check", {}))["state"] == "done"


def test_the_commands_back_up_and_check_a_relay_that_runs(relay: Relay, backups: Path) -> None:
    fill(relay, ALICE)

    made, checked = command(relay, "backup", "monday"), command(relay, "check")

    assert made.returncode == 0
    assert made.stdout.startswith("backup monday: done: ")
    assert (checked.returncode, "nothing is wrong" in checked.stdout) == (0, True)
    assert (backups / "monday" / "meta.json").exists()


@pytest.mark.timeout(120)  # the command waits for 15 s
def test_a_stop_amid_a_backup_undoes_it(relay: Relay, backups: Path) -> None:
    fill(relay, ALICE)
    making = post_in_background(relay, "monday")
    stopped = caught(lambda: tools_of(relay))
    try:
        relay.stop()
    finally:
        for process in stopped:
            process.resume()

    poll_for("the end of all tools", lambda: not tools_of(relay))
    assert not (backups / "monday").exists()
    assert not any((backups / ".monday.partial").glob("gen-*"))
    assert "unknown: no relay runs" in making.communicate(timeout=40)[0]
    assert making.returncode == 3
    relay.start()
    assert ended(relay, post(relay, "backups", {"name": "tuesday"}))["state"] == "done"
    assert not list(backups.glob(".*.partial"))
