"""Operators send as a user of their own, whom nobody else can be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import psutil  # type: ignore[import-untyped]
import pytest

from tests.outside.frames import (
    ALICE,
    BOB,
    GROUP,
    auth_frame,
    delivery,
    group_delivery,
    receipt,
)
from tests.outside.operator import Answer, Operator
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_admin import command

# Workers that a test stops are not to be taken for hung, however busy this machine is.
CONFIG = '[supervisor]\nhung_after_s = 60.0\n[admin]\njid = "operator"\n'
WORDS = {"conversation": "Maintenance at ten"}


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    relay = start_relay(admin=True, config=CONFIG, groups={GROUP: [ALICE, BOB, "operator"]})
    Operator(relay).ask("/api/v1/status")
    return relay


def send(relay: Relay, to: str, message_id: str = "", message: object = WORDS) -> Answer:
    body = {"to": to, "message": message, "id": message_id}
    return Operator(relay).ask("/api/v1/messages", method="POST", body=body)


def counted(relay: Relay, event: str) -> float:
    found = Operator(relay).samples()
    return sum(value for name, value in found.items() if f'event="{event}"' in name)


def test_a_message_of_the_operator_comes_live_and_waits_for_who_is_away(relay: Relay) -> None:
    alice = relay.login(ALICE)

    live, waits = send(relay, f"{ALICE}@c.us", "O1"), send(relay, BOB, "O2")

    assert (live.status, live.json["id"], live.json["author"], live.json["to"]) == (
        *(200, "O1", "operator@s.whatsapp.com"),
        f"{ALICE}@s.whatsapp.com",
    )
    time_s = live.json["t"]
    assert abs(time_s - time.time()) < 60
    assert alice.recv() == delivery("O1", author="operator", message=WORDS, t=time_s)
    assert relay.login(BOB).queued == [
        delivery("O2", author="operator", message=WORDS, t=waits.json["t"])
    ]


def test_a_message_passes_through_as_it_was_written(relay: Relay) -> None:
    written = '{"n": 12345678901234567890123, "f": 1.10, "s": "\\u00e9"}'
    bob = relay.login(BOB)

    sent = command(relay, "announce", "--message", BOB, written)

    assert sent.returncode == 0
    assert bob.recv()[2][0]["message"] == json.loads(written)


def test_a_repeat_is_stored_once_and_another_message_of_that_id_is_refused(relay: Relay) -> None:
    first = send(relay, ALICE, "O1")

    again, other = send(relay, ALICE, "O1"), send(relay, ALICE, "O1", {"conversation": "no"})

    assert again.json == first.json
    assert (other.status, "id" in other.json["detail"]) == (409, True)
    assert len(relay.login(ALICE).queued) == 1


def test_a_group_hears_it_where_the_operator_is_a_member(relay: Relay) -> None:
    alice, bob = relay.logged_in(ALICE, BOB)

    said = send(relay, GROUP, "O1")

    assert (said.status, said.json["to"]) == (200, GROUP)
    expected = group_delivery("O1", author="operator", message=WORDS, t=said.json["t"])
    assert [alice.recv(), bob.recv()] == [expected, expected]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"to": "no jid", "message": WORDS}, 400),
        ({"to": ALICE, "message": {}}, 400),
        ({"to": ALICE, "message": "text"}, 400),
        ({"to": ALICE}, 400),
        ({"to": ALICE, "message": WORDS, "id": "a\u0007"}, 400),
        ({"to": ALICE, "message": {"conversation": "x" * 70_000}}, 413),
        ({"to": "1-2@g.us", "message": WORDS}, 404),
    ],
)
def test_what_a_front_would_refuse_is_refused(
    relay: Relay, body: dict[str, object], status: int
) -> None:
    answer = Operator(relay).ask("/api/v1/messages", method="POST", body=body)

    assert (answer.status, answer.json["status"]) == (status, status)


def test_who_is_no_member_of_a_group_is_refused_there(start_relay: RelayStarter) -> None:
    relay = start_relay(admin=True, config=CONFIG)

    assert send(relay, GROUP).status == 403


def test_a_mailbox_that_is_full_is_said_so(start_relay: RelayStarter) -> None:
    relay = start_relay(admin=True, config=CONFIG + "[mailbox]\nmax_entries = 4\n")
    for n in range(4):
        answer = send(relay, ALICE, f"F{n}")
        if answer.status != 200:
            break

    assert send(relay, ALICE, "F9").status == 507


def test_nobody_logs_in_as_the_operator(relay: Relay) -> None:
    for spelling in ("operator@c.us", "operator", "operator:3@s.whatsapp.net"):
        with relay.connect() as client:
            client.send(auth_frame(spelling))
            client.expect_failure(403)
    with relay.connect() as client:
        client.send(auth_frame("operators@c.us"))
        assert "success" in json.dumps(client.recv())


def test_receipts_are_counted_and_answers_wait_to_be_read(relay: Relay) -> None:
    alice, bob = relay.logged_in(ALICE, BOB)
    for n in range(3):
        assert send(relay, ALICE, f"R{n}").status == 200
        (element,) = alice.recv()[2]
        for level in (2, 3):
            alice.send(receipt(f"R{n}", level, author="operator", by=ALICE, t=1))
        assert element["key"]["id"] == f"R{n}"
    alice.send_message("operator", "A1", {"conversation": "thank you"})
    alice.recv()

    def levels() -> list[int]:
        found = [Operator(relay).ask(f"/api/v1/message?id=R{n}").json for n in range(3)]
        return [copy["level"] for each in found for copy in each["copies"]]

    poll_for("the acks", lambda: levels() == [3, 3, 3])
    assert counted(relay, "operator_receipts") == 6
    entries = Operator(relay).ask("/api/v1/users/operator/queue").json["entries"]
    assert [(each["kind"], each["id"]) for each in entries] == [("message", "A1")]
    assert bob.recv_available() == []


def test_without_a_name_for_operators_nothing_is_sent(start_relay: RelayStarter) -> None:
    relay = start_relay(admin=True)

    answer = send(relay, ALICE)

    assert (answer.status, "admin.jid" in answer.json["detail"]) == (409, True)
    assert relay.login(ALICE).queued == []


def test_a_worker_that_does_not_answer_leaves_it_unknown_and_a_repeat_settles_it(
    relay: Relay,
) -> None:
    workers = relay.children("worker")
    for worker in workers:
        worker.process.send_signal(signal.SIGSTOP)
    try:
        unknown = send(relay, ALICE, "U1")
    finally:
        for worker in workers:
            worker.process.send_signal(signal.SIGCONT)

    assert (unknown.status, "U1" in unknown.json["detail"]) == (504, True)
    settled = send(relay, ALICE, "U1")
    assert settled.status == 200
    assert [f[2][0]["key"]["id"] for f in relay.login(ALICE).queued] == ["U1"]


def test_what_was_answered_survives_a_kill_of_everything(relay: Relay) -> None:
    said = send(relay, ALICE, "K1")
    relay.kill_everything()

    relay.start()

    assert said.status == 200
    assert [f[2][0]["key"]["id"] for f in relay.login(ALICE).queued] == ["K1"]
    assert send(relay, ALICE, "K1").json == said.json


def test_the_command_sends_once_though_the_admin_is_killed_meanwhile(relay: Relay) -> None:
    workers = relay.children("worker")
    admin = relay.child("admin")
    for worker in workers:
        worker.process.send_signal(signal.SIGSTOP)
    try:
        announcing = subprocess.Popen(
            [
                *(sys.executable, "-m", "relay", "announce", "--id", "C1"),
                *("--data", str(relay.directory / "data"), ALICE, "Good night"),
            ],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        poll_for("the question", lambda: _is_busy(admin.process.pid))
        admin.process.kill()
    finally:
        for worker in workers:
            worker.process.send_signal(signal.SIGCONT)

    stdout, _ = announcing.communicate(timeout=30)
    assert (announcing.returncode, stdout) == (0, f"{ALICE}@s.whatsapp.com: stored, id C1\n")
    (frame,) = relay.login(ALICE).queued
    assert frame[2][0]["message"] == {"conversation": "Good night"}


def _is_busy(pid: int) -> bool:
    """Whether somebody is connected to the admin, whose socket was bound by that name."""
    sockets = psutil.Process(pid).net_connections("unix")
    return sum(str(each.laddr).endswith("admin.new") for each in sockets) > 1


def test_the_command_says_what_is_wrong(relay: Relay) -> None:
    assert command(relay, "announce", "no jid", "x").returncode == 1
    whole = command(relay, "announce", "--message", "--json", ALICE, '{"note": 1}')
    assert json.loads(whole.stdout)["to"] == f"{ALICE}@s.whatsapp.com"
    assert command(relay, "announce", "--message", ALICE, "{").returncode == 2
    assert relay.login(ALICE).queued[0][2][0]["message"] == {"note": 1}
