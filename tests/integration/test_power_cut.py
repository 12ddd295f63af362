"""What ack 1 is worth when the power fails: the order of sync and ack, and images of the disk.

No test can cut the power. What a disk would hold if it were cut follows from what the worker asked
of the kernel: all that was written before a sync that has returned, and of the rest any part.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Final

import psutil  # type: ignore[import-untyped]
import pytest

from relay.disk.layout import read_layout
from tests.outside.frames import ALICE, BOB, CAROL, ack_1, delivery, message_id_of
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for
from workers.shard.messages import parse
from workers.store.journal import FILE_NAMES
from workers.store.keys import box_of, pack_seq
from workers.store.meta import Mark
from workers.store.snapshot import Snapshot
from workers.store.store import Store
from workers.store.storefile import FILE_NAME
from workers.tools.check import check_stores
from workers.tools.report import Report

from .conftest import RelayStarter
from .tracing import Call, Tracer

pytestmark = pytest.mark.ordeal

STORE_FILES: Final = (FILE_NAME, *FILE_NAMES)
SECTOR: Final = 512  # what a disk writes whole or not at all
CUTS: Final = 40
COPIES: Final = 12
ROUNDS: Final = 12
AGAIN: Final = 3  # until the first file is written over
SEED: Final = 20
# The journal is folded in at 1/64 of it, so that a record of a second shows that.
SMALL_MAP: Final = "[store]\nmap_bytes = 67108864\nmax_map_bytes = 67108864\n"


class Disk:
    """What a disk holds of one file when the power fails: what was synced, and any of the rest.

    The rest may be there by single sectors and out of order.
    """

    def __init__(self, content: bytes) -> None:
        self._synced = bytearray(content)
        self._unsynced: list[tuple[int, bytes]] = []
        self._size = 0  # asked for and not synced yet; a file system keeps sizes for itself

    def resize(self, size: int) -> None:
        assert size >= len(self._synced), "only ever longer"
        self._size = size

    def write(self, offset: int, content: bytes) -> None:
        self._unsynced += (
            (offset + start, content[start : start + SECTOR])
            for start in range(0, len(content), SECTOR)
        )

    def sync_range(self, offset: int, length: int) -> None:
        """Sync what was written there last."""
        within = range(offset, offset + length)
        for at, content in self._unsynced:
            if at in within:
                _put(self._synced, at, content)
        self._unsynced = [each for each in self._unsynced if each[0] not in within]

    def sync_write(self, offset: int, length: int) -> None:
        """Sync what was written there last, and the size by which it can be read."""
        self.sync_range(offset, length)
        self._sync_size()

    def sync(self) -> None:
        for offset, content in self._unsynced:
            _put(self._synced, offset, content)
        self._unsynced.clear()
        self._sync_size()

    def _sync_size(self) -> None:
        self._synced.extend(bytes(max(0, self._size - len(self._synced))))
        self._size = 0

    def image(self, random: Random, kept: float) -> bytes:
        """Return one of the possible contents; `kept` is the share of what was not synced."""
        image = bytearray(self._synced)
        for offset, content in self._unsynced:
            if random.random() < kept:
                _put(image, offset, content)
        if self._size:
            is_longer = random.random() < kept
            del image[self._size if is_longer else len(self._synced) :]
            image.extend(bytes(self._size - len(image) if is_longer else 0))
        return bytes(image)


def _put(image: bytearray, offset: int, content: bytes) -> None:
    if len(image) < offset:
        image.extend(bytes(offset - len(image)))
    image[offset : offset + len(content)] = content


class Recording:
    """What one worker wrote to its store's files, and which acks 1 its front wrote.

    `before` is what each file held until then.
    """

    def __init__(self, before: dict[Path, bytes], synced: set[int], calls: list[Call]) -> None:
        """Read `calls`; a write to one of the descriptors in `synced` returns when it is synced."""
        self._before = before
        self._synced = synced
        files = {str(path) for path in before}
        self._calls = [c for c in calls if c.role == "worker" and c.path in files]
        self._acked = [
            (call.began, message_id)
            for call in calls
            if call.role == "front"
            for message_id in acks_in(call.written)
        ]

    def moments(self, random: Random, count: int) -> list[int]:
        """Return moments for a cut: half of them in commits, half as an ack 1 is written."""
        calls = random.sample(self._calls, count // 2)
        acks = random.sample(self._acked, count // 2)
        return [random.choice((call.began, call.ended)) for call in calls] + [at for at, _ in acks]

    def writes_to(self, name: str) -> int:
        """How often something was written to the file of that name."""
        return sum(1 for call in self._calls if call.written and call.path.endswith(f"/{name}"))

    @property
    def end(self) -> int:
        return self._calls[-1].ended

    def acked(self, moment: int) -> list[str]:
        """The messages whose ack 1 was being written to the client, or had been."""
        return [message_id for at, message_id in self._acked if at <= moment]

    def image(self, moment: int, random: Random, kept: float) -> dict[str, bytes]:
        """Return what the disk may hold of each file at that moment, by name.

        Of what was not synced it has `kept`.
        """
        return {path.name: self._disk(path, moment).image(random, kept) for path in self._before}

    def _disk(self, path: Path, moment: int) -> Disk:
        disk, position = Disk(self._before[path]), 0
        for call in self._calls:
            if call.path != str(path):
                continue
            if call.began > moment:
                break
            has_returned = call.ended <= moment
            match call.name:
                case "lseek":
                    position = call.result
                case "ftruncate":
                    disk.resize(call.numbers[-1])
                case "writev":
                    disk.write(position, call.written)
                    position += len(call.written)
                case "pwrite64":
                    offset = call.numbers[-1]
                    disk.write(offset, call.written)
                    if has_returned and call.descriptor in self._synced:
                        disk.sync_range(offset, len(call.written))
                case "pwritev2":
                    assert call.writes_through
                    offset = call.numbers[-1]
                    disk.write(offset, call.written)
                    if has_returned and call.result > 0:
                        disk.sync_write(offset, call.result)
                case "fdatasync" | "fsync":
                    if has_returned and call.result == 0:
                        disk.sync()
                case _:
                    raise AssertionError(f"this way to write is unknown here: {call.name}")
        return disk


def acks_in(written: bytes) -> list[str]:
    """The messages that a front's write to a client's socket acks with 1."""
    return [found.decode() for found in re.findall(rb'"id": "([^"]+)", "ack": 1,', written)]


def store_of(data: Path) -> Path:
    """The directory of the only worker's store."""
    return read_layout(data).store_directory(data.resolve(), 0)


