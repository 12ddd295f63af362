"""What a worker does by itself, and when."""

from __future__ import annotations

import pytest

from workers.schedule import LAZY_MS, SWEEP_MS, Schedule
from workers.store.room import CHECK_EVERY_MS

NOW = 5_000_000
LATER = NOW + 1_000_000  # when a worker's duties are due


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(NOW)


def wait_ms(
    schedule: Schedule, now: int = NOW, *, refuses: bool = False, duties: int = LATER
) -> int:
    return schedule.wait_ms(now, duties_due_ms=duties, refuses_sends=refuses)


def test_the_first_sweep_is_due_a_while_after_the_start_and_each_a_while_after_the_last(
    schedule: Schedule,
) -> None:
    assert not schedule.sweep_is_due(NOW + SWEEP_MS - 1)
    assert schedule.sweep_is_due(NOW + SWEEP_MS + 5)
    assert not schedule.sweep_is_due(NOW + 2 * SWEEP_MS)
    assert schedule.sweep_is_due(NOW + 2 * SWEEP_MS + 5)


def test_room_is_looked_for_at_the_start_and_a_while_after_each_look(schedule: Schedule) -> None:
    assert schedule.room_is_due(NOW)

    schedule.looked_for_room(NOW + 7)

    assert not schedule.room_is_due(NOW + 7 + CHECK_EVERY_MS - 1)
    assert schedule.room_is_due(NOW + 7 + CHECK_EVERY_MS)


def test_what_can_wait_does_so_from_the_first_of_it(schedule: Schedule) -> None:
    assert not schedule.has_waited(NOW + LAZY_MS)

    schedule.begin_to_wait(NOW)
    schedule.begin_to_wait(NOW + 50)

    assert not schedule.has_waited(NOW + LAZY_MS - 1)
    assert schedule.has_waited(NOW + LAZY_MS)
    schedule.end_wait()
    assert not schedule.has_waited(NOW + LAZY_MS)
    schedule.begin_to_wait(NOW + 500)
    assert not schedule.has_waited(NOW + LAZY_MS + 499)


def test_what_waits_already_waits_no_longer_for_what_can_wait_longer(schedule: Schedule) -> None:
    schedule.begin_to_wait(NOW)
    schedule.begin_to_wait(NOW, 5)
    schedule.begin_to_wait(NOW + 1)

    assert not schedule.has_waited(NOW + 4)
    assert schedule.has_waited(NOW + 5)


def test_a_worker_listens_until_the_first_of_all_that_is_due(schedule: Schedule) -> None:
    schedule.looked_for_room(NOW)

    assert wait_ms(schedule) == SWEEP_MS
    assert wait_ms(schedule, duties=NOW + 30) == 30
    assert wait_ms(schedule, refuses=True) == CHECK_EVERY_MS
    schedule.begin_to_wait(NOW)
    assert wait_ms(schedule, NOW + 1) == LAZY_MS - 1
    assert wait_ms(schedule, NOW + SWEEP_MS + 5) == 0, "it is late"


def test_room_wakes_nobody_while_there_is_enough(schedule: Schedule) -> None:
    assert schedule.room_is_due(NOW)
    assert wait_ms(schedule) == SWEEP_MS
