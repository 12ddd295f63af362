"""The store: one transaction a batch, one owner, and trees that keep to themselves."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from relay.bus.envelopes import NO_SEQ, Seq
from relay.errors import BootError
from workers.store.batch import Batch
from workers.store.keys import LAST_SEQ, box_of, pack_peer
from workers.store.meta import MARK_NAME, Mark, encode_mark
from workers.store.schema import MAX_TREES
from workers.store.store import Store

KIB = 1024
MIB = 1024 * KIB


def open_store(directory: Path, *, map_bytes: int = 16 * MIB, max_map_bytes: int = 0) -> Store:
    return Store(
        directory,
        durability="os",
        map_bytes=map_bytes,
        max_map_bytes=max_map_bytes or 1024 * MIB,
    )


def fold_in(store: Store) -> None:
    while store.has_unfolded:
        store.fold(at_once=True)
        assert not store.refusal


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "worker-0")
    yield store
    store.close()


@pytest.fixture
def batch(store: Store) -> Iterator[Batch]:
    batch = store.begin()
    yield batch
    batch.abort()


# ---------------------------------------------------------------------------------- life


def test_what_was_committed_is_there_when_opened_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    batch = store.begin()
    batch.put_mail(box_of("bob"), Seq(7), b"entry")
    batch.put_last_seq(Seq(7))
    batch.commit()
    store.close()

    store = open_store(tmp_path)
    batch = store.begin()

    assert list(batch.scan_mail(box_of("bob"))) == [(7, b"entry")]
    assert batch.last_seq() == 7
    batch.abort()
    store.close()


def test_an_aborted_batch_leaves_nothing(store: Store) -> None:
    batch = store.begin()
    batch.put_mail(box_of("bob"), Seq(7), b"entry")
    batch.put_last_seq(Seq(7))
    batch.add_message(b"key", b"record")
    batch.abort()

    batch = store.begin()

    assert list(batch.scan_mail(box_of("bob"))) == []
    assert batch.last_seq() == 0
    assert batch.get_message(b"key") is None
    assert batch.expire_messages(LAST_SEQ) == 0
    batch.abort()


def test_a_batch_reads_what_it_wrote(batch: Batch) -> None:
    batch.put_mail(box_of("bob"), Seq(1), b"one")

    assert batch.pop_mail(box_of("bob"), Seq(1)) == b"one"
    assert batch.pop_mail(box_of("bob"), Seq(1)) is None


def test_a_fresh_store_knows_nothing(batch: Batch) -> None:
    assert batch.last_seq() == 0
    assert batch.applied(3) == 0
    assert batch.next_box(b"") is None
    assert batch.get_totals(box_of("bob")) is None
    assert batch.get_receipt(b"key") is None
    assert not batch.knows_message(b"id\0")


def test_a_store_in_use_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    with pytest.raises(BootError, match="in use by another process"):
        open_store(tmp_path)

    batch = store.begin()
    batch.put_last_seq(Seq(1))
    batch.commit()
    store.close()


def test_a_closed_store_can_be_opened_by_the_next_process(tmp_path: Path) -> None:
    open_store(tmp_path).close()

    open_store(tmp_path).close()


def test_a_store_that_is_not_lmdb_is_refused_and_its_lock_released(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)

    with pytest.raises(BootError, match=r"data\.mdb cannot be used: .*; restore the data direct"):
        open_store(tmp_path)

    (tmp_path / "data.mdb").unlink()
    open_store(tmp_path).close()


@pytest.mark.parametrize("content", [b"", b"\0", bytes(4096), b"garbage" * 9999])
def test_what_is_no_store_is_never_taken_for_a_new_one(tmp_path: Path, content: bytes) -> None:
    """LMDB by itself takes an empty file for a new store."""
    (tmp_path / "data.mdb").write_bytes(content)

    with pytest.raises(BootError, match=r"data\.mdb cannot be used: it is"):
        open_store(tmp_path)

    assert (tmp_path / "data.mdb").read_bytes() == content


# -------------------------------------------------------------------------------- whose it is

MARK = Mark(generation=3, workers=4, index=2)


def marked_store(directory: Path, mark: Mark = MARK) -> Store:
    return Store(directory, durability="os", map_bytes=16 * MIB, max_map_bytes=64 * MIB, mark=mark)


def test_a_store_is_opened_by_its_mark(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with lmdb.open(str(tmp_path), max_dbs=MAX_TREES) as environment:
        meta = environment.open_db(b"meta")
        with environment.begin(meta, write=True) as txn:
            txn.put(MARK_NAME, encode_mark(MARK))

    marked_store(tmp_path).close()
    other = Mark(generation=3, workers=4, index=1)
    with pytest.raises(BootError, match=r"store of worker 2 of 4, generation 3, not of worker 1"):
        marked_store(tmp_path, other)
    marked_store(tmp_path).close()


def test_a_store_without_a_mark_is_not_the_one_that_is_asked_for(tmp_path: Path) -> None:
    open_store(tmp_path).close()

    with pytest.raises(BootError, match="it does not say whose store it is"):
        marked_store(tmp_path)


def test_a_store_that_is_asked_for_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(BootError, match=r"worker-0/data\.mdb cannot be used: its directory is mis"):
        marked_store(tmp_path / "worker-0")
    assert not (tmp_path / "worker-0").exists()

    with pytest.raises(BootError, match=r"data\.mdb cannot be used: it is missing"):
        marked_store(tmp_path)
    assert not (tmp_path / "data.mdb").exists()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(BootError, match="cannot be written: Not a directory"):
        open_store(tmp_path / "file" / "worker-0")


def test_the_directory_is_private(tmp_path: Path) -> None:
    open_store(tmp_path / "worker-0").close()

    assert (tmp_path / "worker-0").stat().st_mode & 0o777 == 0o700


# -------------------------------------------------------------------------------- growing


def fill(store: Store, count: int, *, first: int = 1) -> None:
    batch = store.begin()
    for seq in range(first, first + count):
        batch.put_mail(box_of("bob"), Seq(seq), bytes(10 * KIB))
    batch.commit()
    fold_in(store)


def test_the_map_doubles_while_over_half_of_it_is_used(tmp_path: Path) -> None:
    store = open_store(tmp_path, map_bytes=MIB)

    for first in range(0, 1000, 20):
        fill(store, 20, first=first + 1)
        store.grow()

    assert store._env.info()["map_size"] == 32 * MIB
    store.close()


def test_the_map_is_not_grown_before_it_is_needed(tmp_path: Path) -> None:
    store = open_store(tmp_path, map_bytes=MIB)
    fill(store, 20)

    store.grow()

    assert store._env.info()["map_size"] == MIB
    store.close()


def test_the_map_grows_to_a_limit_that_was_raised(tmp_path: Path) -> None:
    store = open_store(tmp_path, map_bytes=MIB, max_map_bytes=MIB)
    fill(store, 60)

    store.adopt(max_map_bytes=4 * MIB)
    store.grow()

    assert store._env.info()["map_size"] == 2 * MIB
    store.close()


def test_a_full_map_at_its_limit_takes_no_more_and_nothing_is_lost(tmp_path: Path) -> None:
    store = open_store(tmp_path, map_bytes=MIB, max_map_bytes=MIB)
    with store.writing() as batch:
        for seq in range(1, 201):
            batch.put_mail(box_of("bob"), Seq(seq), bytes(10 * KIB))

    while store.has_unfolded and not store.refusal:
        store.fold(at_once=True)

    assert "MDB_MAP_FULL" in store.refusal
    with store.reading() as batch:
        assert len(list(batch.scan_mail(box_of("bob")))) == 200
    with store.writing() as batch:
        for seq in range(1, 181):
            batch.pop_mail(box_of("bob"), Seq(seq))
    fold_in(store)
    assert store.refusal == ""
    with store.reading() as batch:
        assert [seq for seq, _ in batch.scan_mail(box_of("bob"))] == list(range(181, 201))
    store.close()


def test_a_store_larger_than_the_configured_map_opens_with_room(tmp_path: Path) -> None:
    store = open_store(tmp_path, map_bytes=16 * MIB)
    fill(store, 400)
    store.close()

    store = open_store(tmp_path, map_bytes=MIB)
    fill(store, 50, first=1000)

    assert store._env.info()["map_size"] >= 8 * MIB
    store.close()


@pytest.mark.slow
def test_a_reader_that_was_killed_is_let_go_of(store: Store, tmp_path: Path) -> None:
    """It would keep pages from being used again, and the store would grow for ever."""
    script = (
        "import os, sys; from pathlib import Path; from workers.store.snapshot import Snapshot;"
        "snapshot = Snapshot(Path(sys.argv[1])); os._exit(9)"
    )
    died = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "worker-0")],
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert died.returncode == 9
    ours = f" {os.getpid()} "
    assert len(readers(store)) == 2

    store.grow()

    assert [ours in line for line in readers(store)] == [True]


def readers(store: Store) -> list[str]:
    lines: list[str] = store._env.readers().splitlines()[1:]
    return lines


# --------------------------------------------------------------------------------- mailboxes


def test_entries_come_in_the_order_of_their_numbers_behind_the_cursor(batch: Batch) -> None:
    box = box_of("bob")
    for seq in (1 << 40, 2, 255, 256, 1):
        batch.put_mail(box, Seq(seq), b"%d" % seq)

    assert [seq for seq, _ in batch.scan_mail(box)] == [1, 2, 255, 256, 1 << 40]
    assert [seq for seq, _ in batch.scan_mail(box, after=Seq(2))] == [255, 256, 1 << 40]
    assert [seq for seq, _ in batch.scan_mail(box, after=Seq(1 << 40))] == []
    assert [seq for seq, _ in batch.scan_mail(box, after=LAST_SEQ)] == []


def test_the_last_mailbox_of_the_tree_ends_too(batch: Batch) -> None:
    batch.put_mail(b"\xff\xff" + b"z\0" + b"0\0", Seq(LAST_SEQ - 1), b"entry")

    assert list(batch.scan_mail(b"\xff\xffz\x000\0")) == [(LAST_SEQ - 1, b"entry")]
    assert list(batch.scan_mail(b"\xff\xffz\x000\0", after=Seq(LAST_SEQ - 1))) == []


def test_mailboxes_whose_names_begin_alike_keep_apart(batch: Batch) -> None:
    # The same slot for all, so that only the names tell them apart.
    boxes = [b"\0\1" + name + b"\x000\0" for name in (b"b", b"bo", b"bob")]
    for number, box in enumerate(boxes, start=1):
        batch.put_mail(box, Seq(number), b"entry")

    for number, box in enumerate(boxes, start=1):
        assert list(batch.scan_mail(box)) == [(number, b"entry")]


def test_each_mailbox_is_visited_once(store: Store) -> None:
    boxes = sorted(box_of(user) for user in ("bob", "alice", "carol"))
    with store.writing() as batch:
        for box in boxes:
            for seq in (1, 2, 1 << 62):
                batch.put_mail(box, Seq(seq), b"entry")
    fold_in(store)

    visited = []
    after = b""
    while (found := batch.next_box(after)) is not None:
        visited.append(found)
        after = found[0] + b"\xff"

    assert visited == [(box, 1) for box in boxes]


def test_totals_are_kept_apart_from_entries(batch: Batch) -> None:
    batch.put_totals(box_of("bob"), b"totals")

    assert batch.get_totals(box_of("bob")) == b"totals"
    assert batch.get_totals(box_of("alice")) is None

    batch.delete_totals(box_of("bob"))
    batch.delete_totals(box_of("bob"))

    assert batch.get_totals(box_of("bob")) is None


# ----------------------------------------------------------------------------------- bodies


def test_a_body_lives_as_long_as_someone_holds_it(batch: Batch) -> None:
    batch.put_body(Seq(7), b"frame", 2)

    batch.release_body(Seq(7))
    batch.commit()
    batch.begin()
    assert batch.get_body(Seq(7)) == b"frame"

    batch.release_body(Seq(7))
    batch.commit()
    batch.begin()
    with pytest.raises(AssertionError, match="body 7 is missing"):
        batch.get_body(Seq(7))
    batch.release_body(Seq(7))
    with pytest.raises(AssertionError, match="body 7 has no holders"):
        batch.commit()


def test_nobody_lets_go_of_a_body_twice(batch: Batch) -> None:
    batch.put_body(Seq(7), b"frame", 1)
    batch.release_body(Seq(7))
    batch.release_body(Seq(7))

    with pytest.raises(AssertionError, match="by more than hold it"):
        batch.commit()


# --------------------------------------------------------------------------------- messages


def commit_messages(store: Store, seq: int, *keys: bytes) -> None:
    batch = store.begin()
    for key in keys:
        batch.add_message(key, b"record")
    batch.put_last_seq(Seq(seq))
    batch.commit()


def test_messages_are_forgotten_batch_by_batch_oldest_first(store: Store) -> None:
    commit_messages(store, 10, b"a", b"b")
    commit_messages(store, 20, b"c")

    batch = store.begin()
    assert batch.expire_messages(Seq(10)) == 0
    assert batch.expire_messages(Seq(11)) == 2
    assert batch.expire_messages(Seq(11)) == 0
    assert [batch.get_message(key) for key in (b"a", b"b", b"c")] == [None, None, b"record"]
    assert batch.expire_messages(Seq(21)) == 1
    assert batch.expire_messages(LAST_SEQ) == 0
    batch.abort()


def test_a_message_that_was_updated_is_still_forgotten_in_its_time(store: Store) -> None:
    commit_messages(store, 10, b"a")
    batch = store.begin()
    batch.update_message(b"a", b"another record")
    batch.put_last_seq(Seq(20))
    batch.commit()

    batch = store.begin()
    assert batch.get_message(b"a") == b"another record"
    assert batch.expire_messages(Seq(11)) == 1
    assert batch.get_message(b"a") is None
    batch.abort()


def test_a_scan_of_messages_keeps_to_its_prefix(batch: Batch) -> None:
    for key in (b"id\0bob\0x", b"id\0bob\0y", b"id\0bobby\0x", b"id2\0bob\0x"):
        batch.add_message(key, b"record")

    assert [key for key, _ in batch.scan_messages(b"id\0bob\0")] == [b"id\0bob\0x", b"id\0bob\0y"]
    assert batch.knows_message(b"id\0bobby\0")
    assert not batch.knows_message(b"id\0al\0")
    assert not batch.knows_message(b"zz")


# ----------------------------------------------------------------------------------- outbox


def test_a_batch_knows_how_much_it_has_of_what_is_stored_many_times(batch: Batch) -> None:
    batch.put_outgoing(pack_peer(1), Seq(1), b"12345")
    batch.put_body(Seq(2), b"123", 4)
    assert batch.bulk_bytes == 8

    batch.abort()
    batch.begin()

    assert batch.bulk_bytes == 0


def test_what_waits_for_one_peer_is_not_seen_by_another(batch: Batch) -> None:
    for peer in (0, 1, 255, 256):
        for seq in (1, 2):
            batch.put_outgoing(pack_peer(peer), Seq(seq), b"%d:%d" % (peer, seq))

    assert list(batch.scan_outgoing(pack_peer(1), after=NO_SEQ)) == [(1, b"1:1"), (2, b"1:2")]
    assert list(batch.scan_outgoing(pack_peer(255), after=Seq(1))) == [(2, b"255:2")]

    batch.delete_outgoing(pack_peer(1), Seq(1))

    assert list(batch.scan_outgoing(pack_peer(1), after=NO_SEQ)) == [(2, b"1:2")]
    assert len(list(batch.scan_outgoing(pack_peer(0), after=NO_SEQ))) == 2


def test_each_peer_has_its_own_mark_of_what_is_applied(batch: Batch) -> None:
    batch.put_applied(1, Seq(100))
    batch.put_applied(11, Seq(7))

    assert [batch.applied(peer) for peer in (0, 1, 11)] == [0, 100, 7]
