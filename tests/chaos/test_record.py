"""What the JavaScript client tells its users is judged: each fault that it could make is found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.loadgen.verify.faults import (
    DUPLICATED,
    LOST,
    OUT_OF_ORDER,
    RECEIPT_LOST,
    REFUSED,
    UNACKED,
    WRONG,
)

from .record import PHASES, Record

ALICE, BOB, CAROL, GROUP = "911", "912", "913", "911-1@g.us"


class Users:
    """Who tells a record what happened, each time a moment later."""

    def __init__(self) -> None:
        self.record = Record({ALICE: [BOB, GROUP]}, {GROUP: [ALICE, BOB, CAROL]})
        self._now_ns = 0
        for user in (ALICE, BOB, CAROL):
            self.tell("connected", user)

    def tell(self, kind: str, user: str, **body: Any) -> None:
        self._now_ns += 1_000_000
        self.record.take(json.dumps([kind, user, body]).encode(), self._now_ns)

    def id_of(self, number: int, chat: str = BOB) -> str:
        return f"{self.record.prefixes[ALICE, chat]}{number:08x}"

    def send(self, number: int = 0, chat: str = BOB) -> None:
        self.tell("send", ALICE, id=self.id_of(number, chat), text=f"text {number}", t=5)

    def sent(self, number: int = 0, chat: str = BOB, t: int = 5) -> None:
        self.tell("sent", ALICE, id=self.id_of(number, chat), chat=chat, t=t)

    def message(self, number: int = 0, user: str = BOB, chat: str = BOB, **other: Any) -> None:
        place = {"chat": ALICE if chat == BOB else chat, "sender": ALICE, "t": 5}
        body = {"conversation": f"text {number}"}
        whole = {"id": self.id_of(number, chat), **place, "body": body, **other}
        self.tell("message", user, **whole)

    def receipt(self, number: int = 0, by: str = BOB, chat: str = BOB) -> None:
        whole = {"id": self.id_of(number, chat), "chat": chat, "by": by, "level": 2, "t": 5}
        self.tell("receipt", ALICE, **whole)

    @property
    def found(self) -> set[str]:
        return set(self.record.faults().kinds)


@pytest.fixture
def users() -> Users:
    return Users()


def whole(users: Users, number: int = 0) -> None:
    users.send(number)
    users.sent(number)
    users.message(number)
    users.receipt(number)


def test_what_is_as_it_must_be_has_no_fault(users: Users) -> None:
    whole(users)
    users.send(chat=GROUP)
    users.sent(chat=GROUP)
    for member in (BOB, CAROL):
        users.message(user=member, chat=GROUP)
        users.receipt(by=member, chat=GROUP)

    assert users.found == set()
    assert users.record.unfinished == 0


@pytest.mark.parametrize("phase", PHASES)
def test_what_the_driver_says_of_itself_is_no_evidence(users: Users, phase: str) -> None:
    whole(users)
    users.record.take(json.dumps([phase, ""]).encode(), 0)

    assert users.record.told[phase] == 1
    assert users.found == set()


def test_what_never_comes_is_lost(users: Users) -> None:
    users.send()
    users.sent()

    assert users.found == {LOST}


def test_what_is_never_answered_is_found(users: Users) -> None:
    users.send()

    assert users.found == {UNACKED}


def test_a_receipt_that_is_never_told_is_found(users: Users) -> None:
    users.send()
    users.sent()
    users.message()

    assert users.found == {RECEIPT_LOST}


@pytest.mark.parametrize("again", ["message", "sent", "receipt"])
@pytest.mark.parametrize("logs_in", [False, True])
def test_whatever_is_told_twice_is_found_after_a_new_login_too(
    users: Users, again: str, logs_in: bool
) -> None:
    whole(users)
    for user in (ALICE, BOB) if logs_in else ():
        users.tell("connected", user)
    getattr(users, again)()

    assert users.found == {DUPLICATED}


def test_another_order_is_found(users: Users) -> None:
    for number in range(2):
        users.send(number)
        users.sent(number)
    for number in (1, 0):
        users.message(number)
        users.receipt(number)

    assert users.found == {OUT_OF_ORDER}


@pytest.mark.parametrize("other", [{"body": {"conversation": "x"}}, {"sender": CAROL}, {"t": 6}])
def test_another_content_author_or_time_is_found(users: Users, other: dict[str, Any]) -> None:
    users.send(chat=GROUP)
    users.sent(chat=GROUP)
    users.message(user=BOB, chat=GROUP, **other)
    users.message(user=CAROL, chat=GROUP)
    for member in (BOB, CAROL):
        users.receipt(by=member, chat=GROUP)

    assert users.found == {WRONG}


def test_a_client_that_gives_up_is_found(users: Users) -> None:
    users.tell("end", BOB, reason="ClientFault")
    users.send()
    users.tell("failed", ALICE, id=users.id_of(0), code=500, reason="")

    assert users.found == {WRONG, REFUSED}
