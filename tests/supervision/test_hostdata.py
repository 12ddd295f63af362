"""How often a host of a cluster has begun: a number that never comes again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.disk.layout import boots_path
from relay.errors import BootError
from relay.supervision import hostdata
from relay.supervision.hostdata import BOOT_SHIFT, count_boot

NOW_MS = 1_800_000_000_000
MINUTES = NOW_MS // 60_000


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What a host's clock says, in milliseconds."""
    now = [NOW_MS]
    monkeypatch.setattr(hostdata, "now_ms", lambda: now[0])
    return now


def test_each_start_has_a_greater_number_whatever_the_clock_does(
    tmp_path: Path, clock: list[int]
) -> None:
    boots = []
    for clock[0] in (NOW_MS, NOW_MS, 0, NOW_MS - 86_400_000, NOW_MS + 600_000, 0):
        boots.append(count_boot(tmp_path))

    assert boots == [MINUTES, MINUTES + 1, MINUTES + 2, MINUTES + 3, MINUTES + 10, MINUTES + 11]


def test_a_host_whose_disk_was_lost_does_not_come_back_with_numbers_of_before(
    tmp_path: Path, clock: list[int]
) -> None:
    """Others would take its fronts for those that have died."""
    before = count_boot(tmp_path)
    boots_path(tmp_path).unlink()
    clock[0] += 60_000

    assert count_boot(tmp_path) > before


def test_a_clock_of_another_age_does_not_use_up_the_numbers(
    tmp_path: Path, clock: list[int]
) -> None:
    clock[0] = NOW_MS * 1000
    assert count_boot(tmp_path) == 1


def test_numbers_of_processes_are_exact_in_json(tmp_path: Path) -> None:
    """As JavaScript reads them: up to 2 ** 53."""
    assert (count_boot(tmp_path) + 1000) << BOOT_SHIFT < 1 << 53


@pytest.mark.parametrize(
    "content", [b"", b"twelve", b"-3", b"12\n13", b"9" * 20, b"9" * 200, b"\xff\xfe"]
)
def test_a_file_that_is_damaged_stops_the_start_and_says_what_to_do(
    tmp_path: Path, content: bytes
) -> None:
    boots_path(tmp_path).write_bytes(content)

    with pytest.raises(BootError, match=r"boots .*remove it if the clock of this host is right"):
        count_boot(tmp_path)

    assert boots_path(tmp_path).read_bytes() == content


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(boots_path(tmp_path))

    with pytest.raises(BootError, match="a fifo"):
        count_boot(tmp_path)


def test_a_crash_leaves_the_number_of_before_or_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = count_boot(tmp_path)

    def crash(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            count_boot(tmp_path)

    assert count_boot(tmp_path) == first + 1
