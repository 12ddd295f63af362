"""Sessions: found by connection and by user; how far each has read."""

import pytest

from workers.shard.mailbox import Mailbox
from workers.shard.readers import Session, Sessions
from workers.store.keys import box_of

FRONT, OTHER_FRONT = b"front-0-1", b"front-1-2"


def session_of(user: str, *, front: bytes = FRONT, number: int = 1) -> Session:
    return Session(front, number, user, Mailbox(box_of(user)))


def test_a_session_is_found_by_its_connection_and_its_user() -> None:
    sessions = Sessions()
    session = session_of("bob")
    sessions.add(session)

    assert sessions.of_user("bob") is session
    assert sessions.at(FRONT, 1) is session
    assert sessions.at(FRONT, 2) is None
    assert sessions.at(OTHER_FRONT, 1) is None
    assert sessions.of_user("alice") is None
    assert len(sessions) == 1


def test_a_discarded_session_is_not_found() -> None:
    sessions = Sessions()
    session = session_of("bob")
    sessions.add(session)

    sessions.discard(session)

    assert sessions.of_user("bob") is None
    assert sessions.at(FRONT, 1) is None
    assert list(sessions) == []


def test_a_user_has_one_session() -> None:
    sessions = Sessions()
    sessions.add(session_of("bob", number=1))

    with pytest.raises(AssertionError, match="one session"):
        sessions.add(session_of("bob", number=2))


def test_numbers_are_those_of_each_front() -> None:
    sessions = Sessions()
    bob, carol = session_of("bob"), session_of("carol", front=OTHER_FRONT)
    sessions.add(bob)
    sessions.add(carol)

    assert sessions.at(FRONT, 1) is bob
    assert sessions.at(OTHER_FRONT, 1) is carol
    assert sessions.through(OTHER_FRONT) == [carol]
    assert sessions.through(b"front-9-9") == []


def test_what_was_sent_moves_the_cursor_and_counts_as_transmitted() -> None:
    session = session_of("bob")

    session.sent(5)

    assert session.cursor == 5
    assert session.mailbox.transmitted == 5


def test_what_a_new_session_reads_again_was_transmitted_before() -> None:
    session = session_of("bob")
    session.mailbox.transmitted = 9

    session.sent(5)

    assert session.cursor == 5
    assert session.mailbox.transmitted == 9


def test_receipts_that_come_again_await_no_confirmation_before() -> None:
    session = session_of("bob")
    session.sent(9)
    for seq in (3, 5, 9):
        session.add_receipt(seq)

    session.rewind(5)

    assert session.cursor == 5
    assert list(session.receipts) == [3, 5]


def test_a_pong_confirms_the_receipts_up_to_its_own() -> None:
    session = session_of("bob")
    assert session.confirm_receipts(9) == []
    for seq in (3, 5, 9):
        session.add_receipt(seq)

    assert session.confirm_receipts(5) == [3, 5]
    assert session.confirm_receipts(9) == [9]
    assert not session.receipts
    session.add_receipt(11)
    assert session.confirm_receipts(11) == [11]


def test_receipts_of_an_earlier_incarnation_come_before_later_ones() -> None:
    session = session_of("bob")
    session.sent_before = 5
    session.add_receipt(9)

    session.recall_receipts([3, 5])

    assert session.confirm_receipts(4) == [3]
    assert session.confirm_receipts(9) == [5, 9]
    assert session.sent_before == 0


def test_what_an_earlier_incarnation_sent_in_vain_awaits_no_confirmation() -> None:
    session = session_of("bob")
    session.sent_before = 9

    session.rewind(5)
    assert session.sent_before == 5
    session.rewind(7)
    assert session.sent_before == 5

    session.forget_receipts()
    assert session.sent_before == 0
