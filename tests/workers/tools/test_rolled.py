"""A copy of a range is brought forward by the log, to what the owner's store is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from relay.bus.envelopes import Seq
from relay.cluster.jetstream import Stored
from relay.cluster.transfers import Copied
from relay.errors import LogLostData
from relay.settings.tables import Settings
from workers.log.parts import split
from workers.log.record import Claimed, Kind, encode, encode_claimed
from workers.store.keys import box_of
from workers.store.moment import find_gaps
from workers.store.snapshot import Snapshot
from workers.store.store import Store
from workers.tools.clusterbackup import ClusterBackup
from workers.tools.rolled import Rolled, TooOld

pytestmark = pytest.mark.slow  # copies are made by processes of their own

MIB = 1024 * 1024
BOB = box_of("bob")
EPOCH = 1
PART_BYTES = 16 * 1024


class MemoryLog:
    """A log whose owner is this process; it has its epoch record already."""

    refusal = ""

    def __init__(self) -> None:
        self.records = [encode(Kind.EPOCH, 0, encode_claimed(Claimed("a", 1, "p", "")))]

    @property
    def confirmed(self) -> int:
        return len(self.records)

    def append(self, number: int, payload: bytes) -> int:
        assert number == len(self.records) + 1
        self.records += [encode(Kind.DATA, EPOCH, body) for body in split(payload, PART_BYTES)]
        return len(self.records)

    def record(self, number: int) -> Stored:
        return Stored(number, self.records[number - 1], {})


class Owner:
    """The store of a range's owner, and its log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = MemoryLog()
        self.store = open_store(directory)
        self.store.apply(1, b"")
        self.store.follow(self.log)

    def write(self, seq: int, size: int = 100, *, applied: int = 0, confirmed: int = 0) -> None:
        with self.store.writing() as batch:
            batch.put_mail(BOB, Seq(seq), b"x" * size)
            batch.put_last_seq(Seq(seq))
            batch.put_applied(1, Seq(applied))
            batch.put_confirmed(1, Seq(confirmed))
        self.store.confirm()
        self.store.fold()


def open_store(directory: Path) -> Store:
    return Store(directory, durability="log", map_bytes=16 * MIB, max_map_bytes=64 * MIB)


def rolled(directory: Path, *, begins_behind: int = 0) -> Rolled:
    return Rolled(
        directory, begins_behind=begins_behind, map_bytes=16 * MIB, max_map_bytes=64 * MIB
    )


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path / "owner")
    for seq in range(1, 21):
        owner.write(seq)
    yield owner
    owner.store.close()


@pytest.fixture
def copy(tmp_path: Path, owner: Owner) -> Iterator[Rolled]:
    """A copy of what the owner has so far, who writes on."""
    hand_out(owner.directory, tmp_path / "copy")
    copy = rolled(tmp_path / "copy")
    yield copy
    copy.close()


def hand_out(store: Path, to: Path) -> int:
    """Copy a store that may be open here; return its last record."""
    to.mkdir()
    command = [sys.executable, "-m", "workers.tools.handout", "--store", str(store)]
    command += ["--to", str(to)]
    made = subprocess.run(command, check=True, capture_output=True, timeout=60)
    return msgspec.json.decode(made.stdout, type=Copied).number


def held(directory: Path) -> dict[str, dict[bytes, bytes]]:
    snapshot = Snapshot(directory)
    try:
        return {name: dict(snapshot.items(name)) for name in ("mail", "boxes", "messages")}
    finally:
        snapshot.close()


def follow(copy: Rolled, owner: Owner) -> None:
    while copy.next <= owner.log.confirmed:
        copy.take(owner.log.record(copy.next))
    copy.fold()


def test_it_goes_on_behind_its_last_record_and_knows_whose_range_it_is(
    tmp_path: Path, owner: Owner, copy: Rolled
) -> None:
    assert copy.number == 21
    assert copy.next == 21 - 15, "the last records are read again"
    for seq in range(21, 41):
        owner.write(seq, size=40_000 if seq % 7 == 0 else 100, applied=3, confirmed=4)

    follow(copy, owner)

    assert copy.number == owner.log.confirmed > 41, "some were in parts"
    assert copy.epoch == EPOCH
    assert (copy.last_seq(), copy.applied(1), copy.confirmed(1)) == (40, 3, 4)
    hand_out(tmp_path / "copy", tmp_path / "ours")
    hand_out(owner.directory, tmp_path / "theirs")
    assert held(tmp_path / "ours") == held(tmp_path / "theirs")


