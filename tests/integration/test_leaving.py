"""Operators send users away: for the moment, or for good."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.outside.frames import auth_frame, delivery
from tests.outside.operator import Operator
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_admin import command


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    relay = start_relay(admin=True, fronts=2)
    Operator(relay).ask("/api/v1/status")
    return relay


def notice(kind: str) -> list[object]:
    return ["Cmd", {"type": "disconnect", "kind": kind}]


def test_a_user_who_is_kicked_hears_why_and_may_come_again(relay: Relay) -> None:
    client, other = relay.login("kim"), relay.login("lee")

    answer = Operator(relay).ask("/api/v1/users/kim@c.us/kick", method="POST")

    assert (answer.status, answer.json["sessions"], answer.json["not_asked"]) == (200, 1, [])
    assert client.recv() == notice("kicked")
    client.expect_close(1012)
    other.send_message("kim", "K1")
    other.recv()
    assert relay.login("kim").queued == [delivery("K1", author="lee")]
    again = Operator(relay).ask("/api/v1/users/nobody/kick", method="POST")
    assert (again.status, again.json["sessions"]) == (200, 0)


def test_a_user_who_is_banned_is_out_until_the_ban_is_lifted(relay: Relay) -> None:
    client = relay.login("mallory")
    operator = Operator(relay)

    first = operator.ask("/api/v1/users/mallory/ban", method="PUT", body={"reason": "spam"})

    assert (first.status, first.json["reason"], first.json["by"]) == (200, "spam", "socket")
    assert client.recv() == notice("logout")
    client.expect_close(4401)
    for _ in range(4):  # of both fronts
        with relay.connect() as refused:
            refused.send(auth_frame("mallory@c.us"))
            refused.expect_failure(403)
    second = operator.ask("/api/v1/users/mallory/ban", method="PUT", body={"reason": "other"})
    assert second.json == first.json
    assert [each["jid"] for each in operator.ask("/api/v1/bans").json["bans"]] == [
        "mallory@s.whatsapp.com"
    ]

    lifted = operator.ask("/api/v1/users/mallory/ban", method="DELETE")
    assert (lifted.status, lifted.json["was_banned"]) == (200, True)

    def may_come() -> bool:
        with relay.connect() as client:
            client.send(auth_frame("mallory@c.us"))
            return "success" in json.dumps(client.recv())

    poll_for("the ban to be lifted", may_come)
    again = operator.ask("/api/v1/users/mallory/ban", method="DELETE")
    assert (again.status, again.json["was_banned"]) == (200, False)


def test_a_ban_outlives_the_relay_and_another_number_of_workers(
    relay: Relay, tmp_path: Path
) -> None:
    assert Operator(relay).ask("/api/v1/users/mia/ban", method="PUT", body={}).status == 200
    relay.kill_everything()
    relay._workers = 3

    relay.start()

    with relay.connect() as refused:
        refused.send(auth_frame("mia@c.us"))
        refused.expect_failure(403)
    backup(relay, tmp_path / "copy")
    bans = json.loads((tmp_path / "copy" / "banned.json").read_text())["bans"]
    assert [each["user"] for each in bans] == ["mia"]


def backup(relay: Relay, to: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "relay", "backup", str(relay.directory / "data"), str(to)],
        cwd=REPOSITORY,
        check=True,
        timeout=60,
        capture_output=True,
    )


def test_what_operators_do_is_logged_once_with_who(relay: Relay) -> None:
    Operator(relay).ask("/api/v1/users/kim/kick", method="POST")
    Operator(relay).ask("/api/v1/users/kim/ban", method="PUT", body={"reason": "a secret"})

    poll_for("the lines", lambda: len(relay.log.events("admin.acted")) == 2)
    lines = relay.log.events("admin.acted")
    assert [(line["action"], line["by"], line["user"]) for line in lines] == [
        ("kick", "socket", "kim"),
        ("ban", "socket", "kim"),
    ]
    assert "a secret" not in relay.log.text()


def test_a_front_that_is_stopped_is_named(relay: Relay) -> None:
    stopped = relay.children("front")[0]
    stopped.process.send_signal(signal.SIGSTOP)
    try:
        answer = Operator(relay).ask("/api/v1/users/kim/ban", method="PUT", body={})
    finally:
        stopped.process.send_signal(signal.SIGCONT)
    assert answer.status == 200
    assert [each["role"] for each in answer.json["not_asked"]] == ["front"]


def test_what_cannot_be_is_refused(relay: Relay) -> None:
    operator = Operator(relay)
    assert operator.ask("/api/v1/users/a%20b/kick", method="POST").status == 400
    long = {"reason": "x" * 201}
    assert operator.ask("/api/v1/users/kim/ban", method="PUT", body=long).status == 400
    assert operator.ask("/api/v1/bans?limit=0").status == 400


def test_the_commands_send_away(relay: Relay) -> None:
    client = relay.login("kim")
    assert "kim@s.whatsapp.com: 1 sessions closed" in command(relay, "kick", "kim").stdout
    assert client.recv() == notice("kicked")
    client.expect_close(1012)
    assert "banned for" in command(relay, "ban", "kim", "--reason", "spam").stdout
    assert "spam" in command(relay, "bans").stdout
    assert "may log in again" in command(relay, "unban", "kim").stdout
    assert command(relay, "unban", "kim").returncode == 0
