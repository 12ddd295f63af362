"""A standby stops in order also where the host has lost its disk."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.errors import DiskError
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
