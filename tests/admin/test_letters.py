"""Which events are posted when, by what the endpoint has answered so far."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.admin.courier.letters import (
    FAILURES,
    MAX_FAILING,
    MAX_HELD,
    Answer,
    Held,
    Letter,
    Letters,
)
from relay.settings.webhooks import WebhookSettings
from relay.webhooks.bodies import Noted
from relay.webhooks.events import Event, Place, UserOnline

GOOD = Answer(204, "HTTP 204")
BAD = Answer(500, "HTTP 500")
AWAY = Answer(503, "HTTP 503")
DAY_S = 86_400
NOW_MS = 1_800_000_000_000


def letters(**changes: Any) -> Letters:
    defaults = {"retry_min_s": 1.0, "retry_max_s": 100.0}
    return Letters(WebhookSettings(**{**defaults, **changes}), Random(7))


def held(seq: int, owner: str = "", *, at_ms: int = NOW_MS, size: int = 10) -> Held:
    noted = Noted(Place(seq, owner or f"u{seq}"), Event(at_ms, UserOnline()))
    return Held(0, noted, size)


def seqs(letter: Letter | None) -> list[int]:
    assert letter is not None
    return [each.noted.place.seq for each in letter.events]


def answer(all_: Letters, letter: Letter | None, said: Answer, *, now_s: float) -> list[list[int]]:
    assert letter is not None
    dead = all_.answered(letter, said, now_s=now_s, now_ms=NOW_MS + int(now_s * 1000))
    return [seqs(each) for each in dead]


def test_so_many_are_under_way_in_order_and_the_next_when_one_was_taken() -> None:
    all_ = letters(parallel=2)
    for seq in (1, 2, 3):
        all_.add(held(seq))
    first, second = all_.next(0), all_.next(0)

    assert (seqs(first), seqs(second), all_.next(0)) == ([1], [2], None)
    answer(all_, first, GOOD, now_s=0)
    assert seqs(all_.next(0)) == [3]


def test_one_users_events_are_not_under_way_together() -> None:
    all_ = letters(parallel=4)
    all_.add(held(1, "bob"))
    all_.add(held(2, "bob"))
    all_.add(held(3, "eve"))
    first = all_.next(0)

    assert (seqs(first), seqs(all_.next(0)), all_.next(0)) == ([1], [3], None)
    answer(all_, first, GOOD, now_s=0)
    assert seqs(all_.next(0)) == [2]


def test_a_batch_has_so_many_and_keeps_its_id_when_it_is_posted_again() -> None:
    all_ = letters(batch=3)
    for seq in range(1, 6):
        all_.add(held(seq))
    letter = all_.next(0)
    assert seqs(letter) == [1, 2, 3]
    assert letter is not None
    name, body = letter.name, letter.body
    answer(all_, letter, BAD, now_s=0)
    all_.next(0)
    again = all_.next(1)

    assert again is not None
    assert (again.name, again.body) == (name, body)


def test_what_failed_waits_longer_each_time_up_to_a_limit() -> None:
    all_ = letters()
    all_.add(held(1))
    now_s, pauses = 0.0, []
    for _ in range(12):
        letter = all_.next(now_s)
        answer(all_, letter, BAD, now_s=now_s)
        assert letter is not None
        due_s = max(letter.due_s, all_.rests_until_s)
        assert all_.next(due_s - 0.01) is None
        pauses.append(due_s - now_s)
        now_s = due_s

    for n, pause in enumerate(pauses[:4]):
        assert 2**n / 2 <= pause <= 2**n
    assert 50 <= pauses[-1] <= 100


def test_one_that_always_fails_holds_up_nobody_else() -> None:
    all_ = letters(parallel=1)
    all_.add(held(1, "poison"))
    for seq in range(2, 30):
        all_.add(held(seq))
    now_s, taken = 0.0, 0
    for _ in range(200):
        letter = all_.next(now_s)
        if letter is None:
            break
        answer(all_, letter, BAD if seqs(letter) == [1] else GOOD, now_s=now_s)
        taken += seqs(letter) != [1]
        now_s += 0.01

    assert taken == 28


@pytest.mark.parametrize("status", [0, 429, 502, 503, 504])
def test_an_endpoint_that_is_away_is_asked_with_one_letter(status: int) -> None:
    all_ = letters(parallel=4)
    for seq in range(1, 9):
        all_.add(held(seq))
    under_way = [all_.next(0) for _ in range(4)]
    for each in under_way:
        answer(all_, each, Answer(status, "away"), now_s=0)

    # The four were one failure of the endpoint.
    assert 0.5 <= all_.rests_until_s <= 1
    assert all_.next(0.4) is None
    probe = all_.next(all_.rests_until_s)
    assert probe is not None
    assert all_.next(all_.rests_until_s) is None
    answer(all_, probe, GOOD, now_s=2)
    assert len([each for each in (all_.next(2) for _ in range(9)) if each]) == 4


def test_failures_in_a_row_are_the_endpoints_whatever_they_are() -> None:
    all_ = letters(parallel=1)
    for seq in range(1, 20):
        all_.add(held(seq))
    for n in range(FAILURES):
        answer(all_, all_.next(0), BAD, now_s=0)
        assert all_.is_resting == (n == FAILURES - 1)

    assert all_.next(0.1) is None


def test_retry_after_is_heeded_within_a_day() -> None:
    all_ = letters()
    all_.add(held(1))
    answer(all_, all_.next(0), Answer(503, "", 300.0), now_s=0)
    assert all_.next(299) is None
    answer(all_, all_.next(300), Answer(429, "", 1e9), now_s=300)

    assert all_.next(300 + DAY_S - 1) is None
    assert all_.next(300 + DAY_S) is not None


def test_gone_ends_it_until_somebody_says_otherwise() -> None:
    all_ = letters(parallel=2)
    for seq in (1, 2, 3):
        all_.add(held(seq))
    first, second = all_.next(0), all_.next(0)
    answer(all_, first, Answer(410, "HTTP 410"), now_s=0)
    answer(all_, second, GOOD, now_s=0)

    assert all_.gone
    assert all_.next(10 * DAY_S) is None
    all_.hurry()
    assert {seqs(all_.next(1))[0], seqs(all_.next(1))[0]} == {1, 3}


def test_what_fails_for_too_long_is_dead_by_time_and_by_age() -> None:
    all_ = letters(give_up_days=1.0)
    all_.add(held(1))
    dead: list[list[int]] = []
    now_s = 0.0
    while not dead:
        letter = all_.next(now_s)
        if letter is not None:
            dead = answer(all_, letter, AWAY, now_s=now_s)
        assert now_s <= 1.02 * DAY_S
        now_s += 10

    assert now_s >= DAY_S
    assert len(all_) == 0
    assert all_.next(now_s + DAY_S) is None


def test_a_clock_that_jumped_makes_no_young_event_old() -> None:
    all_ = letters(give_up_days=1.0)
    all_.add(held(1, at_ms=NOW_MS - 1000 * DAY_S * 1000))

    assert answer(all_, all_.next(0), BAD, now_s=0) == []
    assert answer(all_, all_.next(100), BAD, now_s=100) == []


def test_what_is_held_is_bounded_and_held_once() -> None:
    all_ = letters()
    for seq in range(MAX_HELD):
        all_.add(held(seq + 1))
        all_.add(held(seq + 1))

    assert (len(all_), all_.room) == (MAX_HELD, 0)
    answer(all_, all_.next(0), GOOD, now_s=0)
    assert all_.room == 1
    fat = letters()
    fat.add(held(1, size=5_000_000))
    assert fat.room == 0


@given(
    st.lists(st.sampled_from([200, 204, 0, 301, 400, 429, 500, 503]), max_size=60),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_nothing_is_lost_and_nothing_taken_twice(
    statuses: list[int], parallel: int, batch: int
) -> None:
    all_ = letters(parallel=parallel, batch=batch)
    for seq in range(1, 21):
        all_.add(held(seq, f"u{seq % 5}"))
    taken: list[int] = []
    under_way: list[Letter] = []
    now_s = 0.0
    for status in [*statuses, *[200] * 200]:
        while (letter := all_.next(now_s)) is not None:
            assert not any(letter.owners & other.owners for other in under_way)
            under_way.append(letter)
        assert len(under_way) <= parallel
        if under_way:
            letter = under_way.pop(0)
            answer(all_, letter, Answer(status, "", None), now_s=now_s)
            if 200 <= status < 300:
                taken += seqs(letter)
        now_s += 1 if under_way else 100

    assert sorted(taken) == list(range(1, 21))
    assert len(all_) == 0
    assert all_.room == MAX_HELD


def test_other_settings_hold_at_once() -> None:
    all_ = letters(parallel=1)
    all_.add(held(1))
    all_.add(held(2))
    all_.next(0)
    assert all_.next(0) is None
    all_.settings = msgspec.structs.replace(all_.settings, parallel=2)

    assert all_.next(0) is not None


def test_what_is_never_taken_does_not_take_the_place_of_all_else() -> None:
    all_ = letters(parallel=1, retry_min_s=3600.0, retry_max_s=3600.0)
    dead: list[list[int]] = []
    for seq in range(1, 2 * MAX_FAILING + 101):
        all_.add(held(seq))
        letter = all_.next(0)
        is_poison = seq % 2 == 1
        dead += answer(all_, letter, BAD if is_poison else GOOD, now_s=0)

    assert len(all_) == MAX_FAILING
    assert len(dead) == 50
    assert all_.room > 0
