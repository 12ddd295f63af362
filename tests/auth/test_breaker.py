"""Whether to ask a service that has failed."""

from __future__ import annotations

from relay.auth.breaker import FAILURES, REST_S, Breaker


def failed(breaker: Breaker, times: int, now_s: float = 0.0) -> list[bool]:
    return [breaker.failed(now_s) for _ in range(times)]


def test_it_is_asked_until_it_has_failed_so_often_in_a_row() -> None:
    breaker = Breaker()
    failed(breaker, FAILURES - 1)
    assert not breaker.answered()

    assert failed(breaker, FAILURES) == [False] * (FAILURES - 1) + [True]
    assert breaker.is_open
    assert not breaker.may_ask(REST_S - 0.1)
    assert breaker.retry_after_s(1.0) == REST_S - 1


def test_then_one_tries_each_time_that_it_has_rested() -> None:
    breaker = Breaker()
    failed(breaker, FAILURES)

    assert breaker.may_ask(REST_S)
    assert not breaker.may_ask(REST_S)
    assert failed(breaker, 1, REST_S + 1) == [False]
    assert not breaker.may_ask(2 * REST_S - 0.1)
    assert breaker.may_ask(2 * REST_S)


def test_an_answer_has_everybody_ask_again() -> None:
    breaker = Breaker()
    failed(breaker, FAILURES)
    assert breaker.may_ask(REST_S)

    assert breaker.answered()
    assert not breaker.answered()
    assert all(breaker.may_ask(REST_S) for _ in range(3))


def test_nobody_is_told_to_come_again_at_once() -> None:
    breaker = Breaker()
    failed(breaker, FAILURES)

    assert breaker.retry_after_s(100.0) == 1.0
