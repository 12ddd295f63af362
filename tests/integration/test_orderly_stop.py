"""Damage after an orderly stop is found; a kill may leave a record that is cut short."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.outside.frames import ALICE, BOB, EVE, ack_1, delivery
from tests.outside.processes import REPOSITORY, environment_below
from tests.outside.relay import Relay

from .conftest import RelayStarter


def run(relay: Relay, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment_below(relay.directory / "run"),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def send_two(relay: Relay) -> None:
    alice = relay.login(ALICE)
    for number in range(2):
        alice.send_message(BOB, f"M{number}")
        alice.expect(ack_1(f"M{number}", author=ALICE, to=BOB))


def journal_of(relay: Relay) -> Path:
    """Return the file with the last record."""
    files = (relay.directory / "data").glob("gen-1/worker-0/journal-*")
    return max(files, key=lambda path: len(path.read_bytes().rstrip(b"\0")))


def flip_a_bit(content: bytes) -> bytes:
    at = len(content.rstrip(b"\0")) - 1
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def zero_the_tail(content: bytes) -> bytes:
    at = len(content.rstrip(b"\0")) - 100
    return content[:at] + bytes(len(content) - at)


@pytest.mark.parametrize("damage", [flip_a_bit, zero_the_tail])
def test_damage_after_an_orderly_stop_is_found_by_check_and_refuses_the_start(
    start_relay: RelayStarter, damage: Callable[[bytes], bytes]
) -> None:
    relay = start_relay(workers=1, fronts=1)
    data = relay.directory / "data"
    send_two(relay)
    relay.drop_clients()
    relay.stop()
    assert run(relay, "-m", "workers.store", "check", data).returncode == 0
    path = journal_of(relay)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))

    checked = run(relay, "-m", "workers.store", "check", data)
    started = run(relay, "supervisor.py", "--workers", 1, "--port", 0, "--data", data)

    assert checked.returncode == 1
    assert f"{path.name} was changed since an orderly stop" in checked.stdout
    assert started.returncode == 1
    assert f"{path.name} was changed since an orderly stop" in started.stderr
    assert "from a backup" in started.stderr

    path.write_bytes(whole)
    relay.start()
    bob = relay.login(BOB)
    assert bob.queued == [delivery(f"M{n}", author=ALICE) for n in range(2)]


def test_after_a_kill_a_record_that_is_cut_short_is_no_damage(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1, fronts=1)
    send_two(relay)
    relay.drop_clients()
    relay.kill_everything()
    path = journal_of(relay)
    path.write_bytes(flip_a_bit(path.read_bytes()))

    relay.start()

    alice = relay.login(ALICE)
    alice.send_message(EVE, "LATER")
    alice.expect(ack_1("LATER", author=ALICE, to=EVE))
