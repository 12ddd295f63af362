"""How long a process gathers: nothing while it has time to spare, and nobody waits for himself."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from itertools import count, islice, pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.bus.gathering import MEASURE_S, Gathering, Payoff, Totals

MOST_S = 0.02
RIDE_S = 0.005
# What a batch and what each message of it costs a process, as measured with one front and worker.
BATCH_S = 0.0003
MESSAGE_S = 0.00005


class Departure(NamedTuple):
    at_s: float
    waited_s: float  # the first of it
    messages: int


class Process:
    """A process that sends what comes, by a clock of its own; it is as busy as that makes it."""

    def __init__(self, gathering: Gathering, *, batch_s: float = BATCH_S) -> None:
        self.gathering = gathering
        self._batch_s = batch_s
        self._busy_s = 0.0
        self._work = 0

    def plan(self, now_s: float) -> float:
        """Return when what comes now leaves."""
        if self.gathering.is_to_measure(now_s):
            self.gathering.measure(now_s, Totals(self._busy_s, 2 * self._work, self._work))
        return self.gathering.due_s(now_s)

    def leave(self, at_s: float, waited_s: float, messages: int) -> Departure:
        self._busy_s += self._batch_s + messages * MESSAGE_S
        self._work += messages
        self.gathering.left(at_s, waited=waited_s > 0, together=messages)
        return Departure(at_s, waited_s, messages)

    def serve(self, arrivals: Iterator[float]) -> Iterator[Departure]:
        """Yield what leaves: messages come when they come, whatever becomes of them."""
        next_s = next(arrivals)
        while True:
            came_s, messages = next_s, 1
            due_s = self.plan(came_s)
            while (next_s := next(arrivals)) <= due_s:
                messages += 1
            yield self.leave(due_s, due_s - came_s, messages)

    def serve_writers(self, writers: int, answer_s: float) -> Iterator[Departure]:
        """Yield what leaves: each writer sends when its last message was answered."""
        waiting = [0.0] * writers
        while True:
            came_s, messages = heapq.heappop(waiting), 1
            due_s = self.plan(came_s)
            while waiting and waiting[0] <= due_s:
                heapq.heappop(waiting)
                messages += 1
            for _ in range(messages):
                heapq.heappush(waiting, due_s + answer_s)
            yield self.leave(due_s, due_s - came_s, messages)


def evenly(per_s: float, start_s: float = 0.0) -> Iterator[float]:
    return (start_s + number / per_s for number in count())


def at_random(per_s: float, seed: int) -> Iterator[float]:
    rng, now_s = random.Random(seed), 0.0
    while True:
        now_s += rng.expovariate(per_s)
        yield now_s


def until(end_s: float, departures: Iterator[Departure]) -> list[Departure]:
    found: list[Departure] = []
    for each in departures:
        if each.at_s >= end_s:
            return found
        found.append(each)
    raise AssertionError("it ends")


def busy(share: float, *, per_s: float = 1000, seconds: float = 3) -> Gathering:
    """One that was so busy for a while."""
    gathering = Gathering(MOST_S, RIDE_S)
    for step in range(int(seconds / MEASURE_S)):
        at_s = step * MEASURE_S
        work = int(per_s * at_s)
        gathering.measure(at_s, Totals(share * at_s, work, work))
    gathering.left(seconds, waited=False, together=1)
    return gathering


def wait_of(gathering: Gathering, now_s: float = 3.0) -> float:
    """How long after a batch that left at that moment the next one does."""
    gathering.left(now_s, waited=False, together=1)
    return gathering.due_s(now_s) - now_s


def test_one_that_has_time_to_spare_waits_for_nothing() -> None:
    departures = until(10, Process(Gathering(MOST_S)).serve(evenly(100)))

    assert not any(each.waited_s for each in departures)


def test_a_lone_message_leaves_at_once_however_busy_the_process_was() -> None:
    gathering = busy(1.0)
    assert wait_of(gathering) > 0

    assert gathering.due_s(3.0 + MOST_S) == 3.0 + MOST_S


def test_it_waits_the_longer_the_busier_it_is_and_never_longer_than_it_may() -> None:
    waits = [wait_of(busy(share)) for share in (0.0, 0.05, 0.3, 0.5, 0.7, 0.9, 1.0)]

    assert waits[:2] == [0.0, 0.0]
    assert all(less < more for less, more in pairwise(waits[1:]))
    assert waits[-1] <= MOST_S


def test_it_waits_for_no_more_than_what_makes_a_batch_cheap() -> None:
    assert wait_of(busy(1.0, per_s=1000)) > 5 * wait_of(busy(1.0, per_s=20_000)) > 0


def test_one_whose_batches_go_to_many_waits_longer() -> None:
    gathering = busy(0.4)
    few = wait_of(gathering)
    gathering.measure(3.1, Totals(1.24, 3100, 3100, links=4))

    assert wait_of(gathering, 3.1) == pytest.approx(2 * few, rel=0.01)
    gathering.measure(3.2, Totals(1.28, 3200, 3200, links=256))
    assert wait_of(gathering, 3.2) == pytest.approx(MOST_S)


def test_what_is_off_waits_for_nothing() -> None:
    gathering = Gathering(0.0, 0.0)
    gathering.measure(0.0, Totals(0.0, 0, 0))
    gathering.measure(1.0, Totals(1.0, 10_000, 10_000))

    assert wait_of(gathering, 1.0) == 0.0
    assert gathering.ride_s(1.0) == 0.0


def test_other_limits_hold_from_the_next_measurement_on() -> None:
    gathering = busy(1.0)
    before = wait_of(gathering)
    gathering.adopt(MOST_S / 2, RIDE_S)
    gathering.measure(3.1, Totals(3.1, 3100, 3100))

    assert wait_of(gathering, 3.1) == pytest.approx(before / 2, rel=0.1)


@pytest.mark.parametrize("per_s", [1000, 1500, 2000])
@pytest.mark.parametrize("seed", [1, 2])
def test_under_a_steady_load_the_wait_settles_though_it_makes_the_process_less_busy(
    per_s: float, seed: int
) -> None:
    process = Process(Gathering(MOST_S))
    waits = [
        process.gathering._wait_s
        for each in until(12, process.serve(at_random(per_s, seed)))
        if each.at_s > 4
    ]

    mean = sum(waits) / len(waits)
    assert mean > 0.001
    assert max(waits) < 2 * mean
    assert min(waits) > mean / 2


def test_under_load_fewer_batches_leave() -> None:
    departures = until(10, Process(Gathering(MOST_S)).serve(at_random(2000, 7)))

    late = [each for each in departures if each.at_s > 2]
    assert sum(each.messages for each in late) > 2.5 * len(late)


@pytest.mark.parametrize("answer_s", [0.0005, 0.001, 0.002, 0.005])
def test_a_lone_writer_who_awaits_each_answer_loses_nothing_that_he_would_feel(
    answer_s: float,
) -> None:
    """He keeps the process busy, and yet a wait brings him no company: he waits for himself."""
    departures = until(60, Process(Gathering(MOST_S), batch_s=answer_s).serve_writers(1, answer_s))

    assert len(departures) > 0.97 * 60 / answer_s


def test_many_writers_who_await_each_answer_share_batches() -> None:
    departures = until(10, Process(Gathering(MOST_S)).serve_writers(64, 0.01))

    late = [each for each in departures if each.at_s > 2]
    assert sum(each.messages for each in late) / len(late) > 10


moments = st.lists(
    st.tuples(
        st.floats(0.0001, 2.0),  # how long after the one before
        st.floats(0.0, 1.0),  # how busy meanwhile
        st.integers(0, 5000),  # the work meanwhile
        st.booleans(),  # whether a batch leaves, and has waited
        st.integers(0, 3),  # how many are in it
    ),
    max_size=200,
)


@given(moments, st.floats(0, 0.2), st.floats(0, 0.1))
def test_nothing_ever_waits_longer_than_it_may(
    moments: list[tuple[float, float, int, bool, int]], most_s: float, ride_s: float
) -> None:
    gathering = Gathering(most_s, ride_s)
    now_s = runnable_s = 0.0
    work = 0
    for after_s, share, more, leaves, together in moments:
        now_s += after_s
        runnable_s += after_s * share
        work += more
        if gathering.is_to_measure(now_s):
            gathering.measure(now_s, Totals(runnable_s, work, work // 2))
        due_s = gathering.due_s(now_s)
        assert now_s <= due_s <= now_s + most_s
        assert gathering.ride_s(now_s) in (0.0, ride_s)
        if leaves:
            gathering.left(due_s, waited=due_s > now_s, together=together)
            now_s = due_s
        if together and gathering.ride_s(now_s):
            gathering.rode(now_s, found=leaves)


# ------------------------------------------------------------------------------------------- rides


def ride(gathering: Gathering, arrivals: Iterator[float], acks: int) -> list[float]:
    """Have so many acks come, a hundredth of a second apart; return how long each waited."""
    waits: list[float] = []
    due_s = next(arrivals)
    sent = 0
    for number in range(acks):
        now_s = 3 + number / 100
        while due_s <= now_s:
            due_s, sent = next(arrivals), sent + 1
        if gathering.is_to_measure(now_s):
            gathering.measure(now_s, Totals(0.0, 2 * sent, sent))
        ride_s = gathering.ride_s(now_s)
        found = due_s <= now_s + ride_s
        if ride_s:
            gathering.rode(min(due_s, now_s + ride_s), found=found)
        waits.append(min(due_s - now_s, ride_s))
    return waits


def test_an_ack_rides_where_a_message_comes_within_its_time() -> None:
    waits = ride(Gathering(0.0, RIDE_S), evenly(500, 0.001), 500)

    assert all(0 < wait < 0.002001 for wait in waits[100:])


def test_an_ack_leaves_at_once_where_none_is_to_be_expected() -> None:
    assert not any(ride(Gathering(0.0, RIDE_S), evenly(100), 500))


@pytest.mark.parametrize("seed", range(3))
def test_acks_ride_though_messages_come_by_chance(seed: int) -> None:
    waits = ride(Gathering(0.0, RIDE_S), at_random(300, seed), 3000)

    assert sum(wait > 0 for wait in waits[200:]) > 0.9 * len(waits[200:])


def test_rides_end_where_no_message_comes_and_are_tried_again_ever_more_rarely() -> None:
    """Whoever answers each ack with a message sends none while it rides."""
    gathering = busy(0.5)
    rides = []
    for step in range(6000):
        now_s = 3 + step / 100
        if gathering.is_to_measure(now_s):  # as if all came at once when a ride is over
            work = int(1000 * now_s)
            gathering.measure(now_s, Totals(now_s / 2, work, work))
        if gathering.ride_s(now_s):
            gathering.rode(now_s, found=False)
            rides.append(now_s)

    assert len([at_s for at_s in rides if at_s > 4]) < 40
    assert len([at_s for at_s in rides if at_s > 33]) < 15


def test_a_payoff_that_is_good_lasts_and_one_that_turns_bad_ends() -> None:
    payoff = Payoff()
    for number in range(1000):
        payoff.note(number, paid=number % 2 == 0)
        assert payoff.allows(number)
    for number in range(1000, 1020):
        payoff.note(number, paid=False)

    assert not payoff.allows(1019.1)
    assert payoff.allows(1030)


def test_payoffs_rest_is_short_again_once_waits_have_paid() -> None:
    payoff = Payoff()
    now_s = 0.0
    for _ in range(200):  # in vain
        payoff.note(now_s, paid=False)
        now_s += 10
    for _ in islice(count(), 50):
        payoff.note(now_s, paid=True)
    while payoff.allows(now_s):
        payoff.note(now_s, paid=False)

    assert payoff.allows(now_s + 0.5)
