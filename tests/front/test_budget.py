"""What a session may have under way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.front.budget import LAST_UNITS, TOLD_UNITS, UNITS, Budget


def test_a_budget_is_used_up_with_its_last_unit_and_eases_when_half_is_done() -> None:
    budget = Budget()
    budget.take(UNITS - 1)
    assert not budget.is_full
    budget.take(1)
    assert budget.is_full

    assert [budget.done(1) for _ in range(UNITS // 2)] == [False] * (UNITS // 2 - 1) + [True]
    assert not budget.is_full
    assert not budget.done(1)


def test_acked_ids_count_when_a_link_is_to_say_that_they_are_done() -> None:
    budget = Budget()
    budget.told += TOLD_UNITS
    assert budget.room == UNITS

    assert budget.count_told() == TOLD_UNITS
    assert (budget.room, budget.told) == (UNITS - TOLD_UNITS, 0)


def test_for_a_client_that_is_gone_there_is_room_once_more() -> None:
    budget = Budget()
    budget.take(10 * UNITS)

    budget.lift()
    budget.take(LAST_UNITS - 1)
    assert not budget.is_full
    budget.take(1)
    assert budget.is_full


@given(st.lists(st.integers(1, 3 * UNITS), max_size=30))
def test_whatever_was_taken_a_budget_of_which_all_is_done_is_whole(taken: list[int]) -> None:
    budget = Budget()
    for units in taken:
        budget.take(units)
    for units in taken:
        budget.done(units)

    assert budget.room == UNITS
    assert not budget.is_full
