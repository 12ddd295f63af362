"""What holds while a batch is open: its numbers grow, and what it says is its own."""

from collections import Counter

import pytest

from relay.bus.envelopes import EndSession
from relay.settings.tables import Settings
from workers.shard.turn import Turn
from workers.store.batch import Batch

NOW_MS = 1_566_970_629_000


@pytest.fixture
def turn() -> Turn:
    return Turn(Settings(), Counter())


def test_numbers_are_the_time_in_microseconds_and_grow_within_it(turn: Turn, batch: Batch) -> None:
    turn.begin(batch, now_ms=NOW_MS, refusal="")

    assert [turn.next_seq() for _ in range(3)] == [NOW_MS * 1000 + n for n in range(3)]
    assert turn.now_s == NOW_MS // 1000


def test_numbers_grow_where_the_clock_goes_back(turn: Turn, batch: Batch) -> None:
    turn.begin(batch, now_ms=NOW_MS, refusal="")
    last = turn.next_seq()
    turn.begin(batch, now_ms=NOW_MS - 5000, refusal="")

    assert turn.next_seq() == last + 1


def test_the_next_incarnation_goes_on_behind_the_last_number_that_was_given_out(
    turn: Turn, batch: Batch
) -> None:
    turn.begin(batch, now_ms=NOW_MS, refusal="")
    last = turn.next_seq()
    turn.end()

    successor = Turn(Settings(), Counter())
    successor.begin(batch, now_ms=NOW_MS - 5000, refusal="")

    assert successor.next_seq() == last + 1


def test_a_batch_that_gives_out_no_number_writes_none(turn: Turn, batch: Batch) -> None:
    turn.begin(batch, now_ms=NOW_MS, refusal="")
    turn.end()

    assert batch.last_seq() == 0


def test_each_batch_says_what_is_its_own(turn: Turn, batch: Batch) -> None:
    turn.begin(batch, now_ms=NOW_MS, refusal="the disk is full")
    turn.to_fronts[b"front-0-1"].append(EndSession(1))
    said = turn.end()

    turn.begin(batch, now_ms=NOW_MS, refusal="")

    assert said.to_fronts == {b"front-0-1": [EndSession(1)]}
    assert turn.end().to_fronts == {}
    assert turn.refusal == ""
