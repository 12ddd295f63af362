"""After an orderly stop what is wrong with a journal is damage; after a kill it may not be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from relay.bus.envelopes import Seq
from relay.errors import BootError, StoreDamaged
from workers.store import seal
from workers.store.journal import FILE_NAMES
from workers.store.journalfile import FIRST_RECORD
from workers.store.keys import box_of
from workers.store.seal import SEAL_NAME
from workers.store.snapshot import Snapshot
from workers.store.store import Store

BOB = box_of("bob")


def open_store(directory: Path) -> Store:
    return Store(directory, durability="os", map_bytes=1 << 24, max_map_bytes=1 << 26)


def put(store: Store, seq: int) -> None:
    with store.writing() as batch:
        batch.put_mail(BOB, Seq(seq), b"entry %d" % seq)
        batch.put_last_seq(Seq(seq))


def mail(store: Store) -> list[int]:
    with store.reading() as batch:
        return [seq for seq, _ in batch.scan_mail(BOB)]


def stopped(directory: Path, *, seals: bool, folds: bool = False) -> None:
    store = open_store(directory)
    for seq in range(1, 6):
        put(store, seq)
    if folds:
        store.fold(at_once=True)
    store.close(seals=seals)


def last_byte(content: bytes) -> int:
    return len(content.rstrip(b"\0")) - 1


def active(directory: Path) -> Path:
    """Return the file of the two that has records."""
    files = [directory / name for name in FILE_NAMES]
    return max(files, key=lambda path: last_byte(path.read_bytes()))


def flip_a_bit_of_the_last_record(content: bytes) -> bytes:
    at = last_byte(content)
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def zero_the_tail(content: bytes) -> bytes:
    at = last_byte(content) - 60
    return content[:at] + bytes(len(content) - at)


def zero_all_records(content: bytes) -> bytes:
    return content[:FIRST_RECORD] + bytes(len(content) - FIRST_RECORD)


DAMAGES = [flip_a_bit_of_the_last_record, zero_the_tail, zero_all_records]
Damage = Callable[[bytes], bytes]


def damage(directory: Path, change: Damage) -> bytes:
    path = active(directory)
    content = path.read_bytes()
    path.write_bytes(change(content))
    return content


def test_what_an_orderly_stop_left_is_taken(tmp_path: Path) -> None:
    stopped(tmp_path, seals=True)

    Snapshot(tmp_path).close()
    store = open_store(tmp_path)
    assert mail(store) == [1, 2, 3, 4, 5]
    assert not (tmp_path / SEAL_NAME).exists(), "it says nothing of a store in use"
    store.close()


@pytest.mark.parametrize("change", DAMAGES)
def test_damage_after_an_orderly_stop_is_found_and_nothing_is_changed(
    tmp_path: Path, change: Damage
) -> None:
    stopped(tmp_path, seals=True)
    whole = damage(tmp_path, change)

    with pytest.raises(StoreDamaged, match=r"changed since an orderly stop: .* cannot be read"):
        Snapshot(tmp_path)
    with pytest.raises(BootError, match=r"to 5 cannot be read, .* from a backup"):
        open_store(tmp_path)

    active(tmp_path).write_bytes(whole)
    store = open_store(tmp_path)
    assert mail(store) == [1, 2, 3, 4, 5]
    store.close()


@pytest.mark.parametrize("change", DAMAGES)
def test_damage_of_what_is_in_the_pages_is_told_to_lose_nothing(
    tmp_path: Path, change: Damage
) -> None:
    stopped(tmp_path, seals=True, folds=True)
    damage(tmp_path, change)

    with pytest.raises(BootError, match="no record of it is lost"):
        open_store(tmp_path)

    (tmp_path / SEAL_NAME).unlink()
    store = open_store(tmp_path)
    assert mail(store) == [1, 2, 3, 4, 5]
    store.close()


def test_without_the_note_it_starts_with_what_can_be_read(tmp_path: Path) -> None:
    stopped(tmp_path, seals=True)
    damage(tmp_path, flip_a_bit_of_the_last_record)

    (tmp_path / SEAL_NAME).unlink()

    store = open_store(tmp_path)
    assert mail(store) == [1, 2, 3, 4]
    store.close()


@pytest.mark.parametrize("change", [flip_a_bit_of_the_last_record, zero_the_tail])
def test_after_a_kill_a_last_record_that_is_cut_short_is_left_out(
    tmp_path: Path, change: Damage
) -> None:
    stopped(tmp_path, seals=True)
    store = open_store(tmp_path)
    put(store, 6)
    store.close()  # as a kill leaves it
    damage(tmp_path, change)

    store = open_store(tmp_path)
    assert 6 not in mail(store)
    store.close()


def test_a_note_of_files_that_were_written_since_says_nothing(tmp_path: Path) -> None:
    """An earlier version, which knows of no such notes, may have served in between."""
    stopped(tmp_path, seals=True)
    note = (tmp_path / SEAL_NAME).read_bytes()
    store = open_store(tmp_path)
    put(store, 6)
    store.close()
    (tmp_path / SEAL_NAME).write_bytes(note)

    Snapshot(tmp_path).close()
    store = open_store(tmp_path)
    assert mail(store) == [1, 2, 3, 4, 5, 6]
    store.close()


def test_a_store_can_be_read_while_its_worker_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path, seals=True)
    look_at = seal._look_at

    def look_late(path: Path) -> object:
        seal.break_seal(tmp_path)
        path.write_bytes(flip_a_bit_of_the_last_record(path.read_bytes()))
        return look_at(path)

    monkeypatch.setattr(seal, "_look_at", look_late)

    Snapshot(tmp_path).close()


def test_a_damaged_note_is_told(tmp_path: Path) -> None:
    stopped(tmp_path, seals=True)
    (tmp_path / SEAL_NAME).write_bytes(b"{")

    with pytest.raises(BootError, match=rf"{SEAL_NAME} is damaged"):
        open_store(tmp_path)
