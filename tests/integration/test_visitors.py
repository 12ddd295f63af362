"""Who comes and goes, in the log of a relay; and what clients say and hold secret, which is not."""

from __future__ import annotations

import json
import time
from itertools import chain
from pathlib import Path

import jwt
import pytest

from tests.auth.signing import SECRET, write
from tests.outside.frames import (
    ALICE,
    AUTH_SUCCESS,
    BOB,
    GROUP,
    ack_1,
    auth_frame,
    delivery,
    element,
    user_jid,
)
from tests.outside.relay import DEBUG
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzZWNyZXQifQ.c2lnbmVkLWJ5LXVz"
TEXT = "nobody is to read this but her"


def test_logins_logouts_and_closes_are_lines_of_the_debug_level(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1, config=DEBUG)
    alice = relay.login(ALICE)
    address = f"127.0.0.1:{alice.local_port}"
    alice.drop()

    poll_for("its end", lambda: bool(relay.log.events("client.gone")))
    lines = {
        what: relay.log.events(f"client.{what}")
        for what in ("connected", "logged_in", "logged_out", "gone")
    }
    assert {len(found) for found in lines.values()} == {1}
    assert len({line["session"] for [line] in lines.values()}) == 1
    assert {line["address"] for [line] in lines.values()} == {address}
    assert {lines[what][0]["user"] for what in ("logged_in", "logged_out", "gone")} == {ALICE}


def test_a_close_is_told_with_its_codes_also_of_who_came_before_the_debug_level(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(workers=1)
    alice = relay.login(ALICE)
    stranger = relay.connect()
    relay.config_path.write_text(DEBUG)
    relay.reload()
    poll_for("the level", lambda: len(relay.log.events("settings.taken")) == 2)

    for _ in range(3):
        stranger.send(["auth", {"type": "new"}, {"remoteJid": 1}])
    poll_for("its end", lambda: bool(relay.log.events("client.gone")))
    replaced = relay.login(ALICE)
    poll_for("her end", lambda: len(relay.log.events("client.gone")) == 2)

    refused = relay.log.events("client.login_refused")
    assert [line["code"] for line in refused] == [400, 400, 400]
    thrown_out, taken_over = relay.log.events("client.gone")
    assert (thrown_out["user"], thrown_out["close_sent"]) == ("", 4401)
    assert thrown_out["address"] == f"127.0.0.1:{stranger.local_port}"
    assert (taken_over["user"], taken_over["close_sent"]) == (ALICE, 4409)
    assert taken_over["address"] == f"127.0.0.1:{alice.local_port}"
    replaced.drop()


def test_a_front_tells_in_sums_who_came_and_went_and_nothing_where_nobody_did(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(workers=1, config="[log]\nvisitors_s = 0.1\n")
    alice, bob = relay.logged_in(ALICE, BOB)
    alice.send(auth_frame(user_jid(BOB)))
    assert alice.recv()[1]["code"] == 405
    alice.drop()

    def sums(key: str) -> int:
        return sum(line.get(key, 0) for line in relay.log.events("front.visitors"))

    poll_for("the lines", lambda: sums("logouts") == 1)
    lines = relay.log.events("front.visitors")
    assert (sums("logins"), sums("logins_refused_405")) == (2, 1)
    assert lines[-1]["sessions"] == 1
    assert lines[0]["process"] == "front-0"

    bob.drop()
    poll_for("his end", lambda: sums("logouts") == 2)
    assert relay.log.events("front.visitors")[-1]["sessions"] == 0
    # At most one for each that has happened.
    assert len(relay.log.events("front.visitors")) <= 5


def test_no_token_and_no_text_is_in_any_line(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=2, config=f"{DEBUG}visitors_s = 0.1\n")
    alice, bob = relay.connect(), relay.login(BOB)
    alice.user = ALICE
    alice.send(["auth", {"type": "new"}, {"remoteJid": user_jid(ALICE), "token": TOKEN}])
    alice.expect(AUTH_SUCCESS)
    alice.recv()
    for to, name in ((BOB, "M"), (GROUP, "G")):
        alice.send_message(to, name, {"conversation": TEXT})
        alice.expect(ack_1(name, author=ALICE, to=to))
    bob.expect(delivery("M", author=ALICE, message={"conversation": TEXT}))
    # And what cannot be understood, in all of its forms.
    stranger = relay.connect()
    for nonsense in (
        ["auth", {"type": "new"}, {"remoteJid": f"{TOKEN} {TEXT}", "token": TEXT}],
        ["auth", {"type": "new"}, {"remoteJid": 1, "token": [TOKEN, TEXT]}],
    ):
        stranger.send(nonsense)
    for text in (
        json.dumps(["action", {TEXT: TOKEN}]),
        json.dumps([TOKEN, TEXT]),
        f'["action", "{TOKEN} {TEXT}',
        f"{TOKEN}{TEXT}",
        json.dumps(["action", element(BOB, TOKEN, TEXT)]),
    ):
        alice.send(text)
    alice.send(f"{TOKEN}{TEXT}".encode())
    poll_for("the lines", lambda: bool(relay.log.events("front.visitors")))
    alice.drop()
    poll_for("her end", lambda: bool(relay.log.events("client.gone")))
    relay.drop_clients()
    relay.stop()

    logged = relay.log.text()
    assert "front.stopped" in logged
    assert "client.logged_out" in logged
    for secret in chain([TOKEN, TEXT], TOKEN.split(".")):
        assert secret not in logged


def test_no_token_is_in_any_line_where_tokens_count(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    secret = write(tmp_path / "secret", SECRET)
    config = f'[auth]\nmode = "token"\n[auth_token]\nsecret_file = "{secret}"\n'
    relay = start_relay(workers=1, config=config + DEBUG)

    def token(left_s: int, key: bytes | str = SECRET) -> str:
        return jwt.encode({"sub": ALICE, "exp": int(time.time()) + left_s}, key, "HS256")

    good, *bad = token(600), token(-600), token(600, b"another secret of thirty-two bytes"), TOKEN
    alice, stranger = relay.connect(), relay.connect()
    for client, shown in [(alice, good), *((stranger, each) for each in bad)]:
        client.send(["auth", {"type": "new"}, {"remoteJid": user_jid(ALICE), "token": shown}])
        client.recv()
    poll_for("the third refusal", lambda: len(relay.log.events("client.login_refused")) == 3)
    relay.drop_clients()
    relay.stop()

    [login] = relay.log.events("client.logged_in")
    assert login["user"] == ALICE
    assert [line["code"] for line in relay.log.events("client.login_refused")] == [401] * 3
    logged = relay.log.text()
    for part in chain.from_iterable(each.split(".") for each in (good, *bad)):
        assert part not in logged
