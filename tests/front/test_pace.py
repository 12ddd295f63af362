"""The pace at which a session takes its mailbox: what may happen, what follows, what is said."""

from __future__ import annotations

import itertools

import pytest

from relay.front.pace import (
    SAID,
    TAKES_LIVE,
    TRANSITIONS,
    Pace,
    PaceEvent,
    Word,
    after,
    renewed,
    said,
)

SLOW = {Pace.SLOW, Pace.PAUSED, Pace.BLOCKED, Pace.CONGESTED}


@pytest.mark.parametrize(("pace", "event"), TRANSITIONS)
def test_a_known_event_leads_to_a_pace(pace: Pace, event: PaceEvent) -> None:
    assert after(pace, event) is TRANSITIONS[pace, event]


@pytest.mark.parametrize(
    ("pace", "event"),
    [pair for pair in itertools.product(Pace, PaceEvent) if pair not in TRANSITIONS],
)
def test_every_other_event_is_a_bug_of_ours(pace: Pace, event: PaceEvent) -> None:
    with pytest.raises(KeyError):
        after(pace, event)


def test_a_client_slows_once_and_drains_once() -> None:
    for pace in Pace:
        assert ((pace, PaceEvent.SLOWED) in TRANSITIONS) is (pace not in SLOW)
        assert ((pace, PaceEvent.DRAINED) in TRANSITIONS) is (pace in SLOW)


@pytest.mark.parametrize("pace", Pace)
def test_whether_the_client_reads_is_changed_by_nothing_else(pace: Pace) -> None:
    for event in (PaceEvent.PAGE, PaceEvent.PAGE_OF_MORE, PaceEvent.PAGE_MISSED):
        following = TRANSITIONS.get((pace, event))
        assert following is None or (following in SLOW) is (pace in SLOW)
    assert (said(pace)[1] in SLOW) is (pace in SLOW)
    for awaits_page in (False, True):
        assert (renewed(pace, awaits_page=awaits_page) in SLOW) is (pace in SLOW)


def test_what_is_said_is_said_once() -> None:
    for pace in Pace:
        word, then = said(pace)
        assert said(then) == (None, then)
        assert word is None or then is not pace


def test_a_slow_client_has_its_worker_pause_and_asks_when_it_has_read() -> None:
    word, pace = said(after(Pace.FLOWING, PaceEvent.SLOWED))
    assert (word, pace) == (Word.PAUSE, Pace.PAUSED)

    word, pace = said(after(pace, PaceEvent.DRAINED))
    assert (word, pace) == (Word.READY, Pace.AWAITING)

    assert after(pace, PaceEvent.PAGE) is Pace.FLOWING


def test_live_frames_are_taken_where_no_page_has_them_too() -> None:
    assert {Pace.FLOWING, Pace.SLOW} == TAKES_LIVE
    assert all(pace not in TAKES_LIVE for _, pace in SAID.values())
