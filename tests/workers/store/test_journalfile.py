"""A journal's file: what was appended is read back, up to what was cut short."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import StoreDamaged, StoreWriteError
from workers.store.journalfile import (
    IDENTITY_BYTES,
    RESERVE,
    STEP,
    JournalFile,
    JournalReader,
    Record,
    create_journal_file,
)

IDENTITY = bytes(range(IDENTITY_BYTES))


class Files:
    """A file, written and read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        create_journal_file(path, IDENTITY)
        self.writer = self.open()

    def open(self) -> JournalFile:
        return JournalFile(self.path, self.read().end, synced=True)

    def reopen(self) -> None:
        """Go on as the next process."""
        self.writer.close()
        self.writer = self.open()

    def read(self) -> JournalReader:
        reader = JournalReader(self.path, IDENTITY)
        reader.read_on()
        reader.close()
        return reader

    def records(self) -> list[Record]:
        return self.read().records

    def later_than(self, number: int) -> int | None:
        reader = JournalReader(self.path, IDENTITY)
        reader.read_on()
        try:
            return reader.find_later(number)
        finally:
            reader.close()

    def change(self, at: int, content: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(content)


def write_no_file_through(
    monkeypatch: pytest.MonkeyPatch, refusal: int = errno.EOPNOTSUPP
) -> list[int]:
    """Play a system that cannot write durably in one call; return the descriptors of tries."""
    tries: list[int] = []

    def refuse(descriptor: int, *arguments: object) -> int:
        tries.append(descriptor)
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "pwritev", refuse)
    return tries


@pytest.fixture(params=["one call", "two calls"])
def files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Files]:
    """Written and synced in one call of the kernel, or in two."""
    if request.param == "two calls":
        write_no_file_through(monkeypatch)
    files = Files(tmp_path / "journal-0")
    yield files
    files.writer.close()


def test_a_new_file_has_no_record_and_room_for_some(files: Files) -> None:
    assert files.records() == []
    assert files.path.stat().st_size == STEP
    assert files.path.stat().st_mode & 0o777 == 0o600


def test_records_are_read_in_order_by_the_next_process_too(files: Files) -> None:
    files.writer.append(7, b"seven")
    files.writer.append(8, b"")
    files.reopen()
    files.writer.append(9, b"nine")

    assert files.records() == [(7, b"seven"), (8, b""), (9, b"nine")]


@given(st.lists(st.integers(min_value=0, max_value=3 * STEP), max_size=6))
@pytest.mark.slow
def test_records_of_any_size_are_read_whole(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    files = Files(tmp_path_factory.mktemp("records") / "journal-0")
    for number, size in enumerate(sizes, start=1):
        files.writer.append(number, bytes([number]) * size)

    assert [len(payload) for _, payload in files.records()] == sizes
    assert files.path.stat().st_size % STEP == 0
    files.writer.close()
    files.path.unlink()


def test_a_reader_goes_on_where_it_was_and_begins_anew_where_the_writer_did(files: Files) -> None:
    reader = JournalReader(files.path, IDENTITY)
    files.writer.append(1, b"one")
    files.writer.append(2, b"two")
    reader.read_on()
    files.writer.append(3, b"three")
    reader.read_on()
    assert [record.number for record in reader.records] == [1, 2, 3]

    files.writer.begin_anew()
    files.writer.append(4, b"four")
    reader.read_on()

    assert reader.records == [(4, b"four")]
    reader.close()


def test_what_was_cut_short_ends_the_records_and_is_written_over(files: Files) -> None:
    files.writer.append(1, b"one")
    end = files.read().end
    files.writer.append(2, b"x" * 5000)
    files.change(end + 4000, bytes(600))  # a sector that did not get to the disk

    assert files.records() == [(1, b"one")]
    assert files.later_than(1) is None
    files.reopen()
    files.writer.append(2, b"two")
    assert files.records() == [(1, b"one"), (2, b"two")]


@pytest.mark.parametrize("byte", range(20))
def test_no_byte_of_a_record_s_head_may_change(files: Files, byte: int) -> None:
    files.writer.append(1, b"one")
    content = files.path.read_bytes()[512 + byte]

    files.change(512 + byte, bytes([content ^ 1]))

    assert files.records() == []


def test_older_records_behind_the_end_are_none(files: Files) -> None:
    for number in (1, 2, 3):
        files.writer.append(number, b"x" * 100)
    files.writer.begin_anew()
    files.writer.append(4, b"y" * 100)

    assert files.records() == [(4, b"y" * 100)]
    assert files.later_than(4) is None


def test_a_record_behind_one_that_cannot_be_read_is_found(files: Files) -> None:
    for number in (1, 2, 3):
        files.writer.append(number, b"text of %d" % number)
    files.change(files.path.read_bytes().index(b"text of 2"), b"TEXT")

    assert files.records() == [(1, b"text of 1")]
    assert files.later_than(1) == 3


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "journal-0 is missing"),
        (lambda path: path.write_bytes(b""), "journal-0 is cut off at 0 bytes"),
        (lambda path: os.truncate(path, 5000), "journal-0 is cut off at 5000 bytes"),
        (lambda path: path.write_bytes(bytes(STEP)), "journal-0 is no journal"),
        (
            lambda path: create_journal_file(path, b"z" * IDENTITY_BYTES),
            "journal-0 is the journal of another store",
        ),
    ],
)
def test_a_file_that_is_not_whole_is_refused(
    files: Files, damage: Callable[[Path], object], reason: str
) -> None:
    damage(files.path)

    with pytest.raises(StoreDamaged, match=reason):
        files.read()


