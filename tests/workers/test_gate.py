"""Whether a worker takes sends: not without room, and not just after a write that failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.settings.tables import StoreSettings
from workers.gate import Gate
from workers.mishaps import REFUSE_AFTER_WRITE_ERROR_MS, Mishaps
from workers.store.room import CHECK_EVERY_BYTES
from workers.store.store import Store

NOW_MS = 1_566_970_629_000
PLENTY = StoreSettings(min_free_bytes=0)
TOO_MUCH = StoreSettings(min_free_bytes=1 << 62)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, durability="os", map_bytes=1 << 26, max_map_bytes=1 << 26)
    yield store
    store.close()


@pytest.fixture
def gate(store: Store, tmp_path: Path) -> Gate:
    return Gate(store, tmp_path, PLENTY, Mishaps(tmp_path, 0))


def test_it_is_open_while_there_is_room(gate: Gate) -> None:
    gate.check(now_ms=NOW_MS)

    assert gate.refusal == ""


def test_it_is_closed_with_a_reason_while_there_is_none_and_opens_again(gate: Gate) -> None:
    gate.adopt(TOO_MUCH)
    gate.check(now_ms=NOW_MS)
    assert gate.refusal.startswith("the disk is full")

    gate.adopt(PLENTY)
    assert gate.refusal, "it was not looked at again"
    gate.check(now_ms=NOW_MS)
    assert gate.refusal == ""


def test_it_is_closed_for_a_while_after_a_write_that_failed(store: Store, tmp_path: Path) -> None:
    Mishaps(tmp_path, 0).note_write_error("No space left on device", now_ms=NOW_MS)
    gate = Gate(store, tmp_path, PLENTY, Mishaps(tmp_path, 0))

    gate.check(now_ms=NOW_MS + 1)
    assert "No space left on device" in gate.refusal
    gate.check(now_ms=NOW_MS + REFUSE_AFTER_WRITE_ERROR_MS)
    assert gate.refusal == ""


def test_it_must_be_checked_when_much_was_stored(gate: Gate) -> None:
    gate.count(CHECK_EVERY_BYTES - 1)
    assert not gate.must_check
    gate.count(1)
    assert gate.must_check

    gate.check(now_ms=NOW_MS)
    assert not gate.must_check


def test_it_must_be_checked_when_the_store_takes_no_more(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "refusal", "the map is full")
    assert gate.must_check

    monkeypatch.setattr(Store, "seek_room", lambda store: None)
    gate.check(now_ms=NOW_MS)

    assert gate.refusal == "the map is full"
    assert not gate.must_check, "that is known"


def test_while_it_is_closed_each_check_seeks_room(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[Store] = []
    monkeypatch.setattr(Store, "seek_room", lambda store: sought.append(store))
    gate.check(now_ms=NOW_MS)
    assert sought == []

    gate.adopt(TOO_MUCH)
    for _ in range(2):
        gate.check(now_ms=NOW_MS)

    assert len(sought) == 2
