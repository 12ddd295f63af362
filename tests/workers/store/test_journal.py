"""The journal: what is committed is there whatever happens before it is in the trees' pages."""

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import lmdb
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from relay.bus.envelopes import Seq
from relay.errors import BootError, StoreDamaged, StoreWriteError
from workers.store import journal
from workers.store.batch import Batch
from workers.store.journal import FILE_NAMES
from workers.store.journalfile import FIRST_RECORD, IDENTITY_BYTES, JournalFile, JournalReader
from workers.store.keys import box_of, owned_prefix, pack_seq, unpack_seq
from workers.store.schema import TreeRow, owned_row
from workers.store.seal import seal
from workers.store.snapshot import Snapshot
from workers.store.store import Store

MIB = 1024 * 1024
BOB, CAROL = box_of("bob"), box_of("carol")


# Trees of an extension, one of which grows.
NOTES, LOG = owned_row("diary.notes"), owned_row("diary.log", grows=True)


def open_store(directory: Path, *owned: TreeRow) -> Store:
    return Store(
        directory, durability="os", map_bytes=16 * MIB, max_map_bytes=64 * MIB, owned=owned
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.close()


def stored(store: Store, tree: str) -> list[bytes]:
    """Return the keys in the pages of a tree."""
    store._renew()
    with store._read.cursor(store._dbs[tree]) as cursor:
        return list(cursor.iternext(values=False))


def records(directory: Path) -> list[int]:
    """Return the numbers of the records in the files of the store in `directory`."""
    numbers = []
    for name in FILE_NAMES:
        head = (directory / name).read_bytes()[8 : 8 + IDENTITY_BYTES]
        reader = JournalReader(directory / name, head)
        reader.read_on()
        numbers += [record.number for record in reader.records]
        reader.close()
    return sorted(numbers)


def fold_in(store: Store) -> None:
    while store.has_unfolded:
        store.fold(at_once=True)


def put(store: Store, seq: int, entry: bytes = b"entry") -> None:
    with store.writing() as batch:
        batch.put_mail(BOB, Seq(seq), entry)
        batch.put_last_seq(Seq(seq))


def mail(store: Store) -> list[tuple[int, bytes]]:
    with store.reading() as batch:
        return list(batch.scan_mail(BOB))


def test_a_commit_writes_a_record_and_no_page(store: Store, tmp_path: Path) -> None:
    with store.writing() as batch:
        batch.put_mail(BOB, Seq(1), b"entry")
        batch.add_message(b"key", b"record")

    assert records(tmp_path) == [1]
    assert stored(store, "mail") == stored(store, "messages") == []


def test_what_was_committed_is_there_when_opened_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, 1, b"x" * 100_000)
    put(store, 2)
    store.close()

    store = open_store(tmp_path)

    assert mail(store) == [(1, b"x" * 100_000), (2, b"entry")]
    put(store, 3)
    assert records(tmp_path) == [1, 2, 3]
    store.close()


def test_a_batch_that_changes_nothing_leaves_no_record(store: Store, tmp_path: Path) -> None:
    with store.writing() as batch:
        batch.pop_mail(BOB, Seq(1))
        batch.delete_totals(BOB)

    assert records(tmp_path) == []
    assert not store.has_unfolded


