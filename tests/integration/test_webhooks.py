"""Webhooks: a real endpoint hears of what happens, whatever dies or stalls meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.outside.certificates import Authority
from tests.outside.frames import ALICE, BOB, CAROL, GROUP
from tests.outside.operator import Operator
from tests.outside.processes import REPOSITORY, environment_below
from tests.outside.receiver import SECRET, Receiver
from tests.outside.relay import DEBUG, Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

EVERYTHING = '["message.queued", "user.online", "user.offline", "group.changed", "mailbox.full"]'


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "receiver") as receiver:
        yield receiver


def config(
    receiver: Receiver, tmp_path: Path, more: str = "", *, events: str = '["message.queued"]'
) -> str:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    os.chmod(secret, 0o600)
    return f"""
[webhooks]
url = "{receiver.url}"
secret_file = "{secret}"
events = {events}
retry_min_s = 0.1
retry_max_s = 0.5
timeout_s = 1.5
{more}
"""


def command(relay: Relay, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert Operator(relay).socket  # once the admin listens
    return subprocess.run(
        [
            *(sys.executable, "-m", "relay", "webhooks", *arguments),
            *("--data", str(relay.directory / "data")),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def send(relay: Relay, *ids: str, to: str = BOB) -> None:
    alice = relay.login(ALICE)
    for message_id in ids:
        alice.send_message(to, message_id, {"conversation": "a secret"})
        alice.recv()
    alice.drop()


def ids(receiver: Receiver) -> list[str]:
    return [event["data"]["id"] for event in receiver.events("message.queued")]


def waiting(relay: Relay) -> tuple[int, int]:
    status = Operator(relay).ask("/api/v1/webhooks").json
    return status["waiting"], status["dead_letters"]


def settled(relay: Relay) -> None:
    poll_for("nothing to wait", lambda: waiting(relay)[0] == 0)


def test_everything_that_happens_is_told_signed_and_once(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    relay = start_relay(
        admin=True,
        workers=1,
        config=config(receiver, tmp_path, events=EVERYTHING, more="") + "\n[mailbox]\n"
        "max_entries = 2\nauthor_share = 1.0\n",
    )
    bob = relay.login(BOB)
    bob.drop()
    receiver.wait_for(1, "user.offline")
    alice = relay.login(ALICE)
    alice.send_message(GROUP, "G1")
    alice.recv()
    receiver.wait_for(2, "message.queued")
    for n in range(3):
        alice.send_message(CAROL, f"M{n}", {"conversation": "a secret"})
        alice.recv()
    settled(relay)  # its worker has swept since it began, and so knows how groups were
    relay.write_groups({GROUP: [ALICE, BOB]})
    relay.reload()
    (full,) = receiver.wait_for(1, "mailbox.full")
    (changed,) = receiver.wait_for(1, "group.changed")

    assert full["data"]["user"] == f"{CAROL}@s.whatsapp.com"
    assert full["data"]["full"] in ("mailbox", "author_share")  # one author has filled it
    assert (changed["data"]["change"], changed["data"]["participants"]) == ("changed", 2)
    queued = receiver.wait_for(3, "message.queued")
    assert {event["data"]["id"] for event in queued} == {"G1", "M0"}
    assert {event["data"]["group"] for event in queued} == {None, changed["data"]["group"]}
    kinds = [event["type"] for event in receiver.events()]
    assert kinds[:2] == ["user.online", "user.offline"]
    settled(relay)
    got = receiver.got()
    assert len({each.id for each in got}) == len(got)
    for each in got:
        assert each.is_signed_by(SECRET)
        assert abs(int(each.headers["webhook-timestamp"]) - time.time()) < 60
        assert b"secret" not in each.body
        assert each.headers["content-type"] == "application/json"


def test_texts_and_batches_are_for_who_asks(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("503 1")
    more = "texts = true\nbatch = 10\nparallel = 1"
    relay = start_relay(admin=True, config=config(receiver, tmp_path, more))
    send(relay, *(f"M{n}" for n in range(12)))
    receiver.wait_for(1)
    receiver.answer("200")
    events = receiver.wait_for(12, "message.queued")

    assert [event["data"]["id"] for event in events] == [f"M{n}" for n in range(12)]
    assert {event["data"]["message"]["conversation"] for event in events} == {"a secret"}
    assert len(receiver.got()) < 12
    settled(relay)


def test_an_endpoint_that_is_killed_misses_nothing(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    send(relay, *(f"A{n}" for n in range(20)))
    receiver.wait_for(5)
    receiver.kill()
    send(relay, *(f"B{n}" for n in range(20)))
    poll_for(
        "a failure", lambda: Operator(relay).ask("/api/v1/webhooks").json["state"] == "failing"
    )
    receiver.start()
    receiver.wait_for(40)

    settled(relay)
    assert sorted(ids(receiver)) == sorted([f"{x}{n}" for x in "AB" for n in range(20)])


def test_an_admin_that_is_killed_loses_nothing_and_repeats_under_the_same_id(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("slow 0.3")
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    send(relay, *(f"M{n}" for n in range(30)))
    receiver.wait_for(3)
    admin = relay.child("admin")
    admin.process.kill()
    receiver.answer("200")
    receiver.wait_for(30)

    settled(relay)
    assert sorted(ids(receiver)) == sorted(f"M{n}" for n in range(30))
    by_id: dict[str, set[bytes]] = {}
    for each in receiver.got():
        by_id.setdefault(each.id, set()).add(each.body)
    assert all(len(bodies) == 1 for bodies in by_id.values())


def test_workers_that_are_killed_lose_nothing(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("slow 0.2")
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    send(relay, *(f"M{n}" for n in range(10)))
    send(relay, *(f"C{n}" for n in range(10)), to=CAROL)
    receiver.wait_for(2)
    for worker in relay.children("worker"):
        worker.process.kill()
    receiver.answer("200")
    receiver.wait_for(20)

    settled(relay)
    assert sorted(ids(receiver)) == sorted(f"{x}{n}" for x in "MC" for n in range(10))


def test_everything_killed_at_once_loses_nothing(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("hang")
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    send(relay, *(f"M{n}" for n in range(10)))
    receiver.wait_for(1)
    relay.kill_everything()
    receiver.answer("200")
    relay.start()
    receiver.wait_for(10)

    settled(relay)
    assert sorted(ids(receiver)) == sorted(f"M{n}" for n in range(10))


@pytest.mark.parametrize("mode", ["hang", "huge", "drip", "cut", "redirect", "500"])
def test_whatever_an_endpoint_does_messages_go_on(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path, mode: str
) -> None:
    receiver.answer(mode)
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    send(relay, "M1", "M2")
    receiver.wait_for(1)
    alice, carol = relay.logged_in(ALICE, CAROL)
    Operator(relay).ask("/api/v1/webhooks")  # it loads what answers
    begun_s = time.monotonic()
    for n in range(20):
        alice.send_message(CAROL, f"L{n}")
        alice.recv()
        carol.recv()
    assert time.monotonic() - begun_s < 10

    assert Operator(relay).ask("/api/v1/webhooks").took_s < 2
    admin = relay.child("admin")
    assert admin.process.memory_info().rss < 200 * 1024 * 1024
    receiver.answer("200")
    receiver.wait_for(2)
    settled(relay)
    assert {each.path for each in receiver.got()} == {"/events?key=hidden"}
    is_taken = mode in ("huge", "drip")  # it said 200 before
    assert is_taken == (len(receiver.got()) == 2)


def test_retry_after_is_heeded(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("429 2")
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    send(relay, "M1")
    receiver.wait_for(1)
    receiver.answer("200")
    settled(relay)

    first, second = receiver.got()
    assert second.at_s - first.at_s >= 1.9


def test_gone_is_for_good_until_an_operator_resumes(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("410")
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    relay.log.expect("webhooks.gone")
    send(relay, "M1")
    receiver.wait_for(1)
    poll_for("it to be gone", lambda: "gone to" in command(relay, "status").stdout)
    receiver.answer("200")
    admin = relay.child("admin")
    admin.process.kill()
    poll_for(
        "another admin",
        lambda: [c.process.pid for c in relay.children("admin")] not in ([], [admin.process.pid]),
    )
    send(relay, "M2")
    assert "gone to" in command(relay, "status").stdout
    assert len(receiver.got()) == 1
    assert waiting(relay) == (2, 0)
    assert command(relay, "resume").returncode == 0

    receiver.wait_for(2)
    settled(relay)


def test_dead_letters_are_listed_posted_after_all_or_dropped(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("500")
    relay = start_relay(
        admin=True, config=config(receiver, tmp_path, "give_up_days = 0.00001\nparallel = 1")
    )
    relay.log.expect("webhooks.given_up")
    send(relay, "M1", "M2", "M3")
    poll_for("dead letters", lambda: waiting(relay) == (0, 3))
    page = Operator(relay).ask("/api/v1/webhooks/dead-letters?limit=2").json
    rest = Operator(relay).ask(f"/api/v1/webhooks/dead-letters?limit=2&cursor={page['next']}").json

    assert len(page["dead_letters"]) == 2
    assert rest["next"] == ""
    found = page["dead_letters"] + rest["dead_letters"]
    assert sorted(each["event"]["data"]["id"] for each in found) == ["M1", "M2", "M3"]
    assert {each["reason"] for each in found} == {"HTTP 500"}
    listed = command(relay, "dead")
    assert "message.queued" in listed.stdout
    receiver.answer("200")
    names = {
        each["event"]["data"]["id"]: f"{each['worker']}:{each['seq']}:{each['owner']}"
        for each in found
    }
    assert "1 dead letters" in command(relay, "drop", names["M2"]).stdout
    poll_for("one to go", lambda: waiting(relay) == (0, 2))
    before = len(receiver.got())
    assert "2 dead letters" in command(relay, "retry", "--all").stdout
    poll_for("two to be posted", lambda: len(receiver.got()) == before + 2)
    settled(relay)
    assert {each.json["data"]["id"] for each in receiver.got()[before:]} == {"M1", "M3"}
    assert command(relay, "retry").returncode == 2
    assert command(relay, "drop", "nonsense").returncode == 1


def test_a_test_event_says_how_the_endpoint_is(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    good = command(relay, "test")
    receiver.answer("503")
    bad = command(relay, "test", "--json")

    assert (good.returncode, bad.returncode) == (0, 1)
    assert good.stdout.startswith("taken: HTTP 200")
    assert json.loads(bad.stdout)["status"] == 503
    assert [each.json["type"] for each in receiver.got()] == ["webhook.test"] * 2
    assert not any("cookie" in each.headers for each in receiver.got())
    assert all(each.is_signed_by(SECRET) for each in receiver.got())


def test_a_new_secret_signs_beside_the_old(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    assert waiting(relay) == (0, 0)  # it has read the first
    other = SECRET.replace("whsec_", "whsec_AAAA")
    (tmp_path / "secret").write_text(f"{other}\n{SECRET}\n")
    poll_for("it to be read", lambda: bool(relay.log.events("webhooks.secrets_taken")))
    command(relay, "test")

    (got,) = receiver.got()
    assert got.is_signed_by(SECRET)
    assert got.is_signed_by(other)


def test_the_metrics_tell_of_it(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("500")
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    send(relay, "M1")
    receiver.wait_for(1)

    def figures() -> dict[str, Any]:
        found: dict[str, float] = {}
        for name, value in Operator(relay).samples().items():
            if name.startswith("relay_webhook"):
                family = name.partition("{")[0]
                found[family] = found.get(family, 0) + value
        return found

    poll_for("one to wait", lambda: figures().get("relay_webhook_events") == 1)
    assert figures()["relay_webhook_oldest_event_age_seconds"] > 0
    receiver.answer("200")
    poll_for("none to wait", lambda: figures()["relay_webhook_events"] == 0)
    assert figures()["relay_webhook_events_posted_total"] == 1
    assert figures()["relay_webhook_requests_total"] >= 2


def test_without_an_endpoint_there_is_nothing_to_steer(start_relay: RelayStarter) -> None:
    relay = start_relay(admin=True)
    operator = Operator(relay)

    assert operator.ask("/api/v1/webhooks").json["state"] == "off"
    assert operator.ask("/api/v1/webhooks/test", method="POST").status == 409
    assert operator.ask("/api/v1/webhooks/dead-letters").status == 409
    assert command(relay, "status").stdout.startswith("off")


def test_a_relay_laid_out_anew_keeps_its_events(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("503")
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    send(relay, "M1", "M2")
    send(relay, "C1", to=CAROL)
    receiver.wait_for(1)
    relay.stop()
    relay._workers = 3
    receiver.answer("200")
    relay.start()
    receiver.wait_for(3)

    settled(relay)
    assert sorted(ids(receiver)) == ["C1", "M1", "M2"]


def test_an_endpoint_whose_certificate_is_not_believed_is_told_nothing(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    good = authority.issue("127.0.0.1").write(tmp_path, "good")
    wrong = authority.issue("192.0.2.1").write(tmp_path, "wrong")
    with (
        Receiver(tmp_path / "good-receiver", tls=good) as believed,
        Receiver(tmp_path / "wrong-receiver", tls=wrong) as doubted,
    ):
        ca_file = f'ca_file = "{tmp_path / "ca.pem"}"'
        heard = start_relay(admin=True, config=config(believed, tmp_path, ca_file))
        unheard = [
            start_relay(admin=True, config=config(doubted, tmp_path, ca_file)),
            start_relay(admin=True, config=config(believed, tmp_path)),
        ]
        for relay in unheard:
            tested = Operator(relay).ask("/api/v1/webhooks/test", method="POST").json
            assert (tested["status"], tested["taken"]) == (0, False)
            assert "CERTIFICATE_VERIFY_FAILED" in tested["detail"]
        assert believed.got() == doubted.got() == []
        assert command(heard, "test").returncode == 0
        assert len(believed.got()) == 1


@pytest.mark.parametrize("more", [[], ["--check-config"]])
def test_a_secret_that_everybody_may_read_is_refused(
    receiver: Receiver, tmp_path: Path, more: list[str]
) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(config(receiver, tmp_path))
    os.chmod(tmp_path / "secret", 0o644)
    ran = subprocess.run(
        [
            *(sys.executable, "supervisor.py", "--port", "0", "--workers", "1", "--fronts", "1"),
            *("--config", str(path), "--data", str(tmp_path / "data"), *more),
        ],
        cwd=REPOSITORY,
        env=environment_below(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 2
    assert "webhooks.secret_file" in ran.stderr
    assert SECRET.removeprefix("whsec_") not in ran.stderr + ran.stdout


def test_the_check_and_a_backup_take_events_along(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("503")
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    send(relay, "M1", "M2")
    receiver.wait_for(1)
    data, copy = str(relay.directory / "data"), str(tmp_path / "copy")
    for arguments in (["check", data], ["backup", data, copy], ["check", copy]):
        ran = subprocess.run(
            [sys.executable, "-m", "relay", *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_an_event_that_is_older_than_the_endpoint_comes_when_it_does(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    """Turned off, events stay; turned on again, they are posted."""
    receiver.answer("503")
    on = config(receiver, tmp_path)
    relay = start_relay(admin=True, config=on)
    send(relay, "M1")
    receiver.wait_for(1)
    relay.stop()
    relay.config_path.write_text("")
    relay.start()
    send(relay, "M2")
    relay.stop()
    receiver.answer("200")
    relay.config_path.write_text(on)
    relay.start()
    receiver.wait_for(1)

    settled(relay)
    assert ids(receiver) == ["M1"]


def test_other_events_are_told_after_a_reload_without_a_restart(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    before = config(receiver, tmp_path, events='["group.changed"]')
    relay = start_relay(admin=True, config=DEBUG + before)
    assert Operator(relay).socket
    send(relay, "M1")
    said = relay.take(DEBUG + config(receiver, tmp_path, "batch = 5", events=EVERYTHING))
    assert {key for key in map(str, said["changed"]) if "webhooks" in key}
    send(relay, "M2")
    receiver.wait_for(1, "message.queued")
    receiver.wait_for(1, "user.offline")

    assert ids(receiver) == ["M2"]
    settled(relay)


def test_a_store_that_takes_no_sends_goes_on_being_emptied_of_events(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answer("503")
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    send(relay, *(f"M{n}" for n in range(5)))
    receiver.wait_for(1)
    relay.log.expect("store.refuses_sends")
    free = shutil.disk_usage(relay.directory).free
    relay.config_path.write_text(
        config(receiver, tmp_path) + f"\n[store]\nmin_free_bytes = {free * 2}\n"
    )
    relay.reload()
    poll_for("no room", lambda: len(relay.log.events("store.refuses_sends")) == 2)
    receiver.answer("200")
    receiver.wait_for(5)

    settled(relay)
    alice = relay.login(ALICE)
    alice.send_message(BOB, "L1")
    assert alice.recv()[0] == "error"


def test_what_cannot_be_asked_is_said_and_hurts_nothing(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path
) -> None:
    relay = start_relay(admin=True, config=config(receiver, tmp_path))
    operator = Operator(relay)
    poll_for("workers", lambda: not operator.ask("/api/v1/webhooks").json["not_asked"])
    letters = "/api/v1/webhooks/dead-letters"
    for path, body, status in (
        (f"{letters}/retry", {"worker": 0}, 400),
        (f"{letters}/retry", {"worker": 0, "seq": 1}, 400),
        (f"{letters}/drop", {"worker": 99, "seq": 1, "owner": "a"}, 404),
        (f"{letters}/drop", {"worker": -1, "seq": 1, "owner": "a"}, 400),
        (f"{letters}/drop", {"worker": 0, "seq": 1, "owner": ""}, 400),
        (f"{letters}/drop", {"worker": 0, "seq": 1 << 60, "owner": "a"}, 400),
        (f"{letters}/drop", [], 400),
        (f"{letters}/drop", {"worker": 0, "seq": 1, "owner": "a\u0000b"}, 200),
        (f"{letters}/retry", {"worker": 1, "seq": (1 << 53) - 1, "owner": "a" * 128}, 200),
        (f"{letters}/retry", {}, 200),
    ):
        assert operator.ask(path, method="POST", body=body).status == status, (path, body)
    for cursor, status in (
        ("x", 400),
        ("0:1", 400),
        ("999:1:a", 200),
        ("1:9999999999999999:", 200),
    ):
        assert operator.ask(f"{letters}?cursor={cursor}").status == status, cursor
    send(relay, "M1")
    receiver.wait_for(1)

    settled(relay)


_ONCE = """
import sys
from pathlib import Path
if "relay.admin" in sys.orig_argv:
    from relay.admin.courier.courier import HttpCourier
    hear, once = HttpCourier._hear, Path({once!r})
    def fail(self, *heard):
        if heard[2].events and once.exists():
            once.unlink()
            raise ZeroDivisionError("a bug")
        return hear(self, *heard)
    HttpCourier._hear = fail
"""


def test_a_fault_of_the_couriers_own_ends_the_admin_and_the_next_one_posts(
    start_relay: RelayStarter, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, more = tmp_path / "once", tmp_path / "more"
    once.touch()
    more.mkdir()
    (more / "sitecustomize.py").write_text(_ONCE.format(once=str(once)))
    monkeypatch.setenv("PYTHONPATH", f"{more}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    quick = "[supervisor]\nrestart_min_s = 0.05\n"
    relay = start_relay(admin=True, config=config(receiver, tmp_path) + quick)
    relay.log.expect("ZeroDivisionError")

    send(relay, "M1")

    receiver.wait_for(1, "message.queued")
    assert ids(receiver) == ["M1"]
    (exited,) = relay.log.events("admin.exited")
    assert exited["exit_code"] == 1
    assert "ZeroDivisionError: a bug" in relay.log.text()
    assert not once.exists()
    settled(relay)
