"""Whose turn it is in a rolling restart, and what is to be done for it."""

from random import Random

import pytest

from relay.supervision.deaths import Backoff
from relay.supervision.rolling import Rolling, RollStep, step_of
from relay.supervision.seats import Role, Seat, Seats


def seats_of(*roles: Role) -> Seats:
    return Seats(
        [Seat(role, i, Backoff(min_s=1, max_s=1, random=Random(1))) for i, role in enumerate(roles)]
    )


def fill(seats: Seats, seat: Seat, *, ready: bool = True) -> None:
    seats.fill(seat, now_s=0.0).endpoint = "" if ready else None


@pytest.mark.parametrize(
    ("role", "leaving", "child", "waits", "step"),
    [
        # A worker: its successor starts when it is gone.
        ("worker", True, "none", False, RollStep.DISMISS),
        ("worker", False, "none", False, RollStep.SPAWN),
        ("worker", False, "none", True, RollStep.WAIT),
        ("worker", False, "boots", False, RollStep.WAIT),
        # A front: it goes when its successor serves.
        ("front", True, "none", False, RollStep.SPAWN),
        ("front", True, "none", True, RollStep.WAIT),
        ("front", True, "boots", False, RollStep.WAIT),
        ("front", True, "serves", False, RollStep.DISMISS),
        ("front", False, "none", False, RollStep.SPAWN),
        ("front", False, "none", True, RollStep.WAIT),
        ("front", False, "boots", False, RollStep.WAIT),
    ],
)
def test_a_step_follows_from_who_is_there(
    role: Role, leaving: bool, child: str, waits: bool, step: RollStep
) -> None:
    seats = seats_of(role)
    [seat] = seats
    if leaving:
        fill(seats, seat)
        seat.leaving, seat.child = seat.child, None
    if child != "none":
        fill(seats, seat, ready=child == "serves")
    seat.waits = waits

    assert step_of(seat) is step


@pytest.mark.parametrize("role", ["worker", "front"])
def test_one_that_was_told_to_stop_is_waited_for(role: Role) -> None:
    seats = seats_of(role)
    [seat] = seats
    fill(seats, seat)
    seat.leaving, seat.child = seat.child, None
    assert seat.leaving
    seat.leaving.dismissed = True
    if role == "front":
        fill(seats, seat)

    assert step_of(seat) is RollStep.WAIT


def test_a_turn_lasts_until_the_successor_serves_and_the_old_one_is_gone() -> None:
    seats = seats_of("worker", "front")
    worker, front = seats
    fill(seats, worker)
    fill(seats, front)
    rolling = Rolling(seats)

    assert rolling.turn() is worker
    old = worker.leaving
    assert old
    assert worker.child is None
    seats.vacate(old)
    assert rolling.turn() is worker
    fill(seats, worker, ready=False)
    assert rolling.turn() is worker
    assert worker.child
    worker.child.endpoint = "ipc"

    assert rolling.turn() is front
    assert front.leaving
    assert front.child is None


def test_when_all_are_renewed_it_is_nobodys_turn() -> None:
    seats = seats_of("front")
    [front] = seats
    fill(seats, front)
    rolling = Rolling(seats)
    rolling.turn()
    fill(seats, front)
    assert front.leaving
    seats.vacate(front.leaving)

    assert rolling.turn() is None


def test_one_that_is_dead_at_its_turn_is_renewed_by_its_restart() -> None:
    seats = seats_of("worker")
    [worker] = seats
    worker.waits = True
    rolling = Rolling(seats)

    assert rolling.turn() is worker
    assert step_of(worker) is RollStep.WAIT
    fill(seats, worker)

    assert rolling.turn() is None