def test_a_batch_that_could_not_be_synced_is_not_in_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the disk it may be."""
    put(store, 1)

    def fail(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwritev", fail)
    monkeypatch.setattr(os, "fdatasync", fail)
    store._journal._files[0]._is_synced = True
    with pytest.raises(StoreWriteError):
        put(store, 2)
    monkeypatch.undo()

    assert mail(store) == [(1, b"entry")]


def test_a_pass_brings_the_pages_up_to_date(store: Store) -> None:
    for seq in range(1, 6):
        with store.writing() as batch:
            batch.put_mail(BOB, Seq(seq), b"%d" % seq)
            batch.pop_mail(BOB, Seq(seq - 1))
            batch.put_last_seq(Seq(seq))
    fold_in(store)

    assert mail(store) == [(5, b"5")]
    assert len(stored(store, "mail")) == 1


def test_what_was_never_in_a_page_leaves_none(store: Store) -> None:
    put(store, 1)
    with store.writing() as batch:
        batch.pop_mail(BOB, Seq(1))
    fold_in(store)

    assert stored(store, "mail") == []


def test_the_records_of_a_pass_are_not_read_again_and_their_room_is_used_again(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    for seq in range(1, 4):
        put(store, seq)
    fold_in(store)
    for seq in range(4, 6):
        put(store, seq)
    fold_in(store)
    put(store, 6)
    store.close()

    assert records(tmp_path) == [4, 5, 6]
    store = open_store(tmp_path)
    assert list(store._trees["mail"].recent) == [BOB + pack_seq(6)]
    assert [seq for seq, _ in mail(store)] == [1, 2, 3, 4, 5, 6]
    store.close()


def test_a_journal_that_grows_large_is_folded_in_as_more_comes(
    store: Store, tmp_path: Path
) -> None:
    store.adopt(max_map_bytes=64 * 80 * 1024)  # so that 80 KiB are enough
    for seq in range(1, 8001):
        put(store, seq, b"x" * 100)
        store.fold()

    # Two files that are spared, what came before the pass, and what comes during it.
    assert len(records(tmp_path)) * 150 < 5 * 80 * 1024
    assert len(stored(store, "mail")) > 5000
    assert [seq for seq, _ in mail(store)] == list(range(1, 8001))


def test_a_few_large_entries_do_not_let_it_grow_without_bound(store: Store, tmp_path: Path) -> None:
    store.adopt(max_map_bytes=64 * 100 * 1024)
    for seq in range(1, 201):
        put(store, seq, b"x" * 50_000)
        store.fold()

    assert sum((tmp_path / name).stat().st_size for name in FILE_NAMES) <= 8 * MIB
    assert [seq for seq, _ in mail(store)] == list(range(1, 201))


@pytest.mark.slow
@pytest.mark.parametrize("keys", [1, 100, 10_000])
def test_a_pass_keeps_up_however_much_a_batch_changes(
    store: Store, tmp_path: Path, keys: int
) -> None:
    store.adopt(max_map_bytes=64 * 100 * 1024)
    seq, most = 0, 0
    while seq < 200_000 and seq < 5_000 * keys:
        with store.writing() as batch:
            for _ in range(keys):
                seq += 1
                batch.put_mail(BOB, Seq(seq), b"x")
            batch.put_last_seq(Seq(seq))
        store.fold()
        most = max(most, len(store._trees["mail"].recent))

    # A record has some 40 bytes a key. Two files that are spared, that which begins a pass, what
    # comes during the pass, and the batch itself.
    assert most <= 5 * 100 * 1024 // 30 + 2 * keys
    assert sum((tmp_path / name).stat().st_size for name in FILE_NAMES) <= 8 * MIB


@pytest.mark.slow
def test_a_map_that_is_nearly_full_is_folded_into_by_smaller_stretches(tmp_path: Path) -> None:
    """What removes must get through where what adds does not."""
    store = Store(tmp_path, durability="os", map_bytes=64 * MIB, max_map_bytes=64 * MIB)
    boxes = [box_of(f"user{n}") for n in range(500)]
    seq = 0
    while not store.refusal:
        with store.writing() as batch:
            for box in boxes:
                seq += 1
                batch.put_mail(box, Seq(seq), b"x" * 400)
            batch.put_last_seq(Seq(seq))
        store.fold()
    removed = 0
    with store.reading() as batch:
        entries = [(box, number) for box in boxes for number, _ in batch.scan_mail(box)]
    assert len(entries) == seq

    for at in range(0, len(entries), 500):
        with store.writing() as batch:
            for box, number in entries[at : at + 500]:
                assert batch.pop_mail(box, number)
                removed += 1
        store.seek_room()
        while store.has_unfolded and not store.refusal:
            store.fold(at_once=True)
        if not store.has_unfolded:
            break

    assert removed < len(entries) / 4
    with store.reading() as batch:
        assert sum(1 for box in boxes for _ in batch.scan_mail(box)) == seq - removed
    store.close()


def test_what_pages_were_not_synced_with_is_synced_before_the_journal_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process before may have trusted the kernel, and was killed."""
    store = open_store(tmp_path)
    put(store, 1)
    fold_in(store)
    store._journal.close()
    store._read.abort()
    store._env.close()  # without the sync of an orderly end
    os.close(store._lock_file)
    synced: list[str] = []
    sync = lmdb.Environment.sync

    class Watched:
        def __init__(self, env: lmdb.Environment) -> None:
            self._env = env

        def __getattr__(self, name: str) -> object:
            return getattr(self._env, name)

        def sync(self, force: bool) -> None:
            synced.append("pages")
            sync(self._env, force)

    class WatchedFile(JournalFile):
        def begin_anew(self) -> None:
            synced.append("anew")
            super().begin_anew()

    opened = lmdb.open
    monkeypatch.setattr(lmdb, "open", lambda *args, **kwargs: Watched(opened(*args, **kwargs)))
    monkeypatch.setattr(journal, "JournalFile", WatchedFile)

    Store(tmp_path, durability="fsync", map_bytes=16 * MIB, max_map_bytes=64 * MIB).close()

    assert synced == ["pages", "anew"]