def files_of(data: Path) -> dict[str, bytes]:
    """What the files of the only worker's store hold, by name."""
    return {name: (store_of(data) / name).read_bytes() for name in STORE_FILES}


def descriptors_that_sync(worker: int, store: Path) -> set[int]:
    """The descriptors of a process by which it writes LMDB's file through to the disk."""
    found = set()
    for link in Path(f"/proc/{worker}/fd").iterdir():
        info = Path(f"/proc/{worker}/fdinfo/{link.name}").read_text()
        flags = int(re.findall(r"flags:\s*(\d+)", info)[0], 8)
        if flags & os.O_DSYNC and link.readlink() == store / FILE_NAME:
            found.add(int(link.name))
    return found


def put_load_on(relay: Relay, chars: int, *, first: int = 0) -> None:
    """Send to one who is away and to one who acks, in bursts, and take what comes.

    Of eight messages to the one who is away the last has seven times so many characters.
    """
    alice, carol = relay.logged_in(ALICE, CAROL)
    for number in range(first, first + ROUNDS):
        for each in range(8):
            alice.send_message(BOB, f"BOB-{number}-{each}", {"conversation": "x" * chars * each})
            alice.send_message(CAROL, f"CAROL-{number}-{each}")
        for frame in carol.recv_many(8):
            carol.ack(frame)
        left = 16 + 8
        while left:
            left -= alice.recv()[0] == "Msg"


def is_folded_in(store: Path) -> bool:
    """Whether LMDB's pages lack nothing that is in the journal."""
    snapshot = Snapshot(store)
    unfolded = snapshot.unfolded
    snapshot.close()
    return not unfolded


def record(relay: Relay, directory: Path, *, chars: int = 700, folds_in: bool = False) -> Recording:
    """Put load on a relay of one worker that has not served anyone yet, and record it."""
    data = relay.directory / "data"
    store = store_of(data)
    with Tracer(directory, relay.children()) as tracer:
        before = {store / name: content for name, content in files_of(data).items()}
        [worker] = relay.children("worker")
        synced = descriptors_that_sync(worker.process.pid, store)
        put_load_on(relay, chars)
        for again in range(1, 1 + (AGAIN if folds_in else 0)):
            poll_for("the journal is folded in", lambda: is_folded_in(store))
            put_load_on(relay, 10, first=again * ROUNDS)
    return Recording(before, synced, tracer.calls)


def lay_out(image: dict[str, bytes], data: Path, to: Path) -> None:
    """Make a data directory of an image of the only store in `data`."""
    to.mkdir()
    shutil.copy(data / "meta.json", to)
    store_of(to).mkdir(parents=True)
    for name, content in image.items():
        (store_of(to) / name).write_bytes(content)


def assert_whole(data: Path, story: str) -> None:
    """A worker could open the only store of the data directory, and all in it agrees."""
    layout, report = read_layout(data), Report()
    directory = layout.store_directory(data, 0)
    snapshot = Snapshot(directory)
    check_stores({0: snapshot}, report, generation=layout.generation, workers=layout.workers)
    snapshot.close()
    assert report.findings == [], story
    mark = Mark(layout.generation, layout.workers, 0)
    size = 1 << 26
    Store(directory, durability="os", map_bytes=size, max_map_bytes=size, mark=mark).close()


