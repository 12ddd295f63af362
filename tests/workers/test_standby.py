"""A standby and the disk of its host, which may be full for a while, or lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.errors import DiskError
from workers import standby as standbys
from workers.standby import Standby


def fails(error: Exception) -> Any:
    def close() -> None:
        raise error

    return SimpleNamespace(close=close)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), DiskError("no")])
def test_a_store_that_cannot_be_closed_well_is_told_and_no_crash(error: Exception) -> None:
    standby = Standby.__new__(Standby)
    standby._stream = SimpleNamespace(lose=lambda: None)  # type: ignore[assignment]
    standby._store = fails(error)

    with capture_logs() as said:
        standby._close()

    assert [(each["event"], each["log_level"]) for each in said] == [
        ("store.not_sealed", "warning")
    ]


def test_a_disk_that_was_full_is_asked_again_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its journal would grow until it owns the range, or starts anew."""
    now_s, asked = 100.0, 0

    def seek_room() -> None:
        nonlocal asked
        asked += 1

    monkeypatch.setattr(standbys, "_now_s", lambda: now_s)
    standby = Standby.__new__(Standby)
    store = SimpleNamespace(fold=lambda: False, seek_room=seek_room, refusal="")
    standby._store, standby._room_s = store, 0.0  # type: ignore[assignment]

    standby._fold()
    assert asked == 0
    store.refusal = "the store cannot be written: the disk is full"
    for _ in range(10):
        standby._fold()
    assert asked == 1
    now_s += standbys._LOOK_S
    standby._fold()
    assert asked == 2
