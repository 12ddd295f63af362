"""Sends are refused before the disk or the map is full, and taken again when room is back."""

import os
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from relay.bus.envelopes import Seq
from relay.settings.tables import StoreSettings
from workers.store.keys import box_of
from workers.store.room import lack_of_room, room_bytes
from workers.store.store import Store

MIB = 1024 * 1024


def make_store(path: Path, settings: StoreSettings) -> Store:
    return Store(
        path,
        durability="os",
        map_bytes=settings.map_bytes,
        max_map_bytes=settings.max_map_bytes,
    )


def test_a_disk_below_its_reserve_lacks_room(tmp_path: Path) -> None:
    settings = StoreSettings(min_free_bytes=2**40)
    store = make_store(tmp_path, settings)

    assert "the disk is full" in lack_of_room(store, tmp_path, settings)

    enough = msgspec.structs.replace(settings, min_free_bytes=0)
    assert lack_of_room(store, tmp_path, enough) == ""
    store.close()


@pytest.mark.parametrize(("least", "most"), [(0, 0), (2**40, 0), (0, 32 * MIB)])
def test_the_room_is_below_zero_just_where_there_is_none(
    tmp_path: Path, least: int, most: int
) -> None:
    settings = StoreSettings(min_free_bytes=least, map_bytes=32 * MIB)
    if most:
        settings = msgspec.structs.replace(settings, max_map_bytes=most)
    store = make_store(tmp_path, settings)
    seq = 0
    while most and not lack_of_room(store, tmp_path, settings):
        seq += 1
        batch = store.begin()
        batch.put_mail(box_of("bob"), Seq(seq), bytes(MIB))
        batch.commit()
        store.fold(at_once=True)

    lack = lack_of_room(store, tmp_path, settings)
    assert (room_bytes(store, tmp_path, settings) < 0) == bool(lack) == bool(least or most)
    store.close()


def disk_with(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    disk = SimpleNamespace(f_bavail=free_bytes, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)


def test_what_is_free_inside_the_store_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = StoreSettings(min_free_bytes=16 * MIB)
    store = make_store(tmp_path, settings)
    box, entry = box_of("bob"), bytes(MIB)
    for seq in range(1, 31):
        batch = store.begin()
        batch.put_mail(box, Seq(seq), entry)
        batch.commit()
        store.fold(at_once=True)
    disk_with(monkeypatch, 6 * MIB)
    assert "the disk is full" in lack_of_room(store, tmp_path, settings)

    batch = store.begin()
    for seq in range(1, 25):
        batch.pop_mail(box, Seq(seq))
    batch.commit()
    store.fold(at_once=True)

    assert lack_of_room(store, tmp_path, settings) == ""
    # The journal grows on the disk itself, whatever is free inside.
    disk_with(monkeypatch, 3 * MIB)
    lack = lack_of_room(store, tmp_path, settings)
    assert "the disk is full" in lack
    assert "relay store compact" in lack
    store.close()


def test_a_full_map_lacks_room_until_something_is_removed(tmp_path: Path) -> None:
    settings = StoreSettings(map_bytes=64 * MIB, max_map_bytes=64 * MIB, min_free_bytes=0)
    store = make_store(tmp_path, settings)
    box, entry = box_of("bob"), bytes(MIB)
    for seq in range(1, 58):
        batch = store.begin()
        batch.put_mail(box, Seq(seq), entry)
        batch.commit()
        store.fold(at_once=True)

    assert "the store is full" in lack_of_room(store, tmp_path, settings)

    batch = store.begin()
    for seq in range(1, 10):
        batch.pop_mail(box, Seq(seq))
    batch.commit()
    store.fold(at_once=True)
    assert lack_of_room(store, tmp_path, settings) == ""
    store.close()
