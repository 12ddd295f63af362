"""`relay store`: compact and purge, on data directories whose relay runs, and whose does not."""

import subprocess
import sys

import pytest

from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, BOB, CAROL, EVE, ack_1, delivery
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay

from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal

USER = ["--user", BOB]
BODY = {"conversation": "x" * 50_000}


def store(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay", "store", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def check(relay: Relay) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "relay", "check", str(relay.directory / "data")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def send(author: SheetClient, to: str, *ids: str, body: object = None) -> None:
    for message_id in ids:
        author.send_message(to, message_id, *([body] if body else []))
        author.expect(ack_1(message_id, author=author.user, to=to))


@pytest.mark.parametrize("runs", [True, False])
def test_a_user_is_purged_and_counted_exactly_and_nobody_else(
    start_relay: RelayStarter, runs: bool
) -> None:
    relay = start_relay(workers=2, fronts=1)
    data = relay.directory / "data"
    alice = relay.login(ALICE)
    ids = [f"M{number}" for number in range(700)]
    send(alice, BOB, *ids)
    send(alice, EVE, "KEPT")
    relay.drop_clients()
    if not runs:
        relay.stop()

    would = store("purge", data, "--user", f"{BOB}@s.whatsapp.com", "--dry-run")
    done = store("purge", data, "--user", f"{BOB}@s.whatsapp.com")
    again = store("purge", data, "--user", f"{BOB}@s.whatsapp.com")

    assert (would.returncode, done.returncode, again.returncode) == (0, 0, 0), done.stderr
    assert "700 messages, 0 group messages" in would.stdout
    assert f"0 receipts would go, and 700 records of messages to {BOB}" in would.stdout
    assert done.stdout == would.stdout.replace("would go", "are gone")
    assert " 0 messages" in again.stdout
    if not runs:
        check(relay)
        relay.start()
    assert relay.login(BOB).queued == []
    assert relay.login(EVE).queued == [delivery("KEPT", author=ALICE)]
    relay.drop_clients()
    relay.stop()
    check(relay)
    assert not (data / "orders").exists()


def test_what_waits_too_long_is_purged_while_the_relay_runs(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=2, fronts=1)
    data = relay.directory / "data"
    alice = relay.login(ALICE)
    for to in (BOB, CAROL, EVE):
        send(alice, to, *[f"{to}-{number}" for number in range(5)])
    carol = relay.login(CAROL)  # and has not acked them
    assert len(carol.queued) == 5
    assert "0 messages" in store("purge", data, "--older-than", "1h").stdout

    done = store("purge", data, "--older-than", "1s")

    assert "15 messages" in done.stdout, done.stdout + done.stderr
    assert relay.login(BOB).queued == []
    # A repeat is known, and not delivered.
    send(alice, BOB, f"{BOB}-0")
    send(alice, BOB, "NEXT")
    assert relay.login(BOB).queued == [delivery("NEXT", author=ALICE)]


def test_an_order_is_refused_with_what_is_allowed(start_relay: RelayStarter) -> None:
    nothing = store("purge", "nowhere", "--older-than", "7d")
    assert nothing.returncode == 2
    assert "is no data directory" in nothing.stderr
    for wrong in (["--older-than", "a week"], ["--user", "@"], [], [*USER, "--older-than", "1d"]):
        assert store("purge", "nowhere", *wrong).returncode == 2


def test_compacting_is_for_a_relay_that_does_not_run_or_begins(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1, fronts=1, config="[store]\ncompact = true\n")
    data = relay.directory / "data"
    alice, bob = relay.logged_in(ALICE, BOB)
    send(alice, BOB, *[f"M{number}" for number in range(200)], body=BODY)
    for _ in range(200):
        bob.ack(bob.recv())
    alice.recv_many(200)
    send(alice, EVE, "KEPT")
    relay.drop_clients()

    refused = store("compact", data)
    assert refused.returncode == 2
    assert f"a relay runs on {data}: stop it first" in refused.stderr
    relay.stop()
    would = store("compact", data, "--dry-run")
    assert would.returncode == 0, would.stderr
    assert "would give back about" in would.stdout
    before = sum(path.stat().st_blocks for path in data.rglob("*")) * 512

    relay.start()

    [done] = relay.log.events("compact.done")[-1:]
    assert done["bytes"] < done["bytes_before"]
    assert sum(path.stat().st_blocks for path in data.rglob("*")) * 512 < before
    assert relay.login(EVE).queued == [delivery("KEPT", author=ALICE)]
    relay.drop_clients()
    relay.stop()

    compacted = store("compact", data)
    assert compacted.returncode == 0, compacted.stderr
    assert f"{data}: gave back " in compacted.stdout
    check(relay)
    relay.start()
    assert relay.login(EVE).queued == [delivery("KEPT", author=ALICE)]
