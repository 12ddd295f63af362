"""When keys are fetched, by a clock that the test makes up."""

from __future__ import annotations

from random import Random

from relay.supervision.fetchplan import LEAST_AGE_S, LEAST_BACKOFF_S, MOST_BACKOFF_S, FetchPlan

REFRESH_S, REST_S = 600.0, 10.0


def plan_at(now_s: float, refresh_s: float = REFRESH_S) -> FetchPlan:
    return FetchPlan(refresh_s, rest_s=REST_S, random=Random(1), now_s=now_s)


def test_the_first_fetch_is_due_at_once_and_none_beside_it() -> None:
    plan = plan_at(100)
    assert plan.due_s == 100

    plan.begun(100)

    assert plan.due_s == float("inf")


def test_keys_are_fetched_again_within_the_time_of_the_settings() -> None:
    plan = plan_at(0)
    for _ in range(100):
        plan.begun(0)
        plan.succeeded(1, None)
        assert 0.8 * REFRESH_S <= plan.due_s - 1 <= REFRESH_S


def test_an_answer_may_call_itself_short_lived_within_bounds() -> None:
    plan = plan_at(0)
    for said_s, most_s in [(120.0, 120.0), (0.0, LEAST_AGE_S), (10.0**9, REFRESH_S)]:
        plan.begun(0)
        plan.succeeded(0, said_s)
        assert 0.8 * most_s <= plan.due_s <= most_s


def test_after_failures_it_asks_less_and_less_often_and_never_gives_up() -> None:
    plan, now_s, waits = plan_at(0), 0.0, []
    for _ in range(40):
        plan.begun(now_s)
        plan.failed(now_s)
        waits.append(plan.due_s - now_s)
        now_s = plan.due_s

    assert plan.is_failing
    assert REST_S <= waits[0] <= max(REST_S, LEAST_BACKOFF_S * 1.2)
    assert max(waits) <= MOST_BACKOFF_S * 1.2
    assert min(waits[-20:]) >= MOST_BACKOFF_S * 0.8
    assert len({round(wait) for wait in waits[-20:]}) > 5  # not all relays at the same time
    plan.begun(now_s)
    plan.succeeded(now_s, None)
    assert not plan.is_failing


def test_a_key_that_nobody_knows_is_asked_about_at_once_but_no_two_within_the_rest() -> None:
    plan = plan_at(0)
    plan.begun(0)
    plan.succeeded(1, None)

    plan.wanted(2)
    assert plan.due_s == REST_S
    plan.begun(REST_S)
    plan.wanted(REST_S + 1)  # while it is under way: once more, behind it
    assert plan.due_s == 2 * REST_S
    plan.succeeded(REST_S + 2, None)
    plan.wanted(100)
    assert plan.due_s == 100


def test_somebody_who_asks_does_not_hurry_an_address_that_fails() -> None:
    plan, now_s, begun = plan_at(0), 0.0, 0
    while now_s < 100:
        if now_s >= plan.due_s:
            plan.begun(now_s)
            plan.failed(now_s)
            begun += 1
        plan.wanted(now_s)
        now_s += 0.5

    assert begun <= 100 / REST_S + 1
