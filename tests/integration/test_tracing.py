"""What operators see of one user's frames, and of one message."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.outside.frames import ALICE, BOB, CAROL, GROUP
from tests.outside.operator import Operator
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal


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


class Follower:
    """Traces one user: what it has got so far is in `events` and `gaps`."""

    def __init__(self, relay: Relay, user: str, more: str = "", token: str = "") -> None:
        self._operator = Operator(relay)
        self._path = f"/api/v1/users/{user}/trace?{more}cursor="
        self._token = token
        self._cursor = ""
        self.events: list[dict[str, Any]] = []
        self.gaps: list[dict[str, Any]] = []
        self.not_asked: list[dict[str, Any]] = []
        self.ask()

    def ask(self) -> None:
        answer = self._operator.ask(self._path + self._cursor, token=self._token)
        assert answer.status == 200, answer.body
        self.events += answer.json["events"]
        self.gaps += answer.json["gaps"]
        self.not_asked = answer.json["not_asked"]
        self._cursor = answer.json["cursor"]

    def story(self, message_id: str) -> list[tuple[str, str, str]]:
        return [
            (each["role"], each["what"], each["kind"])
            for each in self.events
            if message_id in each["ids"]
        ]

    def until_seen(self, message_id: str, *event: str) -> None:
        def is_seen() -> bool:
            self.ask()
            return event in self.story(message_id)

        poll_for(f"{event} of {message_id}", is_seen)

    def until(self, message_id: str, *last: str) -> list[tuple[str, str, str]]:
        def is_there() -> bool:
            self.ask()
            return self.story(message_id)[-1:] == [last]

        poll_for(f"{last} of {message_id}", is_there)
        return self.story(message_id)


def command(relay: Relay, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay", *arguments, "--data", str(relay.directory / "data")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


# --- a trace ---


def test_an_authors_message_is_seen_in_every_process_that_it_passes(seen: Relay) -> None:
    alice, bob = seen.logged_in(ALICE, BOB)
    follower = Follower(seen, ALICE)
    alice.send_message(BOB, "T1")
    alice.recv()
    bob.ack(bob.recv())
    alice.recv()
    story = follower.until("T1", "front", "written", "Msg")

    assert story[:4] == [
        ("front", "read", "action"),
        ("worker", "taken", "message"),
        ("worker", "stored", ""),
        ("front", "written", "Msg"),
    ]
    assert ("worker", "taken", "ack") in story
    assert ("worker", "sent", "receipt") in story
    times = [each["at_us"] for each in follower.events]
    assert times == sorted(times)
    assert {each["text"] for each in follower.events} == {None}
    seen.drop_clients()


def test_a_recipients_message_is_seen_too(seen: Relay) -> None:
    alice, bob = seen.logged_in(ALICE, BOB)
    follower = Follower(seen, BOB)
    alice.send_message(BOB, "T2")
    bob.ack(bob.recv())
    story = follower.until("T2", "worker", "taken", "ack")

    assert story[:4] == [
        ("worker", "taken", "message"),
        ("worker", "stored", ""),
        ("worker", "sent", "delivery"),
        ("front", "written", "action"),
    ]
    seen.drop_clients()


def test_a_groups_message_is_seen_by_a_member(seen: Relay) -> None:
    alice, bob = seen.logged_in(ALICE, BOB)
    follower = Follower(seen, BOB)
    alice.send_message(GROUP, "T3")
    bob.recv()
    story = follower.until("T3", "front", "written", "action")

    assert ("worker", "sent", "delivery") in story
    seen.drop_clients()


def test_a_login_that_comes_later_is_traced(seen: Relay) -> None:
    follower = Follower(seen, "latecomer")
    author = seen.login(ALICE)
    author.send_message("latecomer", "T4")
    author.recv()
    seen.login("latecomer")
    story = follower.until("T4", "front", "written", "q")

    assert ("worker", "stored", "") in story
    assert "logged_in" in {each["what"] for each in follower.events}
    seen.drop_clients()


def test_what_is_of_others_is_not_told(seen: Relay) -> None:
    alice, bob = seen.logged_in(ALICE, BOB)
    follower = Follower(seen, CAROL)
    alice.send_message(BOB, "T5")
    alice.recv()
    bob.recv()
    follower.ask()

    assert follower.events == []
    seen.drop_clients()


def test_texts_need_a_permission_of_their_own(start_relay: RelayStarter, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{'t' * 40} read texts\n")
    tokens.chmod(0o600)
    relay = start_relay(admin=True, config=f'[admin]\nport = 0\ntoken_file = "{tokens}"\n')
    assert Operator(relay).ask(f"/api/v1/users/{ALICE}/trace?texts=true").status == 403
    alice = relay.login(ALICE)
    follower = Follower(relay, ALICE, "texts=true&", "t" * 40)
    alice.send_message(BOB, "T6", {"conversation": "a secret"})
    alice.recv()
    follower.until("T6", "front", "written", "Msg")

    (read,) = (each for each in follower.events if each["what"] == "read")
    assert "a secret" in read["text"]


@pytest.mark.parametrize("role", ["worker", "front", "admin"])
def test_a_process_that_comes_anew_is_traced_on_and_its_gap_is_told(
    relay: Relay, role: str
) -> None:
    follower = Follower(relay, ALICE)
    killed = relay.children(role)[0]
    killed.process.kill()

    def is_back() -> bool:
        try:
            follower.ask()
        except (OSError, AssertionError):
            return False
        return not follower.not_asked and (role == "admin" or bool(follower.gaps))

    poll_for("a trace of its successor", is_back)
    alice = relay.login(ALICE)
    alice.send_message(BOB, "T7")
    alice.recv()
    follower.until("T7", "front", "written", "Msg")

    assert [each["role"] for each in follower.gaps] == ([] if role == "admin" else [role])


@pytest.mark.parametrize("index", [0, 1])
def test_with_a_worker_stopped_the_others_are_seen_and_it_is_named(
    relay: Relay, index: int
) -> None:
    users = relay.logged_in(ALICE, BOB, CAROL)
    followers = [Follower(relay, name) for name in (ALICE, BOB, CAROL)]
    stopped = relay.children("worker")[index]
    stopped.process.suspend()
    try:
        for user in users:
            user.send_message("nobody", "S1")

        for follower in followers:
            follower.until_seen("S1", "front", "read", "action")
            assert [each["role"] for each in follower.not_asked] == ["worker"]
    finally:
        stopped.process.resume()


def test_a_cursor_of_ones_own_making_is_refused(seen: Relay) -> None:
    for cursor in ("x", "front-0-1", "admin-0-1-1", "front-0-1-1,"):
        assert Operator(seen).ask(f"/api/v1/users/a/trace?cursor={cursor}").status == 400


def test_the_command_shows_it_and_ends_by_itself(seen: Relay) -> None:
    alice = seen.login(ALICE)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "relay", "trace", ALICE, "--for", "3s", "--json"),
            *("--data", str(seen.directory / "data")),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    ends_s = time.monotonic() + 20
    sent = 0
    while process.poll() is None and time.monotonic() < ends_s:
        sent += 1
        alice.send_message(BOB, f"C{sent}")
        alice.recv()
        time.sleep(0.1)  # so that some are sent while it asks, whenever that begins
    lines = [json.loads(line) for line in process.communicate(timeout=10)[0].splitlines()]

    assert process.returncode == 0
    assert {"read", "taken", "stored", "written"} <= {line.get("what") for line in lines}
    assert command(seen, "trace", ALICE, "--for", "never").returncode == 2
    seen.drop_clients()


# --- one message ---


def test_a_message_that_waits_says_why(seen: Relay) -> None:
    alice = seen.login(ALICE)
    alice.send_message("away", "M1")
    alice.recv()
    (copy,) = Operator(seen).ask("/api/v1/message?id=M1").json["copies"]
    shown = command(seen, "message", "M1")

    assert (copy["recipient"], copy["level"], copy["waits"]) == ("away@s.whatsapp.com", 1, True)
    assert copy["recipient_reads"] == ""
    assert "its recipient is not connected" in shown.stdout
    seen.drop_clients()


def test_a_receipt_that_waits_is_part_of_the_story(seen: Relay) -> None:
    alice, bob = seen.logged_in("gone", BOB)
    alice.send_message(BOB, "M2")
    alice.recv()
    delivered = bob.recv()
    alice.close()
    bob.ack(delivered)
    operator = Operator(seen)
    path = "/api/v1/message?id=M2"
    poll_for("the receipt", lambda: bool(operator.ask(path).json["receipts"]))
    (receipt,) = operator.ask(path).json["receipts"]

    assert (receipt["acker"], receipt["level"]) == (f"{BOB}@s.whatsapp.com", 2)
    assert "delivered" in command(seen, "message", "M2").stdout
    seen.drop_clients()


def test_a_groups_message_tells_of_each_member(seen: Relay) -> None:
    alice = seen.login(ALICE)
    alice.send_message(GROUP, "M3")
    alice.recv()
    operator = Operator(seen)
    path = "/api/v1/message?id=M3"
    poll_for("all copies", lambda: len(operator.ask(path).json["copies"]) == 3)
    of_bob = operator.ask(f"{path}&of={BOB}").json["copies"]

    assert [each["recipient"] for each in of_bob if each["recipient"]] == [f"{BOB}@s.whatsapp.com"]
    seen.drop_clients()


def test_an_unknown_message_is_not_found(seen: Relay) -> None:
    assert Operator(seen).ask("/api/v1/message?id=nothing").status == 404
    assert command(seen, "message", "nothing").returncode == 1
    assert Operator(seen).ask("/api/v1/message?id=x&of=no%20jid").status == 400


def test_a_worker_that_is_stopped_is_named(relay: Relay) -> None:
    stopped = relay.children("worker")[0]
    stopped.process.suspend()
    try:
        answer = Operator(relay).ask("/api/v1/message?id=any").json
    finally:
        stopped.process.resume()

    assert [each["role"] for each in answer["not_asked"]] == ["worker"]
