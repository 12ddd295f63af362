"""How many files a process may have open, and what it keeps of them for itself."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest

from relay.errors import BootError
from relay.process import descriptors
from relay.settings.tables import ServerSettings, Settings

SETTINGS = Settings(server=ServerSettings(fronts=2, workers=3))
RESERVE = 32 + 4 * 5


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that sets how many files the kernel is said to allow; 40 are open."""
    monkeypatch.setattr(descriptors, "opened", lambda: 40)

    def set_limit(most: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (most, most))

    return set_limit


def test_c5_clients_get_what_is_left_beside_the_reserve(allow: Callable[[int], None]) -> None:
    allow(200)
    assert descriptors.room_for_clients(SETTINGS) == 200 - 40 - RESERVE


def test_a_limit_that_is_none_is_no_problem(allow: Callable[[int], None]) -> None:
    allow(resource.RLIM_INFINITY)
    assert descriptors.room_for_clients(SETTINGS) > 1_000_000
    descriptors.require_own(SETTINGS)


def test_c5_a_front_that_could_hold_hardly_anybody_does_not_start(
    allow: Callable[[int], None],
) -> None:
    allow(40 + RESERVE + 15)
    with pytest.raises(BootError, match=r"may open 107 files and needs 108: raise the limit"):
        descriptors.room_for_clients(SETTINGS)
    descriptors.require_own(SETTINGS)


def test_c5_a_process_without_its_reserve_does_not_start(allow: Callable[[int], None]) -> None:
    allow(40 + RESERVE - 1)
    with pytest.raises(BootError, match=r"may open 91 files and needs 92"):
        descriptors.require_own(SETTINGS)


def test_what_is_open_is_counted() -> None:
    before = descriptors.opened()
    with open("/dev/null"):
        assert descriptors.opened() == before + 1