def assert_command_finds_nothing(data: Path) -> None:
    """The operator's check of the data directory says so too."""
    done = subprocess.run(
        [sys.executable, "-m", "workers.store", "check", str(data)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def stored_in(data: Path) -> set[str]:
    """The ids of the messages that are remembered, and wait if they are for Bob, who is away."""
    snapshot = Snapshot(store_of(data))
    found = set()
    for key, value in snapshot.items("messages"):
        recipient, message = parse(key, value)
        entry = snapshot.get("mail", box_of(recipient) + pack_seq(message.seq))
        if recipient != BOB or entry is not None:
            found.add(key[: key.index(b"\0")].decode())
    snapshot.close()
    return found


def test_ack_1_leaves_when_the_sync_of_its_batch_has_returned(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(workers=1)
    alice, bob = relay.logged_in(ALICE, BOB)
    store = store_of(relay.directory / "data")

    with Tracer(tmp_path, relay.children()) as tracer:
        alice.send_message(BOB, "TRACED")
        alice.expect(ack_1("TRACED", author=ALICE, to=BOB))
        bob.expect(delivery("TRACED", author=ALICE))

    calls = tracer.calls
    of_worker = [call for call in calls if call.role == "worker"]
    of_store = [call for call in of_worker if call.path.startswith(str(store))]
    # The worker tells the front of both in one ZeroMQ message, in which only the delivery is text.
    told = [c for c in of_worker if c.path.startswith("socket") and b"TRACED" in c.written]
    acked = [call for call in calls if call.role == "front" and acks_in(call.written)]
    assert told
    assert acked
    first_told = min(call.began for call in told + acked)
    written = [c for c in of_store if b"TRACED" in c.written and c.ended < first_told]
    assert written, "the message was not written before it was told of"
    assert written[-1].result == len(written[-1].written)
    sync = next(
        (c for c in of_store if c.syncs and (c is written[-1] or c.began > written[-1].ended)), None
    )
    assert sync is not None, "the message was not synced"
    assert sync.path == written[-1].path
    assert sync.writes_through or sync.result == 0
    assert sync.ended < first_told, "the message was told of before its batch was synced"


def test_after_a_power_cut_the_store_is_whole_and_has_what_was_acked(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(workers=1, config=SMALL_MAP)
    recording, random = record(relay, tmp_path, chars=4000, folds_in=True), Random(SEED)
    assert recording.writes_to(FILE_NAME), "no part of the journal was folded in"
    assert any(recording.writes_to(name) for name in FILE_NAMES[1:]), (
        "the journal did not turn over"
    )

    for number, moment in enumerate(recording.moments(random, CUTS)):
        kept = random.choice((0.0, 0.5, 1.0))
        story = f"cut {number} at {moment}, {kept:.0%} kept"
        data = tmp_path / f"cut-{number}"
        lay_out(recording.image(moment, random, kept), relay.directory / "data", data)
        assert_whole(data, story)
        assert set(recording.acked(moment)) <= stored_in(data), story
    assert_command_finds_nothing(data)
    assert len(recording.acked(recording.end)) == (1 + AGAIN) * ROUNDS * 16


def test_without_the_sync_a_power_cut_takes_what_was_acked(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(workers=1, config='[store]\ndurability = "os"\n')
    recording = record(relay, tmp_path)

    data = tmp_path / "cut"
    image = recording.image(recording.end, Random(SEED), 0.0)
    lay_out(image, relay.directory / "data", data)

    assert recording.acked(recording.end)
    assert stored_in(data) == set()


def test_a_store_whose_worker_is_frozen_at_any_moment_is_whole_and_has_what_was_acked(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(workers=1)
    alice, random = relay.login(ALICE), Random(SEED)
    [worker] = relay.children("worker")
    acked: set[str] = set()

    for number in range(COPIES):
        for each in range(60):
            alice.send_message(BOB, f"M{number}-{each}", {"conversation": "x" * 30 * each})
        time.sleep(random.uniform(0, 0.01))
        # As it writes nothing now, a copy is of one moment.
        worker.process.send_signal(signal.SIGSTOP)
        poll_for("it stops", lambda: worker.process.status() == psutil.STATUS_STOPPED)
        alice.ping()  # what the front has for her comes before the pong
        acked |= {message_id_of(frame) for frame in alice.recv_available()}
        data = tmp_path / f"copy-{number}"
        lay_out(files_of(relay.directory / "data"), relay.directory / "data", data)
        worker.process.send_signal(signal.SIGCONT)
        assert_whole(data, f"copy {number}")
        assert acked <= stored_in(data), f"copy {number}"
    assert acked
    assert_command_finds_nothing(data)