def test_what_may_be_with_the_kernel_only_is_synced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a sync that failed, the kernel forgets that there was anything to sync."""
    store = open_store(tmp_path)
    put(store, 1)
    store.close()
    again: list[bytes] = []

    class WatchedFile(JournalFile):
        def sync_again(self, records: bytes) -> None:
            again.append(records)
            super().sync_again(records)

    monkeypatch.setattr(journal, "JournalFile", WatchedFile)

    Store(tmp_path, durability="fsync", map_bytes=16 * MIB, max_map_bytes=64 * MIB).close()

    assert [b"entry" in records for records in again] == [True, False, False, False]


def test_a_key_that_no_page_could_take_is_refused_at_once(store: Store) -> None:
    with pytest.raises(ValueError, match="a key of 512 bytes"), store.writing() as batch:
        batch.add_message(b"k" * 512, b"record")

    put(store, 1)
    fold_in(store)
    assert mail(store) == [(1, b"entry")]


def test_a_journal_that_is_old_is_folded_in(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, 1)
    store.fold()
    assert store.has_unfolded
    later_s = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later_s)

    store.fold()

    assert not store.has_unfolded


# ------------------------------------------------------------------------------ what is young


@pytest.fixture
def passes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every commit is enough for a pass, and it need not wait for more to come to its end."""
    monkeypatch.setattr(journal, "_FOLD_BYTES", 1)
    monkeypatch.setattr(journal, "_GAP_S", 0.0)
    monkeypatch.setattr(journal.Journal, "_has_earned_a_stretch", True)


def one_pass(store: Store) -> None:
    store._journal.fold(store._begin_write)
    while store._journal._pass_to:
        store._journal.fold(store._begin_write)
    store._renew()


