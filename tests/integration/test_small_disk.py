"""A disk of 96 MiB, filled and emptied again: what is free inside a store is room.

Such a disk has to be mounted; where that is not permitted there is nothing to show.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, BOB, ack_1, check_error, delivery
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

pytestmark = pytest.mark.ordeal

MIB = 1024 * 1024
# One author is to fill it.
CONFIG = (
    f"[store]\nmin_free_bytes = {16 * MIB}\n[mailbox]\nmax_bytes = {1024 * MIB}\n"
    "[quota]\nwaiting_bytes = 0\n"
)
USER = ["--user", f"{BOB}@s.whatsapp.com"]
BODY = {"conversation": "x" * 60_000}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    at = tmp_path / "disk"
    at.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "relay-test", str(at)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    yield at
    subprocess.run(["umount", "-l", str(at)], check=True)


def relay_on(disk: Path, *, workers: int) -> Relay:
    relay = Relay(workers=workers, fronts=1, config=CONFIG)
    (relay.directory / "data").symlink_to(disk)
    return relay


def fill(author: SheetClient, to: str, *, name: str) -> int:
    """Send until error 500; return how many were acked."""
    for number in range(1600):
        author.send_message(to, f"{name}{number}", BODY)
        answer = author.recv()
        if answer[0] == "error":
            check_error(answer, 500, message_id=f"{name}{number}")
            return number
        assert answer == ack_1(f"{name}{number}", author=author.user, to=to)
    raise AssertionError("96 MiB have not been enough")


def empty(relay: Relay, author: SheetClient, stored: int) -> SheetClient:
    """Have Bob ack all that waits."""
    bob = relay.connect()
    frames = [frame for page in bob.login_pages(BOB, stored) for frame in page]
    for frame in frames:
        bob.ack(frame)
    author.recv_many(stored)
    return bob


def fill_up(disk: Path) -> Path:
    """Leave no byte free; return the file that takes it, and took it before."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (MIB, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler


def test_a_relay_starts_on_a_full_disk_and_serves_reads_and_acks(small_disk: Path) -> None:
    """After an orderly stop, and after a kill; sends are refused until there is room."""
    with relay_on(small_disk, workers=2) as relay:
        for event in ("store.refuses_sends", "store.not_sealed"):
            relay.log.expect(event)
        alice = relay.login(ALICE)
        for number in range(4):
            alice.send_message(BOB, f"M{number}")
            alice.expect(ack_1(f"M{number}", author=ALICE, to=BOB))
        relay.drop_clients()
        filler = fill_up(small_disk)
        relay.stop()
        fill_up(small_disk)

        for number in range(4):
            relay.start()
            bob = relay.login(BOB)
            assert bob.queued == [delivery(f"M{n}", author=ALICE) for n in range(number, 4)]
            bob.ack(bob.queued[0])
            alice = relay.login(ALICE)
            alice.send_message(BOB, f"N{number}")
            check_error(alice.recv(), 500, message_id=f"N{number}")
            relay.drop_clients()
            if number % 2:
                relay.stop()
            else:
                relay.kill_everything()
            fill_up(small_disk)

        filler.unlink()
        relay.start()
        assert relay.login(BOB).queued == []
        assert seconds_until_taken(relay.login(ALICE), 0) < 5.0


def test_a_purge_on_a_full_disk_counts_what_goes_and_says_what_was_not_done(
    small_disk: Path,
) -> None:
    with relay_on(small_disk, workers=1) as relay:
        relay.log.expect("store.not_sealed")
        alice = relay.login(ALICE)
        for number in range(700):
            alice.send_message(BOB, f"M{number}", {"conversation": "x" * 2000})
            alice.expect(ack_1(f"M{number}", author=ALICE, to=BOB))
        relay.drop_clients()
        relay.stop()
        data = relay.directory / "data"
        # All of it in pages, with none free between them, and the journals made anew.
        assert store("compact", data).returncode == 0
        relay.start()
        relay.stop()
        filler = fill_up(small_disk)

        done = store("purge", data, *USER)

        assert done.returncode == 1, done.stderr
        assert "relay store purge: not all could be done; so far\n" in done.stderr
        assert f"{data}: 700 messages, 0 group messages" in done.stderr
        assert "worker-0: its pages could not be brought up to date: " in done.stderr
        assert "the disk is full" in done.stderr
        filler.unlink()
        assert f"{data}: 0 messages" in store("purge", data, *USER).stdout
        relay.start()
        assert relay.login(BOB).queued == []


def store(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay", "store", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def seconds_until_taken(author: SheetClient, stored: int) -> float:
    began = time.monotonic()

    def is_taken() -> bool:
        author.send_message(BOB, f"AFTER {stored}")
        return bool(author.recv() == ack_1(f"AFTER {stored}", author=ALICE, to=BOB))

    poll_for("room", is_taken)
    return time.monotonic() - began


def test_a_full_disk_that_was_emptied_takes_sends_within_a_second_and_another_layout(
    small_disk: Path,
) -> None:
    with relay_on(small_disk, workers=1) as relay:
        relay.log.expect("store.refuses_sends")
        alice = relay.login(ALICE)
        for name in ("M", "N"):
            stored = fill(alice, BOB, name=name)
            assert stored > 100
            bob = empty(relay, alice, stored)
            assert seconds_until_taken(alice, stored) < 1.0
            bob.drop()
    with relay_on(small_disk, workers=3) as relay:
        alice, _ = relay.logged_in(ALICE, BOB)
        alice.send_message(BOB, "LAST")
        assert alice.recv() == ack_1("LAST", author=ALICE, to=BOB)
