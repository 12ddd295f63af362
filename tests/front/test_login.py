"""A session's way from its connection to live traffic."""

from __future__ import annotations

import itertools

import pytest

from relay.auth.contract import Granted
from relay.bus.envelopes import LIVE, LOGIN, QUEUE, CloseSession, Seq
from relay.front.login import TRANSITIONS, Login, LoginEvent, Stage
from relay.front.output import Closed, Opened, Output
from relay.protocol.slots import slot_of
from relay.protocol.stanza import Auth
from tests import plain

NUMBER = 7
ALICE, BOB = "917069852821", "919428284313"


def auth(user: str = ALICE, *, caps: tuple[str, ...] | None = None) -> Auth:
    return Auth(user, resume=False, caps=caps)


def login_at(stage: Stage) -> tuple[Login, Output]:
    """Return a login that has come to `stage`, and its empty output."""
    out = Output()
    login = Login(NUMBER, out)
    steps = {
        Stage.NEW: 0,
        Stage.CHECKED: 0,
        Stage.ASKED: 1,
        Stage.QUEUE: 2,
        Stage.LIVE: 3,
        Stage.CHECKED_AGAIN: 3,
        Stage.ASKED_AGAIN: 4,
        Stage.ENDED: 4,
    }[stage]
    if steps > 0:
        login.ask(auth(), 1000)
    if steps > 1:
        login.open((), 1000)
    if steps > 2:
        login.queue_sent()
    if stage in (Stage.CHECKED, Stage.CHECKED_AGAIN):
        login.check(auth(), 500)
    if stage is Stage.ASKED_AGAIN:
        login.ask(auth(), 2000)
    if stage is Stage.ENDED:
        login.end()
    out.envelopes = None
    out.frames.clear()
    out.take_notes()
    assert login.stage is stage
    return login, out


def do(login: Login, event: LoginEvent) -> None:
    match event:
        case LoginEvent.CHECK:
            login.check(auth(), 500)
        case LoginEvent.ASK:
            login.ask(auth(), 3000)
        case LoginEvent.OPEN:
            login.open((), 3000)
        case LoginEvent.REFUSE:
            login.refuse()
        case LoginEvent.QUEUE_SENT:
            login.queue_sent()


@pytest.mark.parametrize(("stage", "event"), TRANSITIONS)
def test_a_known_event_leads_to_a_stage(stage: Stage, event: LoginEvent) -> None:
    login, _ = login_at(stage)

    do(login, event)

    assert login.stage is TRANSITIONS[stage, event]


@pytest.mark.parametrize(
    ("stage", "event"),
    [pair for pair in itertools.product(Stage, LoginEvent) if pair not in TRANSITIONS],
)
def test_every_other_event_is_a_bug_of_ours_and_changes_nothing(
    stage: Stage, event: LoginEvent
) -> None:
    login, out = login_at(stage)

    with pytest.raises(KeyError):
        do(login, event)

    assert login.stage is stage
    assert out.envelopes is None
    assert out.frames == []


def test_a_login_asks_the_worker_of_its_user() -> None:
    login, out = login_at(Stage.NEW)

    login.ask(auth(), 1000)

    [envelope] = out.envelopes or []
    assert envelope == (slot_of(ALICE), plain.open_session(NUMBER, ALICE, LOGIN, 0), False)
    assert login.has_worker
    assert not login.user


def test_2_2_7_another_user_on_the_same_connection_is_no_login() -> None:
    new, _ = login_at(Stage.NEW)
    login, _ = login_at(Stage.LIVE)

    assert new.may_be(auth(BOB))
    assert login.may_be(auth(ALICE))
    assert not login.may_be(auth(BOB))


def test_e1_a_login_is_granted_what_it_asks_for_of_what_there_is() -> None:
    login, out = login_at(Stage.NEW)
    login.ask(auth(caps=("teleport", "chat", "acks")), 1000)

    login.open(("acks", "nack", "chat"), 1_566_970_629_000)

    assert login.caps == ("acks", "chat")
    assert b'"caps":["acks","chat"],"device":"0","sessionId":"' in out.frames[0]
    assert out.frames[0].endswith(b'"t":1566970629}]')
    assert list(out.take_notes()) == [Opened(ALICE, ("acks", "chat"))]


@pytest.mark.parametrize(
    ("stage", "phase", "asked_ms"),
    [
        (Stage.ASKED, LOGIN, 0),
        (Stage.ASKED_AGAIN, LOGIN, 0),
        (Stage.QUEUE, QUEUE, 1000),
        (Stage.LIVE, LIVE, 1000),
        (Stage.CHECKED_AGAIN, LIVE, 1000),
    ],
)
def test_i9_a_new_incarnation_hears_where_the_session_stands(
    stage: Stage, phase: int, asked_ms: int
) -> None:
    login, out = login_at(stage)
    cursor = 0 if phase == LOGIN else 9

    login.announce(Seq(cursor))

    assert (out.envelopes or [])[0][1] == plain.open_session(NUMBER, ALICE, phase, cursor, asked_ms)


def test_only_failures_in_a_row_count() -> None:
    login, _ = login_at(Stage.NEW)
    assert [login.fail(401, "no"), login.fail(401, "no")] == [1, 2]
    login.ask(auth(), 1000)
    login.open((), 1000)

    assert login.fail(405, "another user") == 1


@pytest.mark.parametrize("stage", Stage)
def test_an_end_is_told_to_whoever_served_it_once(stage: Stage) -> None:
    login, out = login_at(stage)
    was_served, was_opened = login.has_worker, bool(login.user) and stage is not Stage.ENDED

    login.end()
    login.end()

    told = [content for _, content, _ in out.envelopes or []]
    assert told == ([CloseSession(NUMBER)] if was_served else [])
    assert list(out.take_notes()) == ([Closed(ALICE)] if was_opened else [])


@pytest.mark.parametrize(
    ("stage", "user"),
    [(Stage.NEW, ""), (Stage.CHECKED, ""), (Stage.ASKED, ALICE), (Stage.LIVE, ALICE)],
)
def test_a_login_claims_its_user_from_when_it_was_let_in(stage: Stage, user: str) -> None:
    login, _ = login_at(stage)

    assert login.claim[0] == user


def test_a_login_again_claims_by_what_it_has_shown_now() -> None:
    login, _ = login_at(Stage.LIVE)
    login.check(auth(), 2000)
    login.grant(Granted(token_id="second"), 2000)

    assert login.claim == (ALICE, Granted(token_id="second"))