def test_a_copy_that_was_made_amid_the_parts_of_a_record_has_it_in_the_end(
    tmp_path: Path, owner: Owner
) -> None:
    owner.write(21, size=3 * PART_BYTES)
    last = owner.log.confirmed
    directory = tmp_path / "amid"
    store = open_store(directory)
    store.apply(1, b"")
    store.close()
    amid = rolled(directory)
    while amid.next < last:
        amid.take(owner.log.record(amid.next))
    amid.close()

    copy = rolled(directory)
    follow(copy, owner)

    assert copy.last_seq() == 21
    copy.close()


def test_a_log_that_was_trimmed_too_far_or_is_another_is_told(owner: Owner, copy: Rolled) -> None:
    with pytest.raises(TooOld, match="begins with record 30"):
        copy.take(Stored(30, owner.log.records[-1], {}))
    while copy.next < copy.number:
        copy.take(owner.log.record(copy.next))

    with pytest.raises(LogLostData):
        copy.take(Stored(copy.next, encode(Kind.DATA, EPOCH, b"another"), {}))


def test_behind_a_backup_nothing_is_read_again(tmp_path: Path, owner: Owner) -> None:
    number = hand_out(owner.directory, tmp_path / "copy")

    copy = rolled(tmp_path / "copy", begins_behind=number)

    assert copy.next == number + 1
    assert copy.epoch == 0
    copy.close()


def test_what_one_copy_lacks_of_what_another_knows_is_seen(tmp_path: Path, owner: Owner) -> None:
    other = Owner(tmp_path / "other")
    other.write(5, applied=20)
    hand_out(owner.directory, tmp_path / "copy-0")
    with other.store.writing() as batch:
        batch.put_applied(0, Seq(21))
    other.store.confirm()
    owner.write(21)
    hand_out(other.directory, tmp_path / "copy-1")
    sender, receiver = rolled(tmp_path / "copy-0"), rolled(tmp_path / "copy-1")
    assert {gap.older for gap in find_gaps({0: sender, 1: receiver})} == {0}

    follow(sender, owner)

    assert not list(find_gaps({0: sender, 1: receiver}))
    sender.close()
    receiver.close()
    other.store.close()


def test_a_backup_goes_on_where_its_ranges_do_not_fit_and_no_further(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Owner(tmp_path / "other")
    hand_out(owner.directory, tmp_path / "copy-0")
    hand_out(other.directory, tmp_path / "copy-1")
    early = owner.log.confirmed  # where its log ended when it was asked first
    for seq in range(21, 31):
        owner.write(seq)
    with other.store.writing() as batch:
        batch.put_applied(0, Seq(25))
    other.store.confirm()
    logs = {0: owner.log, 1: other.log}
    asked: list[int] = []

    def last(backup: ClusterBackup, range_: int) -> int:
        asked.append(range_)
        return early if asked == [0] else logs[range_].confirmed

    def read(backup: ClusterBackup, range_: int, first: int, to: int) -> list[Stored]:
        return [logs[range_].record(number) for number in range(first, to + 1)]

    monkeypatch.setattr(ClusterBackup, "_last", last)
    monkeypatch.setattr(ClusterBackup, "_read", read)
    backup = ClusterBackup(Settings(), tmp_path / "monday", lambda name: None)
    sender, receiver = rolled(tmp_path / "copy-0"), rolled(tmp_path / "copy-1")
    backup._rolled = {0: sender, 1: receiver}

    backup._bring_to_one_moment()

    assert not list(find_gaps(backup._rolled))
    assert (sender.last_seq(), receiver.applied(0)) == (25, 25)
    assert sender.number < owner.log.confirmed
    sender.close()
    receiver.close()
    other.store.close()
