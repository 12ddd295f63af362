"""Who sits where: each incarnation has a number of its own and is known while it lives."""

from random import Random

import pytest

from relay.supervision.deaths import Backoff
from relay.supervision.seats import Seat, Seats


@pytest.fixture
def seats() -> Seats:
    backoff = Backoff(min_s=1, max_s=1, random=Random(1))
    return Seats(
        [Seat("worker", 0, backoff), Seat("worker", 1, backoff), Seat("front", 0, backoff)]
    )


def test_a_number_and_an_identity_are_never_used_twice(seats: Seats) -> None:
    seat = seats.seat("worker", 1)
    first = seats.fill(seat, now_s=0.0)
    seats.vacate(first)

    second = seats.fill(seat, now_s=0.0)

    assert (first.identity(), second.identity()) == ("worker-1-1", "worker-1-2")
    assert second.identity("a") == "worker-a-1-2"


def test_a_seat_that_comes_is_in_its_place_and_one_that_goes_is_forgotten(seats: Seats) -> None:
    seats.add(late := Seat("worker", 2, Backoff(min_s=1, max_s=1, random=Random(1))))

    assert [str(seat) for seat in seats] == ["worker 0", "worker 1", "worker 2", "front 0"]
    assert seats.seat("worker", 2) is late
    seats.remove(late)
    assert not seats.has("worker", 2)
    assert len(seats) == 3


def test_one_is_found_by_its_number_while_it_lives(seats: Seats) -> None:
    child = seats.fill(seats.seat("front", 0), now_s=0.0)
    assert seats.find(child.number) is child

    seats.vacate(child)

    assert seats.find(child.number) is None


def test_children_are_in_the_order_of_the_seats_and_include_who_leaves(seats: Seats) -> None:
    front, worker = seats.seat("front", 0), seats.seat("worker", 0)
    old = seats.fill(front, now_s=0.0)
    front.leaving, front.child = front.child, None
    new = seats.fill(front, now_s=0.0)
    other = seats.fill(worker, now_s=0.0)

    assert seats.children() == [other, new, old]
    assert seats.children("front") == [new, old]


def test_it_is_told_who_was_leaving(seats: Seats) -> None:
    seat = seats.seat("front", 0)
    old = seats.fill(seat, now_s=0.0)
    seat.leaving, seat.child = seat.child, None
    new = seats.fill(seat, now_s=0.0)

    assert seats.vacate(old)
    assert seat.child is new
    assert not seats.vacate(new)
    assert seats.children() == []


def test_one_is_ready_when_it_has_told_where_it_listens_even_if_nowhere(seats: Seats) -> None:
    child = seats.fill(seats.seat("front", 0), now_s=0.0)
    assert not child.ready

    child.endpoint = ""

    assert child.ready