def test_where_the_disk_gives_no_more_the_reserve_is_used_and_then_records_are_refused(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, size: int) -> None:
        if size > STEP:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", refuse)
    number = 0
    while not files.writer.refusal:
        number += 1
        files.writer.append(number, bytes(10_000))
    assert STEP - RESERVE - 10_020 < files.writer.used_bytes <= STEP - RESERVE + 10_020

    with pytest.raises(StoreWriteError, match="No space left on device"):  # noqa: PT012
        for _ in range(100):
            number += 1
            files.writer.append(number, bytes(10_000))
    assert len(files.records()) == number - 1

    monkeypatch.undo()
    files.writer.make_room()
    assert not files.writer.refusal
    files.writer.append(number, b"again")
    assert files.records()[-1] == (number, b"again")


def test_a_write_that_fails_leaves_what_was_there(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.writer.append(1, b"one")

    def fail(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwritev", fail)
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StoreWriteError, match="Input/output error"):
        files.writer.append(2, b"two")
    monkeypatch.undo()
    files.writer.append(2, b"TWO")

    assert files.records() == [(1, b"one"), (2, b"TWO")]


def test_what_the_kernel_writes_in_part_is_written_and_synced_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path / "journal-0")
    pwritev = os.pwritev

    def in_part(descriptor: int, views: tuple[memoryview], offset: int, flags: int) -> int:
        assert flags == os.RWF_DSYNC
        return pwritev(descriptor, (views[0][:7],), offset, flags)

    monkeypatch.setattr(os, "pwritev", in_part)
    files.writer.append(1, b"in many parts")

    assert files.records() == [(1, b"in many parts")]
    assert files.writer.last_sync_s > 0
    files.writer.close()


@pytest.mark.parametrize(
    "refusal", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get
)
def test_where_a_write_is_not_durable_by_itself_each_is_synced_and_it_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    tries = write_no_file_through(monkeypatch, refusal)
    synced: list[int] = []
    fdatasync = os.fdatasync

    def noted(descriptor: int) -> None:
        fdatasync(descriptor)
        synced.append(descriptor)

    monkeypatch.setattr(os, "fdatasync", noted)
    files = Files(tmp_path / "journal-0")

    files.writer.append(1, b"one")
    files.writer.append(2, b"two")

    assert files.records() == [(1, b"one"), (2, b"two")]
    assert len(synced) == 2
    assert len(tries) == 1
    files.writer.close()


def test_records_are_synced_again_as_they_are(files: Files) -> None:
    files.writer.append(1, b"one")
    reader = JournalReader(files.path, IDENTITY)
    reader.read_on()

    files.writer.sync_again(reader.written())

    reader.close()
    assert files.records() == [(1, b"one")]
