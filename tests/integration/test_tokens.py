"""Mode "token" in a relay: who gets in, and for how long (PROTOCOL E1, 2.2.7)."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.auth.signing import SECRET, private_key, public_pem, write
from tests.integration.conftest import RelayStarter
from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, AUTH_SUCCESS, BOB, EMPTY_Q, Frame, ack_1, delivery
from tests.outside.processes import REPOSITORY
from tests.outside.relay import DEBUG, Relay
from tests.outside.waiting import poll_for

LOGOUT: Frame = ["Cmd", {"type": "disconnect", "kind": "logout"}]


def config(directory: Path, *, deny_file: str = "") -> str:
    secret = write(directory / "secret", SECRET)
    return (
        f'[auth]\nmode = "token"\ndeny_file = "{deny_file}"\n'
        f'[auth_token]\nleeway_s = 0\nsecret_file = "{secret}"\n'
    )


def token_of(user: str, *, key: Any = SECRET, left_s: float = 600, **claims: Any) -> str:
    claims = {"sub": user, "exp": time.time() + left_s, **claims}
    return jwt.encode(claims, key, "HS256" if key is SECRET else "EdDSA")


def auth(user: str, token: object = None) -> Frame:
    identity: dict[str, object] = {"remoteJid": user}
    if token is not None:
        identity["token"] = token
    return ["auth", {"type": "new"}, identity]


def logged_in(relay: Relay, user: str, token: str) -> SheetClient:
    client = relay.connect()
    client.send(auth(user, token))
    client.expect(AUTH_SUCCESS, EMPTY_Q)
    return client


def test_the_sheets_answer_and_traffic_are_as_ever_behind_a_token(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(config=config(tmp_path))
    alice, bob = (logged_in(relay, user, token_of(user)) for user in (ALICE, BOB))

    alice.send_message(BOB, "M")

    alice.expect(ack_1("M", author=ALICE, to=BOB))
    bob.expect(delivery("M", author=ALICE))


def test_2_2_4_whoever_shows_no_good_token_hears_401_and_is_closed_after_the_third(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(workers=1, config=config(tmp_path))
    client = relay.connect()

    client.send(auth(ALICE))
    assert client.expect_failure(401)[1]["reason"] == "token: a JWT is expected beside remoteJid"
    client.send(auth(ALICE, token_of(BOB)))
    client.expect_failure(401)
    client.send(auth(ALICE, 5))
    client.expect_failure(401)
    client.expect_close(4401)

    relay.stop()
    [line] = relay.log.events("front.stopped")
    assert line["logins_refused_401"] == 3
    assert "eyJ" not in relay.log.path.read_text()


def test_what_follows_a_refused_login_is_answered_as_before_it(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(workers=1, config=config(tmp_path))
    client = relay.connect()

    client.send(auth(ALICE, token_of(BOB)))
    client.send(auth(ALICE, token_of(ALICE)))

    client.expect_failure(401)
    client.expect(AUTH_SUCCESS, EMPTY_Q)


def test_e1_a_session_ends_with_its_token(start_relay: RelayStarter, tmp_path: Path) -> None:
    relay = start_relay(workers=1, config=config(tmp_path))
    alice = logged_in(relay, ALICE, token_of(ALICE, left_s=2))

    alice.expect(LOGOUT)
    alice.expect_close(4401)


def test_2_2_7_a_newer_token_keeps_the_session(start_relay: RelayStarter, tmp_path: Path) -> None:
    relay = start_relay(workers=1, config=config(tmp_path))
    short = logged_in(relay, BOB, token_of(BOB, left_s=2))
    alice = logged_in(relay, ALICE, token_of(ALICE, left_s=2))

    alice.send(auth(ALICE, token_of(ALICE)))

    alice.expect(AUTH_SUCCESS, EMPTY_Q)
    short.expect(LOGOUT)  # by then the other's first token has expired as well
    alice.send_message(ALICE, "M")
    alice.expect_in_any_order(ack_1("M", author=ALICE, to=ALICE), delivery("M", author=ALICE))


def test_2_2_7_a_refused_second_login_leaves_the_session_as_it_was(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(workers=1, config=config(tmp_path))
    alice = logged_in(relay, ALICE, token_of(ALICE))

    alice.send(auth(ALICE, token_of(ALICE, left_s=-5)))
    alice.expect_failure(401)
    alice.send(auth(BOB, token_of(BOB)))
    alice.expect_failure(405)
    alice.send_message(ALICE, "M")

    alice.expect_in_any_order(ack_1("M", author=ALICE, to=ALICE), delivery("M", author=ALICE))


def test_a_key_is_changed_while_the_relay_runs(start_relay: RelayStarter, tmp_path: Path) -> None:
    old, new = private_key("EdDSA"), private_key("EdDSA")
    key = tmp_path / "key.pem"
    write(key, public_pem(old), 0o644)
    relay = start_relay(
        workers=1,
        config='[auth]\nmode = "token"\n[auth_token]\nalgorithm = "EdDSA"\n'
        f'key_files = ["{key}"]\n',
    )
    logged_in(relay, ALICE, token_of(ALICE, key=old))

    write(tmp_path / "new.pem", public_pem(new), 0o644)
    (tmp_path / "new.pem").rename(key)

    poll_for("the new key to be read", lambda: bool(relay.log.events("auth.keys_read")))
    logged_in(relay, BOB, token_of(BOB, key=new))
    client = relay.connect()
    client.send(auth(ALICE, token_of(ALICE, key=old)))
    client.expect_failure(401)


def test_who_is_denied_is_sent_away_and_let_in_no_more(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    deny = tmp_path / "deny"
    deny.write_text("# nobody\n")
    relay = start_relay(workers=1, config=config(tmp_path, deny_file=str(deny)))
    alice = logged_in(relay, ALICE, token_of(ALICE))
    bob = logged_in(relay, BOB, token_of(BOB))

    (tmp_path / "new").write_text(f"user {ALICE}\n")
    (tmp_path / "new").rename(deny)

    alice.expect(LOGOUT)
    alice.expect_close(4401)
    bob.send_message(ALICE, "M")
    bob.expect(ack_1("M", author=BOB, to=ALICE))
    client = relay.connect()
    client.send(auth(ALICE, token_of(ALICE)))
    client.expect_failure(403)


@pytest.mark.parametrize(("content", "mode"), [(b"", 0o600), (b"short", 0o600), (SECRET, 0o644)])
def test_a_relay_whose_secret_is_unusable_does_not_start(
    tmp_path: Path, content: bytes, mode: int
) -> None:
    text = config(tmp_path)
    write(tmp_path / "secret", content, mode)
    (tmp_path / "relay.toml").write_text(text)

    options = ["--config", str(tmp_path / "relay.toml"), "--data", str(tmp_path / "data")]
    for more in ([], ["--check-config"]):
        done = subprocess.run(
            [sys.executable, "supervisor.py", "--port", "0", *options, *more],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 2
        assert "auth_token.secret_file: " in done.stderr
        assert not (tmp_path / "data").exists()


def test_the_commands_make_a_token_and_chat_with_it(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(workers=1, config=config(tmp_path))
    bob = logged_in(relay, BOB, token_of(BOB))
    made = run("token", "--user", ALICE, "--secret", str(tmp_path / "secret"))
    (tmp_path / "token").write_text(made.stdout)
    chat = ("chat", ALICE, "--to", BOB, "--url", relay.url, "--wait", "0")

    said = run(*chat, "--token-file", str(tmp_path / "token"), say="hello\n")
    refused = run(*chat, say="hello\n")

    assert said.returncode == 0, said.stderr
    frame = bob.recv()
    assert frame[2][0]["message"] == {"conversation": "hello"}
    assert refused.returncode == 1
    assert "login refused: token: a JWT is expected beside remoteJid (401)" in refused.stderr


def run(*arguments: str, say: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay", *arguments],
        cwd=REPOSITORY,
        input=say,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_e1_a_token_ends_for_one_who_does_not_read_its_queue_too(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    limits = "[flow]\nwrite_blocked_s = 3600\n"
    relay = start_relay(workers=1, config=config(tmp_path) + limits + DEBUG)
    bob = logged_in(relay, BOB, token_of(BOB))
    for number in range(100):
        bob.send_message(ALICE, f"M{number}", {"conversation": "x" * 60_000})
        bob.expect(ack_1(f"M{number}", author=BOB, to=ALICE))
    reader = relay.connect()
    reader.send(auth(ALICE, token_of(ALICE, left_s=1)))  # and reads nothing of what comes

    poll_for(
        "it to be sent away",
        lambda: any(gone["user"] == ALICE for gone in relay.log.events("client.gone")),
    )