@pytest.fixture
def loaded(passes_at_once: None, tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    yield store
    store.close()


def test_what_is_young_is_spared_and_comes_to_no_page(loaded: Store, tmp_path: Path) -> None:
    with loaded.writing() as batch:
        batch.put_mail(BOB, Seq(1), b"entry")
        batch.update_message(b"key", b"record")
        batch.put_last_seq(Seq(1))

    one_pass(loaded)

    assert stored(loaded, "mail") == []
    assert stored(loaded, "messages") == [b"key"]
    assert records(tmp_path) == [1]
    assert loaded.has_unfolded
    assert mail(loaded) == [(1, b"entry")]


def test_what_is_gone_before_it_is_old_was_never_in_a_page(
    loaded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.monotonic()
    for seq in range(1, 6):
        put(loaded, seq)
    one_pass(loaded)
    with loaded.writing() as batch:
        for seq in range(1, 5):
            batch.pop_mail(BOB, Seq(seq))
    assert list(loaded._trees["mail"].recent) == [BOB + pack_seq(5)]
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 60)

    fold_in(loaded)

    assert stored(loaded, "mail") == [BOB + pack_seq(5)]


def test_what_was_young_in_two_passes_is_folded_in(loaded: Store, tmp_path: Path) -> None:
    for seq in range(1, 9):
        put(loaded, seq)
        one_pass(loaded)

    # Each file has one record; that of the entry that was folded in is free.
    assert [unpack_seq(key) for key in stored(loaded, "mail")] == [1, 2, 3, 4, 5, 6]
    assert set(records(tmp_path)) >= {7, 8}
    assert [seq for seq, _ in mail(loaded)] == list(range(1, 9))


def test_what_is_old_enough_is_folded_in_though_files_could_keep_it(
    loaded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock_s)
    for seq in range(1, 4):
        put(loaded, seq)
        one_pass(loaded)
        clock_s += 2.1

    assert [unpack_seq(key) for key in stored(loaded, "mail")] == [1, 2]


def test_a_pass_waits_for_what_is_young_unless_there_is_much(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock_s)
    monkeypatch.setattr(journal, "_FOLD_BYTES", 10_000)
    monkeypatch.setattr(journal, "_MOST_BYTES", 40_000)
    store.adopt(max_map_bytes=64 * MIB)
    put_some(store, 0, 100)
    assert store.fold()
    put_some(store, 100, 100)
    assert not store.fold()
    put_some(store, 200, 300)
    assert store.fold()  # since it is much
    put_some(store, 500, 100)
    assert not store.fold()

    clock_s += 1.1

    assert store.fold()


def put_some(store: Store, first: int, count: int) -> None:
    """Put so many entries of 100 bytes."""
    with store.writing() as batch:
        for seq in range(first, first + count):
            batch.put_mail(BOB, Seq(1 + seq), b"x" * 100)
        batch.put_last_seq(Seq(first + count))


def test_long_entries_are_not_kept_in_memory_for_being_young(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_FOLD_BYTES", 100_000)
    store.adopt(max_map_bytes=64 * MIB)
    for seq in range(1, 101):
        put(store, seq, b"x" * 10_000)
        while store.fold():
            pass
        assert len(store._trees["mail"].recent) <= 2 * 10 + 2


@pytest.mark.usefixtures("passes_at_once")
@pytest.mark.parametrize("settles", [False, True])
def test_a_crash_at_any_time_finds_what_was_spared_and_what_became_of_it(
    tmp_path: Path, settles: bool
) -> None:
    store = open_store(tmp_path)
    for seq in range(1, 9):
        put(store, seq)
    one_pass(store)
    assert stored(store, "mail") == []
    with store.writing() as batch:
        batch.pop_mail(BOB, Seq(2))
        batch.put_mail(BOB, Seq(3), b"other")
        batch.pop_mail(BOB, Seq(4))
    if settles:
        one_pass(store)
    with store.writing() as batch:
        batch.put_mail(BOB, Seq(4), b"again")
    store.close()  # as a crash would: nothing is folded in

    expected = [(seq, b"entry") for seq in range(1, 9) if seq != 2]
    expected[1:3] = [(3, b"other"), (4, b"again")]
    store = open_store(tmp_path)
    assert mail(store) == expected
    fold_in(store)
    assert mail(store) == expected
    store.close()


def test_where_no_file_is_free_what_is_young_is_folded_in(
    loaded: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after passes that the pages refused."""
    with monkeypatch.context() as refusing:

        def refuse() -> None:
            raise lmdb.DiskError("mdb_txn_commit: No space left on device")

        refusing.setattr(loaded, "_begin_write", refuse)
        for seq in range(1, 6):
            put(loaded, seq)
            loaded.fold(at_once=True)
    assert records(tmp_path) == [1, 2, 3, 4, 5]

    one_pass(loaded)

    assert len(stored(loaded, "mail")) == 5
    assert not loaded.has_unfolded


def make_earlier(directory: Path) -> None:
    """Have the store be as versions that had two files left it."""
    for name in FILE_NAMES[2:]:
        (directory / name).unlink()
    for name in FILE_NAMES[:2]:
        damage(directory / name, b"RELAYJN4", b"RELAYJNL")


def add_to_store(directory: Path, seq: int) -> list[int]:
    """Open it, put one more entry into it and into a file of its own; return what it has."""
    store = open_store(directory)
    store._journal._begin_pass(spares=True)
    put(store, seq)
    found = [number for number, _ in mail(store)]
    store.close()
    return found


def test_the_two_files_of_an_earlier_version_are_taken_over(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for seq in range(1, 4):
        put(store, seq)
    store.close()
    make_earlier(tmp_path)
    snapshot = Snapshot(tmp_path)
    assert snapshot.count("mail") == 3

    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        assert other.submit(add_to_store, tmp_path, 4).result() == [1, 2, 3, 4]

    assert records(tmp_path) == [1, 2, 3, 4]
    snapshot.refresh()
    assert snapshot.count("mail") == 4
    snapshot.close()
    open_store(tmp_path).close()


def test_what_an_orderly_stop_of_an_earlier_version_has_sealed_is_taken_over(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    put(store, 1)
    store.close()
    make_earlier(tmp_path)
    identity = (tmp_path / FILE_NAMES[0]).read_bytes()[8 : 8 + IDENTITY_BYTES]
    seal(tmp_path, FILE_NAMES[:2], identity=identity, last=1)

    store = open_store(tmp_path)

    assert mail(store) == [(1, b"entry")]
    store.close()


@pytest.mark.parametrize("steps", range(5))
def test_a_crash_while_files_of_an_earlier_version_are_taken_over_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    store = open_store(tmp_path)
    put(store, 1)
    store._journal._begin_pass(spares=False)  # the next record goes to another file
    store._journal._pass_to = 0
    put(store, 2)
    store.close()
    make_earlier(tmp_path)
    left = iter(range(steps))

    def step(wrapped: Callable[..., None]) -> Callable[..., None]:
        def done(*arguments: object) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            wrapped(*arguments)

        return done

    with monkeypatch.context() as crashing:
        for name in ("break_seal", "create_journal_file", "adopt_journal_file"):
            crashing.setattr(journal, name, step(getattr(journal, name)))
        with pytest.raises(KeyboardInterrupt):
            open_store(tmp_path)

    store = open_store(tmp_path)
    assert mail(store) == [(1, b"entry"), (2, b"entry")]
    store.close()


def sizes(directory: Path) -> list[int]:
    return [(directory / name).stat().st_size // MIB for name in FILE_NAMES]


def test_where_the_disk_has_little_left_what_is_young_is_folded_in_and_files_shrink(
    loaded: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sparing takes more must not be missing where sends are about to be refused."""
    monkeypatch.setattr(journal, "_SLACK_BYTES", MIB)
    monkeypatch.setattr(journal, "free_bytes", lambda _: journal._PLENTY_BYTES - 1)
    for seq in range(1, 11):
        put(loaded, seq, b"x" * MIB)
    assert sizes(tmp_path) == [11, 1, 1, 1]

    one_pass(loaded)
    put(loaded, 11)
    one_pass(loaded)

    assert [unpack_seq(key) for key in stored(loaded, "mail")] == list(range(1, 12))
    assert sizes(tmp_path) == [2, 1, 1, 1]
    assert len(mail(loaded)) == 11


def test_who_seeks_room_gets_that_of_the_file_that_is_not_needed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for seq in range(1, 6):
        put(store, seq, b"x" * MIB)
    fold_in(store)
    put(store, 6)
    assert sizes(tmp_path) == [6, 1, 1, 1]

    store._journal.make_room()

    assert sizes(tmp_path) == [1, 1, 1, 1]
    store.close()
    store = open_store(tmp_path)
    assert len(mail(store)) == 6
    store.close()


def test_what_is_to_be_folded_in_at_once_is_never_too_young(loaded: Store) -> None:
    put(loaded, 1)

    loaded.fold(at_once=True)

    assert stored(loaded, "mail") == [BOB + pack_seq(1)]


def test_pages_that_take_no_more_keep_the_journal_and_say_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seq in range(1, 6):
        put(store, seq)

    def refuse() -> None:
        raise lmdb.DiskError("mdb_txn_commit: No space left on device")

    monkeypatch.setattr(store, "_begin_write", refuse)
    store.fold(at_once=True)
    assert "No space left on device" in store.refusal
    put(store, 6)
    store.fold()  # does not try again by itself
    monkeypatch.undo()

    assert [seq for seq, _ in mail(store)] == [1, 2, 3, 4, 5, 6]
    store.seek_room()
    assert store.refusal == ""
    assert not store.has_unfolded
    assert [seq for seq, _ in mail(store)] == [1, 2, 3, 4, 5, 6]


def test_a_fault_that_is_no_write_s_is_raised(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, 1)

    def fail() -> None:
        raise lmdb.BadValsizeError("mdb_put: too long a key")

    monkeypatch.setattr(store, "_begin_write", fail)
    with pytest.raises(lmdb.BadValsizeError):
        store.fold(at_once=True)


def damage(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def assert_refused(directory: Path, reason: str) -> None:
    """No process opens the store, and the operator's tools say why."""
    with pytest.raises(BootError, match=rf"data\.mdb cannot be used: .*{reason}"):
        open_store(directory)
    with pytest.raises(StoreDamaged, match=reason):
        Snapshot(directory)


def test_a_damaged_record_with_others_behind_it_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for seq in range(1, 4):
        put(store, seq, b"entry %d" % seq)
    store.close()
    damage(tmp_path / "journal-0", b"entry 2", b"ENTRY 2")

    assert_refused(tmp_path, "record 3 is behind")


def test_a_record_that_no_store_wrote_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store._journal._files[0].append(1, b"\x81\xa4tree\x80")
    store.close()

    with pytest.raises(BootError, match="record 1 of the journal is damaged"):
        open_store(tmp_path)


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    open_store(tmp_path).close()
    (tmp_path / name).unlink()

    assert_refused(tmp_path, f"{name} is missing")


def test_records_that_lack_those_before_them_are_refused(tmp_path: Path) -> None:
    """As where one file was put back from an earlier copy."""
    store = open_store(tmp_path)
    put(store, 1)
    early = (tmp_path / "journal-0").read_bytes()
    put(store, 2)
    store._journal._begin_pass(spares=False)  # the next record goes to the other file
    put(store, 3)
    store.close()
    (tmp_path / "journal-0").write_bytes(early)

    assert_refused(tmp_path, "record 2 is missing before 3")


def test_a_crash_amid_a_pass_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_STRETCH_KEYS", 2)
    store = open_store(tmp_path)
    for seq in range(1, 8):
        put(store, seq)
    store.fold(at_once=True)
    put(store, 8)
    with store.writing() as batch:
        for seq in (1, 2, 3, 6):
            batch.pop_mail(BOB, Seq(seq))
    store.close()

    store = open_store(tmp_path)
    assert [seq for seq, _ in mail(store)] == [4, 5, 7, 8]
    # Both files have what the pages lack: neither may be begun anew until a pass is over.
    store.fold(at_once=True)
    with store.writing() as batch:
        batch.put_totals(BOB, b"totals")
    store.close()

    store = open_store(tmp_path)
    assert [seq for seq, _ in mail(store)] == [4, 5, 7, 8]
    fold_in(store)
    assert [seq for seq, _ in mail(store)] == [4, 5, 7, 8]
    put(store, 9)
    assert records(tmp_path)[-1] == 11
    store.close()


def test_what_came_during_a_pass_is_left_for_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_STRETCH_KEYS", 2)
    store.adopt(max_map_bytes=64 * MIB)
    for seq in range(1, 4):
        put(store, seq)
    store.fold(at_once=True)
    put(store, 4)
    store.fold(at_once=True)

    assert store.has_unfolded
    fold_in(store)
    assert len(stored(store, "mail")) == 4


def test_a_snapshot_has_what_is_only_in_the_journal(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store.writing() as batch:
        batch.put_mail(BOB, Seq(1), b"one")
        batch.put_mail(BOB, Seq(2), b"two")
    fold_in(store)
    with store.writing() as batch:
        batch.pop_mail(BOB, Seq(1))
        batch.put_mail(BOB, Seq(3), b"three")
        batch.put_last_seq(Seq(3))
    store.close()

    snapshot = Snapshot(tmp_path)
    for _ in range(2):
        assert [value for _, value in snapshot.items("mail")] == [b"two", b"three"]
        assert snapshot.count("mail") == 2
        assert snapshot.last_seq() == 3
        snapshot.refresh()
    snapshot.close()


class JournalMachine(RuleBasedStateMachine):
    """A store against a dictionary: whatever is committed is read back, folded in or not."""

    @initialize(young_s=st.sampled_from([0.0, 1000.0]), gap_s=st.sampled_from([0.0, 1000.0]))
    def open(self, young_s: float, gap_s: float) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(journal, "_STRETCH_KEYS", 2)  # a pass takes many stretches
        self.patch.setattr(journal, "_FOLD_BYTES", 200)
        self.patch.setattr(journal, "_GAP_S", gap_s)
        self.patch.setattr(journal, "_YOUNG_S", young_s)
        self.directory = Path(tempfile.mkdtemp())
        self.store = open_store(self.directory, NOTES, LOG)
        self.is_loaded = True  # the extension; while it is not, its trees stay as they are
        self.mail: dict[tuple[bytes, int], bytes] = {}
        self.known: dict[bytes, bytes] = {}
        self.notes: dict[bytes, bytes] = {}
        self.log: dict[bytes, bytes] = {}
        self.seq = 0
        self.begin()

    def begin(self) -> None:
        self.batch: Batch = self.store.begin()
        self.new_mail, self.new_known = dict(self.mail), dict(self.known)
        self.new_notes, self.new_log = dict(self.notes), dict(self.log)

    @rule(box=st.sampled_from([BOB, CAROL]), entry=st.binary(max_size=3))
    def put_mail(self, box: bytes, entry: bytes) -> None:
        self.seq += 1
        self.batch.put_mail(box, Seq(self.seq), entry)
        self.batch.put_last_seq(Seq(self.seq))
        self.new_mail[box, self.seq] = entry

    @precondition(lambda self: self.new_mail)
    @rule(data=st.data(), again=st.booleans())
    def pop_mail(self, data: st.DataObject, again: bool) -> None:
        box, seq = data.draw(st.sampled_from(sorted(self.new_mail)))
        entry = self.new_mail.pop((box, seq))
        assert self.batch.pop_mail(box, Seq(seq)) == entry
        if again:  # as receipts are when their author leaves
            self.batch.put_mail(box, Seq(seq), b"again")
            self.new_mail[box, seq] = b"again"

    @rule(key=st.binary(min_size=1, max_size=2), record=st.binary(max_size=2))
    def put_message(self, key: bytes, record: bytes) -> None:
        self.batch.update_message(key, record)
        self.new_known[key] = record

    @rule(key=st.binary(min_size=1, max_size=2))
    def get_message(self, key: bytes) -> None:
        assert self.batch.get_message(key) == self.new_known.get(key)

    @rule(prefix=st.binary(max_size=1))
    def scan_messages(self, prefix: bytes) -> None:
        expected = sorted(item for item in self.new_known.items() if item[0].startswith(prefix))
        assert list(self.batch.scan_messages(prefix)) == expected

    @rule(box=st.sampled_from([BOB, CAROL]), after=st.integers(min_value=0, max_value=40))
    def scan_mail(self, box: bytes, after: int) -> None:
        assert list(self.batch.scan_mail(box, after=Seq(after))) == [
            (seq, entry)
            for (its_box, seq), entry in sorted(self.new_mail.items())
            if its_box == box and seq > after
        ]

    @precondition(lambda self: self.is_loaded)
    @rule(key=st.binary(max_size=1), value=st.binary(max_size=2), removes=st.booleans())
    def note(self, key: bytes, value: bytes, removes: bool) -> None:
        notes = self.batch.owned_tree(NOTES.name)
        assert notes.get("bob", key) == self.new_notes.get(key)
        if removes:
            assert notes.pop("bob", key) == self.new_notes.pop(key, None)
        else:
            notes.put("bob", key, value)
            self.new_notes[key] = value

    @precondition(lambda self: self.is_loaded)
    @rule(value=st.binary(max_size=2))
    def add_to_log(self, value: bytes) -> None:
        self.seq += 1
        self.batch.owned_tree(LOG.name).put("bob", pack_seq(self.seq), value)
        self.batch.put_last_seq(Seq(self.seq))
        self.new_log[pack_seq(self.seq)] = value

    @precondition(lambda self: self.is_loaded and self.new_log)
    @rule(data=st.data())
    def remove_from_log(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.new_log)))
        assert self.batch.owned_tree(LOG.name).pop("bob", key) == self.new_log.pop(key)

    @precondition(lambda self: self.is_loaded)
    @rule(first=st.binary(max_size=1))
    def scan_owned(self, first: bytes) -> None:
        for row, model in ((NOTES, self.new_notes), (LOG, self.new_log)):
            found = list(self.batch.owned_tree(row.name).scan("bob", first))
            assert found == sorted(item for item in model.items() if item[0] >= first)

    @rule()
    def commit(self) -> None:
        self.batch.commit()
        self.mail, self.known = self.new_mail, self.new_known
        self.notes, self.log = self.new_notes, self.new_log
        self.begin()

    @rule()
    def abort(self) -> None:
        self.batch.abort()
        self.begin()

    @rule(at_once=st.booleans())
    def fold(self, at_once: bool) -> None:
        """Fold a few keys in, between two batches."""
        self.commit()
        self.store.fold(at_once=at_once)

    @rule(settle=st.booleans(), is_loaded=st.booleans())
    def reopen(self, settle: bool, is_loaded: bool) -> None:
        """Close the store as a crash would, and look at it from outside."""
        self.batch.abort()
        if settle:
            fold_in(self.store)
        self.store.close()
        for copy in (self.directory, self.directory / "copy"):
            snapshot = Snapshot(copy)
            assert len(list(snapshot.items("mail"))) == len(self.mail) == snapshot.count("mail")
            assert dict(snapshot.items("messages")) == self.known
            for row, model in ((NOTES, self.notes), (LOG, self.log)):
                assert dict(snapshot.items(row.name)) == {
                    owned_prefix("bob") + key: value for key, value in model.items()
                }
                assert snapshot.count(row.name) == len(model)
            if copy == self.directory:
                (self.directory / "copy").mkdir()
                snapshot.copy(self.directory / "copy")
            snapshot.close()
        shutil.rmtree(self.directory / "copy")
        self.is_loaded = is_loaded
        self.store = open_store(self.directory, *((NOTES, LOG) if is_loaded else ()))
        self.begin()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.batch.abort()
            self.store.close()
            shutil.rmtree(self.directory)
            self.patch.undo()


TestJournal = pytest.mark.slow(JournalMachine.TestCase)
TestJournal.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x81\xa1\xff\x80", id="a name that is no text"),
        pytest.param(b"\x81\xa4mail\x81\xc4\x00\xc4\x01v", id="an empty key"),
        pytest.param(b"\x81\xa4mail\x81\xc5\x02\x00%b\xc0" % bytes(512), id="a long key"),
        pytest.param(b"\x81\xa4mail\x81\xc4\x01k\x01", id="a value that is none"),
        pytest.param(b"\x81\xa8no-tree!\x80", id="no tree's name"),
    ],
)
def test_a_record_that_none_was_written_to_say_is_damage(tmp_path: Path, payload: bytes) -> None:
    open_store(tmp_path).close()
    file = JournalFile(tmp_path / FILE_NAMES[0], FIRST_RECORD, synced=False)
    file.append(1, payload)
    file.close()

    with pytest.raises(BootError, match="record 1 of the journal is damaged"):
        open_store(tmp_path)
