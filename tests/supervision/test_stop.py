"""A stop: the fronts first, then the workers, each with its share of the time."""

from random import Random

import pytest

from relay.process.control import Stop
from relay.supervision.actions import Exit, Instruct, Kill, Log, SetTimer
from relay.supervision.deaths import Backoff
from relay.supervision.events import StopDue
from relay.supervision.seats import Seat, Seats
from relay.supervision.stop import FRONTS_SHARE, HURRY_S, Stopping

DEADLINE_S = 20.0
WORKER, FRONT = 1, 2


@pytest.fixture
def seats() -> Seats:
    """A worker and a front that live."""
    backoff = Backoff(min_s=1, max_s=1, random=Random(1))
    seats = Seats([Seat("worker", 0, backoff), Seat("front", 0, backoff)])
    for seat in seats:
        seats.fill(seat, now_s=0.0).connected = True
    return seats


@pytest.fixture
def stopping(seats: Seats) -> Stopping:
    return Stopping(seats, exit_code=1, deadline_s=DEADLINE_S, now_s=100.0)


def bury(seats: Seats, number: int) -> None:
    child = seats.find(number)
    assert child
    seats.vacate(child)


def test_it_begins_with_the_fronts(stopping: Stopping) -> None:
    share_s = DEADLINE_S * FRONTS_SHARE

    assert stopping.begin() == [
        Instruct(FRONT, Stop(share_s)),
        SetTimer(share_s, StopDue("front")),
        SetTimer(DEADLINE_S, StopDue("worker")),
    ]
    assert stopping.go_on(now_s=101.0) == []


def test_the_workers_have_what_time_the_fronts_leave(stopping: Stopping, seats: Seats) -> None:
    stopping.begin()
    bury(seats, FRONT)

    assert stopping.go_on(now_s=103.0) == [Instruct(WORKER, Stop(17.0))]
    assert stopping.go_on(now_s=104.0) == []  # once is enough


def test_workers_for_whom_no_time_is_left_are_told_so(stopping: Stopping, seats: Seats) -> None:
    bury(seats, FRONT)

    assert stopping.go_on(now_s=130.0) == [Instruct(WORKER, Stop(0.0))]


def test_it_is_finished_when_nobody_is_left(stopping: Stopping, seats: Seats) -> None:
    bury(seats, FRONT)
    bury(seats, WORKER)

    assert stopping.go_on(now_s=103.0) == [Exit(1)]


def test_a_hurry_tells_the_workers_at_once_and_shortens_the_time(stopping: Stopping) -> None:
    timers = [SetTimer(HURRY_S, StopDue("front")), SetTimer(HURRY_S, StopDue("worker"))]

    assert stopping.hurry(now_s=103.0) == [Instruct(WORKER, Stop(HURRY_S)), *timers]
    assert stopping.hurry(now_s=103.5) == timers


def test_a_hurry_late_in_the_stop_does_not_lengthen_it(stopping: Stopping) -> None:
    assert Instruct(WORKER, Stop(0.5)) in stopping.hurry(now_s=119.5)


def test_the_overdue_of_one_role_are_killed_with_a_line_each(
    stopping: Stopping, seats: Seats
) -> None:
    front = seats.find(FRONT)
    assert front
    front.pid = 812

    assert stopping.overdue("front") == [
        Log("warning", "front.stop_overdue", {"index": 0, "pid": 812}),
        Kill(FRONT),
    ]
    assert front.we_killed


def test_one_whose_channel_has_ended_is_told_nothing_and_waited_for(
    stopping: Stopping, seats: Seats
) -> None:
    bury(seats, FRONT)
    worker = seats.find(WORKER)
    assert worker
    worker.connected = False

    assert stopping.go_on(now_s=103.0) == []
