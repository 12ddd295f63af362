"""The login, by itself: every phase, whatever comes in it."""

from collections.abc import Callable

import pytest

from relay.client.errors import LoginRefused, Replaced
from relay.client.limits import Limits
from relay.client.login import ClientLogin, Ending, Phase, backoff_s
from relay.client.wire import AuthReply, CloseNotice

OFFLINE, LOGGING_IN, ONLINE, ENDING = Phase
SUCCESS = AuthReply("success")
REFUSAL = AuthReply("failure", 401, "no token")


def login_in(phase: Phase) -> ClientLogin:
    """Return a login in that phase, whose request was written."""
    login = ClientLogin(Limits())
    if phase is not OFFLINE:
        login.opened(up=0.0)
        login.written()
    if phase is ONLINE:
        login.replied(SUCCESS)
    if phase is ENDING:
        login.replied(REFUSAL)
    assert login.phase is phase
    return login


def lose(login: ClientLogin) -> None:
    login.lost(Ending(None, ""), up=0.0, chance=0.0)


@pytest.mark.parametrize(
    ("before", "happens", "after"),
    [
        (OFFLINE, lambda login: login.opened(up=0.0), LOGGING_IN),
        (OFFLINE, lambda login: login.replied(SUCCESS), OFFLINE),
        (OFFLINE, lambda login: login.replied(REFUSAL), OFFLINE),
        (OFFLINE, lose, OFFLINE),
        (LOGGING_IN, lambda login: login.replied(SUCCESS), ONLINE),
        (LOGGING_IN, lambda login: login.replied(REFUSAL), ENDING),
        (LOGGING_IN, lose, OFFLINE),
        (ONLINE, lambda login: login.replied(SUCCESS), ONLINE),
        (ONLINE, lambda login: login.replied(REFUSAL), ONLINE),
        (ONLINE, lambda login: login.ask_again(), LOGGING_IN),
        (ONLINE, lose, OFFLINE),
        (ENDING, lambda login: login.replied(SUCCESS), ENDING),
        (ENDING, lambda login: login.replied(REFUSAL), ENDING),
        (ENDING, lose, OFFLINE),
    ],
)
def test_each_phase_is_left_by_what_leaves_it_and_by_nothing_else(
    before: Phase, happens: Callable[[ClientLogin], object], after: Phase
) -> None:
    login = login_in(before)

    happens(login)

    assert login.phase is after
    assert login.request_due == (after is LOGGING_IN)


def test_only_an_awaited_success_is_one() -> None:
    assert login_in(LOGGING_IN).replied(SUCCESS)
    for phase in (OFFLINE, ONLINE, ENDING):
        assert not login_in(phase).replied(SUCCESS)
    assert not login_in(LOGGING_IN).replied(REFUSAL)


def test_a_request_is_due_until_it_was_written_or_the_connection_is_gone() -> None:
    login = ClientLogin(Limits())
    login.opened(up=0.0)
    assert login.request_due
    login.written()
    assert not login.request_due

    login.opened(up=0.0)
    lose(login)
    assert not login.request_due


def test_a_refusal_is_about_one_connection() -> None:
    login = login_in(LOGGING_IN)
    login.replied(AuthReply("failure", 503, "busy", 7.0))
    lost = login.lost(Ending(None, ""), up=0.0, chance=0.0)
    assert lost is not None
    assert (lost.reason, lost.retry_in) == ("login refused: busy (503)", 7.0)

    login.opened(up=0.0)
    lost = login.lost(Ending(None, "gone"), up=0.0, chance=0.0)

    assert lost is not None
    assert lost.reason == "gone"
    assert lost.retry_in < 7.0


def test_a_failure_is_for_good() -> None:
    login = login_in(ENDING)
    lose(login)
    assert isinstance(login.failure, LoginRefused)

    lose(login)

    assert isinstance(login.failure, LoginRefused)


def test_a_notice_of_being_replaced_stands_for_the_close_code() -> None:
    login = login_in(ONLINE)
    login.noticed(CloseNotice("replaced"))

    lose(login)

    assert isinstance(login.failure, Replaced)


def test_jitter_spreads_a_pause_over_all_of_it() -> None:
    limits = Limits(reconnect_min_s=1.0, reconnect_max_s=8.0)

    assert backoff_s(2, limits, 0.0) == 0.0
    assert backoff_s(2, limits, 0.5) == 2.0
    assert backoff_s(10_000, limits, 1.0) == 8.0
