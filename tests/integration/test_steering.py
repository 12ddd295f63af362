"""Operators have files read again and processes renewed, and hear what came of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.outside.frames import ALICE, BOB, GROUP
from tests.outside.operator import Operator
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_admin import command

pytestmark = pytest.mark.ordeal


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    relay = start_relay(admin=True, fronts=2, workers=1, groups={GROUP: [ALICE, BOB]})
    Operator(relay).ask("/api/v1/status")
    return relay


def test_the_whole_relay_is_stopped_by_one_command(relay: Relay) -> None:
    alice = relay.login(ALICE)
    alice.send_message(BOB, "M1")
    alice.recv()

    stopped = command(relay, "stop")

    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout.startswith("stopped, after ")
    assert relay.process.wait(1) == 0
    assert alice.recv()[1]["type"] == "disconnect"
    again = command(relay, "stop")
    assert again.returncode == 1
    assert "no relay runs on" in again.stderr


def test_a_stop_asks_nobody_who_does_not_hold_the_data(relay: Relay) -> None:
    # As where the data directory is of another machine, whose processes have other numbers.
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        lock = relay.directory / "data" / "lock"
        note = json.loads(lock.read_text())
        kept = lock.read_text()
        lock.write_text(json.dumps({**note, "pid": other.pid}) + "\n")

        refused = command(relay, "stop")

        lock.write_text(kept)
        assert refused.returncode == 1
        assert "does not hold" in refused.stderr
        assert other.poll() is None
        other.communicate(b"\n")
        assert other.returncode == 0


def pids(relay: Relay) -> dict[str, int]:
    processes = Operator(relay).ask("/api/v1/status").json["processes"]
    return {f"{each['role']} {each['index']}": each["pid"] for each in processes}


def ended(relay: Relay, operation: str) -> dict[str, str]:
    found: dict[str, str] = {}

    def has_ended() -> bool:
        answer = Operator(relay).ask(f"/api/v1/operations/{operation}")
        found.update(answer.json)
        return answer.status == 200 and found["state"] != "running"

    poll_for("the end of the operation", has_ended, deadline_s=30)
    return found


def test_a_reload_says_what_it_has_taken_and_what_it_refused(relay: Relay) -> None:
    relay.config_path.write_text("[limits]\nmessage_bytes = 1000\n")
    relay.write_groups({GROUP: [ALICE, BOB], "1-2@g.us": [ALICE]})

    taken = Operator(relay).ask("/api/v1/reload", method="POST")

    assert (taken.status, taken.json["state"]) == (200, "done")
    assert taken.json["detail"] == "settings: 1 changed; groups: 1 added, 0 removed, 0 changed"
    assert command(relay, "reload").returncode == 0

    relay.log.expect("groups.refused")
    relay.groups_path.write_text("{")
    refused = command(relay, "reload")
    assert refused.returncode == 1
    assert "the groups were refused" in refused.stdout


def test_a_front_is_drained_and_its_clients_hear_why(relay: Relay) -> None:
    clients = relay.logged_in(*(f"user{n}" for n in range(8)))
    before = pids(relay)

    done = command(relay, "drain", "front", "1")

    assert (done.returncode, done.stdout) == (0, "drain front 1: done: front 1 is renewed\n")
    after = pids(relay)
    assert {who for who in before if before[who] != after[who]} == {"front 1"}
    away = [client for client in clients if client.recv_available()]
    assert 0 < len(away) < len(clients)
    for client in away:
        client.expect_close(1012)


def test_a_worker_is_renewed_and_nobody_notices(relay: Relay) -> None:
    kim, lee = relay.logged_in("kim", "lee")
    before = pids(relay)

    assert command(relay, "drain", "worker", "0").returncode == 0

    after = pids(relay)
    assert {who for who in before if before[who] != after[who]} == {"worker 0"}
    kim.send_message("lee", "W1")
    kim.recv()
    assert "W1" in str(lee.recv())


def test_everything_is_rolled_and_the_last_admin_says_so(relay: Relay) -> None:
    before = pids(relay)

    done = command(relay, "roll")

    assert (done.returncode, done.stdout) == (0, "roll: done: every process is renewed\n")
    after = pids(relay)
    assert {who for who in before if before[who] == after[who]} == {"supervisor 0"}
    assert len(relay.log.events("supervisor.rolled")) == 1


def test_what_cannot_be_is_refused_and_only_one_is_done_at_a_time(relay: Relay) -> None:
    operator = Operator(relay)
    assert operator.ask("/api/v1/processes/front/7/drain", method="POST").status == 404
    assert operator.ask("/api/v1/processes/admin/0/drain", method="POST").status == 400
    assert operator.ask("/api/v1/operations/none").status == 404

    stopped = relay.children("front")[0]
    stopped.process.send_signal(signal.SIGSTOP)  # it does not drain while this lasts
    try:
        first = operator.ask("/api/v1/processes/front/0/drain", method="POST")
        assert (first.status, first.json["state"]) == (200, "running")
        assert first.took_s < 1.5
        second = operator.ask("/api/v1/processes/front/1/drain", method="POST")
        assert (second.json["state"], second.json["detail"]) == (
            "failed",
            "it starts, stops or rolls already",
        )
        third = operator.ask("/api/v1/reload", method="POST")
        assert third.json["state"] == "failed"
    finally:
        stopped.process.send_signal(signal.SIGCONT)
    assert ended(relay, first.json["id"])["state"] == "done"


def test_an_admin_that_dies_takes_no_order_with_it(relay: Relay) -> None:
    stopped = relay.children("front")[0]
    stopped.process.send_signal(signal.SIGSTOP)
    try:
        Operator(relay).ask("/api/v1/processes/front/0/drain", method="POST")
        admin = relay.child("admin")
        admin.process.send_signal(signal.SIGKILL)
        admin.process.wait()
    finally:
        stopped.process.send_signal(signal.SIGCONT)

    poll_for("the drain", lambda: bool(relay.log.events("supervisor.drained")), deadline_s=30)
    assert Operator(relay).ask("/api/v1/status").status == 200


def test_a_roll_goes_on_though_the_admin_dies_amid_it(relay: Relay) -> None:
    before = pids(relay)
    stopped = relay.children("front")[0]
    stopped.process.send_signal(signal.SIGSTOP)  # it does not end while this lasts
    try:
        assert Operator(relay).ask("/api/v1/roll", method="POST").json["state"] == "running"
        admin = relay.child("admin")
        admin.process.send_signal(signal.SIGKILL)
        admin.process.wait()
        again = Operator(relay).ask("/api/v1/roll", method="POST")
        assert again.status == 200
    finally:
        stopped.process.send_signal(signal.SIGCONT)

    poll_for("the roll", lambda: bool(relay.log.events("supervisor.rolled")), deadline_s=30)
    after = pids(relay)
    assert {who for who in before if before[who] == after[who]} == {"supervisor 0"}
