"""Operators revoke tokens: at once, for good, and whatever dies meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, AUTH_SUCCESS, BOB, CAROL, EMPTY_Q
from tests.outside.operator import Answer, Operator
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_admin import command
from .test_tokens import LOGOUT, auth, config, logged_in, token_of

REVOKED = "token: it was revoked"


@pytest.fixture
def relay(start_relay: RelayStarter, tmp_path: Path) -> Relay:
    """Two fronts, in mode "token"; its clock and that of who makes tokens are one."""
    relay = start_relay(admin=True, fronts=2, workers=1, config=config(tmp_path))
    Operator(relay).ask("/api/v1/status")
    return relay


def post(relay: Relay, what: str, **body: Any) -> Answer:
    return Operator(relay).ask(f"/api/v1/tokens/{what}", method="POST", body=body)


def revoked(relay: Relay) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Operator(relay).ask("/api/v1/tokens/revoked").json["revocations"]
    return found


def refused(relay: Relay, user: str, token: str) -> list[str]:
    """Say why a login is refused, of as many as are of both fronts."""
    found = []
    for _ in range(4):
        with relay.connect() as client:
            client.send(auth(user, token))
            found.append(str(client.expect_failure(401)[1]["reason"]))
    return found


def came_in(relay: Relay, user: str, token: str) -> SheetClient:
    """Log in, as soon as that is possible."""
    found: list[SheetClient] = []

    def may() -> bool:
        client = relay.connect()
        client.send(auth(user, token))
        if "success" in json.dumps(client.recv()):
            found.append(client)
        else:
            client.drop()
        return bool(found)

    poll_for("the login", may)
    found[0].expect(EMPTY_Q)
    return found[0]


# The relay gives no leeway here and tells the time in whole milliseconds: now may be its future.
ISSUED_AGO_S = 1.0


def issued(user: str, ago_s: float = ISSUED_AGO_S, **claims: Any) -> str:
    return token_of(user, iat=time.time() - ago_s, **claims)


def test_a_token_is_revoked_by_its_id_and_no_other(relay: Relay) -> None:
    one, other = issued(ALICE, jti="t1"), issued(ALICE, jti="t2")
    client = logged_in(relay, ALICE, one)
    bob = logged_in(relay, BOB, issued(BOB, jti="t3"))

    first = post(relay, "revoke", id="t1", reason="stolen")

    assert (first.status, first.json["by"], first.json["reason"]) == (200, "socket", "stolen")
    assert (first.json["id"], first.json["jid"], first.json["not_asked"]) == ("t1", None, [])
    client.expect(LOGOUT)
    client.expect_close(4401)
    assert set(refused(relay, ALICE, one)) == {REVOKED}
    logged_in(relay, ALICE, other)
    bob.expect_nothing()
    assert post(relay, "revoke", id="t1", reason="again").json == first.json
    assert [each["id"] for each in revoked(relay)] == ["t1"]

    undone = post(relay, "restore", id="t1")
    assert (undone.status, undone.json["was_revoked"]) == (200, True)
    came_in(relay, ALICE, one)
    assert post(relay, "restore", id="t1").json["was_revoked"] is False
    assert revoked(relay) == []


def test_fronts_hear_of_it_at_once_and_not_at_their_next_sign_of_life(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    rarely = "[supervisor]\nheartbeat_s = 30.0\nhung_after_s = 120.0\n"
    relay = start_relay(admin=True, fronts=2, workers=1, config=config(tmp_path) + rarely)
    token = issued(ALICE, jti="t1")
    client = logged_in(relay, ALICE, token)

    assert post(relay, "revoke", id="t1").json["not_asked"] == []

    client.expect(LOGOUT)
    client.expect_close(4401)
    assert set(refused(relay, ALICE, token)) == {REVOKED}
    post(relay, "restore", id="t1")
    came_in(relay, ALICE, token)


def test_all_tokens_of_a_user_of_until_now_are_revoked_and_a_new_one_is_good(
    relay: Relay,
) -> None:
    old, silent = issued(ALICE, 60), token_of(ALICE)
    client = logged_in(relay, ALICE, old)
    of_bob = issued(BOB, 60)

    done = post(relay, "revoke", user=f"{ALICE}@c.us")

    assert (done.status, done.json["jid"]) == (200, f"{ALICE}@s.whatsapp.com")
    assert abs(done.json["issued_before_s"] - time.time()) < 10
    client.expect(LOGOUT)
    client.expect_close(4401)
    assert set(refused(relay, ALICE, old)) == {REVOKED}
    assert set(refused(relay, ALICE, silent)) == {REVOKED}  # nobody knows when it was issued
    logged_in(relay, BOB, of_bob)
    later_s = done.json["issued_before_s"] + ISSUED_AGO_S
    poll_for("a moment to pass", lambda: time.time() >= later_s)
    logged_in(relay, ALICE, issued(ALICE))
    assert "its tokens were revoked" not in str(
        Operator(relay).ask(f"/api/v1/users/{ALICE}").json["says"]
    )
    relay.drop_clients()
    poll_for(
        "it to be said why",
        lambda: (
            "its tokens were revoked"
            in str(Operator(relay).ask(f"/api/v1/users/{ALICE}").json["says"])
        ),
    )


def test_a_moment_of_before_leaves_those_that_were_issued_since(relay: Relay) -> None:
    old, young = issued(ALICE, 600), issued(ALICE, 60)

    moment_s = int(time.time()) - 300
    assert post(relay, "revoke", user=ALICE, issued_before_s=moment_s).status == 200

    assert set(refused(relay, ALICE, old)) == {REVOKED}
    logged_in(relay, ALICE, young)


def test_tokens_of_an_issuer_whose_clock_is_ahead_are_revoked_too(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    lenient = config(tmp_path).replace("leeway_s = 0", "leeway_s = 60")
    relay = start_relay(admin=True, workers=1, config=lenient)
    token = issued(ALICE, -30)
    logged_in(relay, ALICE, token)

    post(relay, "revoke", user=ALICE)

    assert set(refused(relay, ALICE, token)) == {REVOKED}


def test_it_outlives_every_process_another_number_of_workers_and_is_in_backups(
    relay: Relay, tmp_path: Path
) -> None:
    token = issued(ALICE, jti="t1")
    assert post(relay, "revoke", id="t1").status == 200
    relay.kill_everything()
    relay._workers = 3

    relay.start()

    assert set(refused(relay, ALICE, token)) == {REVOKED}
    data, copy = relay.directory / "data", tmp_path / "copy"
    subprocess.run(
        [sys.executable, "-m", "relay", "backup", str(data), str(copy)],
        cwd=REPOSITORY,
        check=True,
        timeout=60,
        capture_output=True,
    )
    assert (copy / "revoked.json").read_bytes() == (data / "revoked.json").read_bytes()


def test_it_is_on_the_disk_before_it_is_answered_and_read_by_fronts_that_nobody_told(
    relay: Relay,
) -> None:
    """The admin is killed with its answer on the way, each time: what it had done stands."""
    token = issued(ALICE, jti="t1")
    client = logged_in(relay, ALICE, token)
    stopped = relay.children("front")
    for front in stopped:
        front.process.send_signal(signal.SIGSTOP)
    try:
        answer = post(relay, "revoke", id="t1")
        admin = relay.child("admin")
        admin.process.kill()
    finally:
        for front in stopped:
            front.process.send_signal(signal.SIGCONT)

    assert answer.status == 200
    assert {each["role"] for each in answer.json["not_asked"]} == {"front"}
    client.expect(LOGOUT)
    client.expect_close(4401)
    poll_for("the next admin", lambda: relay.children("admin") not in ([], [admin]))
    assert [each["id"] for each in revoked(relay)] == ["t1"]
    assert set(refused(relay, ALICE, token)) == {REVOKED}


def test_one_that_has_expired_is_listed_no_more(relay: Relay) -> None:
    expires_s = int(time.time()) + 2
    post(relay, "revoke", id="short", expires_s=expires_s)
    post(relay, "revoke", id="long", expires_s=expires_s + 1000)
    assert [each["expires_s"] for each in revoked(relay)] == [expires_s, expires_s + 1000]

    poll_for("the end of it", lambda: [each["id"] for each in revoked(relay)] == ["long"])


def test_they_come_a_page_at_a_time(relay: Relay) -> None:
    for n in range(5):
        assert post(relay, "revoke", id=f"t{n}").status == 200
    pages: list[list[str]] = []
    after = 0
    while not pages or after:
        page = Operator(relay).ask(f"/api/v1/tokens/revoked?limit=2&after={after}").json
        pages.append([each["id"] for each in page["revocations"]])
        after = page["next"]

    assert pages == [["t0", "t1"], ["t2", "t3"], ["t4"]]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": "t1", "user": ALICE},
        {"user": "no jid"},
        {"id": "x" * 1001},
        {"id": "t1", "issued_before_s": 1000},
        {"id": "t1", "expires_s": 1000},
        {"id": "t1", "expires_s": 1 << 41},
        {"user": ALICE, "issued_before_s": 1 << 35},
        {"user": ALICE, "issued_before_s": 0},
        {"id": "t1", "reason": "x" * 201},
        {"id": 5},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_changes_nothing(shared: Relay, body: Any) -> None:
    answer = Operator(shared).ask("/api/v1/tokens/revoke", method="POST", body=body)

    assert answer.status == 400, answer.body
    assert answer.json["detail"]
    assert revoked(shared) == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Relay(admin=True, workers=1, config=config(tmp_path_factory.mktemp("s"))) as relay:
        Operator(relay).ask("/api/v1/status")
        yield relay


def test_where_no_tokens_are_that_is_said(start_relay: RelayStarter) -> None:
    relay = start_relay(admin=True, workers=1)
    Operator(relay).ask("/api/v1/status")

    for words in (("revoke", "t1"), ("restore", "--user", ALICE), ("list",)):
        done = command(relay, "tokens", *words)
        assert done.returncode == 1
        assert 'auth.mode is "open": only in mode "token"' in done.stderr
    assert not (relay.directory / "data" / "revoked.json").exists()
    assert Operator(relay).ask(f"/api/v1/users/{ALICE}").json["has_tokens"] is False


def test_what_operators_do_is_logged_once_with_who_and_without_why(relay: Relay) -> None:
    post(relay, "revoke", id="t1", reason="a secret")
    post(relay, "restore", user=ALICE)

    poll_for("the lines", lambda: len(relay.log.events("admin.acted")) == 2)
    lines = relay.log.events("admin.acted")
    assert [(e["action"], e["by"], e.get("token_id"), e.get("user")) for e in lines] == [
        ("revoke tokens", "socket", "t1", None),
        ("restore tokens", "socket", None, ALICE),
    ]
    assert "a secret" not in relay.log.text()


def test_the_list_holds_beside_the_operators_own_file(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    deny = tmp_path / "deny"
    deny.write_text("token t0\n")
    relay = start_relay(admin=True, workers=1, config=config(tmp_path, deny_file=str(deny)))
    post(relay, "revoke", id="t1")

    for name in ("t0", "t1"):
        assert set(refused(relay, ALICE, issued(ALICE, jti=name))) == {REVOKED}
    logged_in(relay, ALICE, issued(ALICE, jti="t2"))
    post(relay, "restore", id="t0")  # it is not here that it is denied
    assert set(refused(relay, ALICE, issued(ALICE, jti="t0"))) == {REVOKED}


def test_a_session_that_has_shown_a_newer_token_goes_on(relay: Relay) -> None:
    client = logged_in(relay, CAROL, issued(CAROL, jti="t1"))
    client.send(auth(CAROL, issued(CAROL, jti="t2")))
    client.expect(AUTH_SUCCESS, EMPTY_Q)

    post(relay, "revoke", id="t1")
    client.expect_nothing()

    post(relay, "revoke", id="t2")
    client.expect(LOGOUT)
    client.expect_close(4401)


def test_the_commands_revoke_and_restore(relay: Relay, tmp_path: Path) -> None:
    leaked = tmp_path / "leaked"
    leaked.write_text(issued(ALICE, jti="t1") + "\n")
    nameless = tmp_path / "nameless"
    nameless.write_text(issued(ALICE))

    assert (
        "token t1: revoked for "
        in command(relay, "tokens", "revoke", "--token-file", str(leaked)).stdout
    )
    assert revoked(relay)[0]["expires_s"] > time.time()
    done = command(relay, "tokens", "revoke", "--user", ALICE, "--reason", "spam")
    assert f"tokens of {ALICE}@s.whatsapp.com issued before 20" in done.stdout
    listed = command(relay, "tokens", "list").stdout
    assert "token t1" in listed
    assert "spam" in listed
    assert "more: --after 1" in command(relay, "tokens", "list", "--limit", "1").stdout
    assert "t1: restored" in command(relay, "tokens", "restore", "t1").stdout
    again = command(relay, "tokens", "restore", "t1")
    assert (again.returncode, "nothing was revoked" in again.stdout) == (0, True)
    assert command(relay, "tokens", "restore", "--user", ALICE).returncode == 0
    assert "no token is revoked" in command(relay, "tokens", "list").stdout

    refused = command(relay, "tokens", "revoke", "--token-file", str(nameless))
    assert refused.returncode == 1
    assert f"relay tokens revoke --user {ALICE}" in refused.stderr
    for words in (
        ("revoke",),
        ("revoke", "t1", "--user", ALICE),
        ("revoke", "t1", "--issued-before", "2026-01-01"),
        ("revoke", "t1", "--expires", "soon"),
        ("restore",),
    ):
        assert command(relay, "tokens", *words).returncode == 2
