"""What came is sorted: answers to the request, what is kept, what is dropped; and its bound."""

from __future__ import annotations

import pytest

from relay.cluster.letters import INBOX_SID, MAX_KEPT_BYTES, Letters, TooManyLetters
from relay.cluster.natsframes import NO_HEADERS, Headers, Message


@pytest.fixture
def letters() -> Letters:
    return Letters("_INBOX.me")


def message(sid: int, subject: str, payload: bytes = b"") -> Message:
    return Message(sid, subject, "", 0, NO_HEADERS, payload)


def fill(letters: Letters, each: Message, number: int) -> None:
    for _ in range(number):
        letters.put(each)


def test_what_comes_while_a_request_waits_is_kept_in_order(letters: Letters) -> None:
    sid = letters.open()
    asked = letters.ask()

    letters.put(message(sid, "a", b"1"))
    letters.put(message(INBOX_SID, asked, b"answer"))
    letters.put(message(sid, "a", b"2"))

    assert [each.payload for each in letters.answers] == [b"answer"]
    letters.asked()
    assert [each.payload for each in letters.take()] == [b"1", b"2"]
    assert not letters.has_kept


def test_a_late_answer_is_dropped_and_counted(letters: Letters) -> None:
    first = letters.ask()
    letters.asked()
    second = letters.ask()

    letters.put(message(INBOX_SID, first))

    assert (letters.late, letters.answers, letters.has_kept) == (1, [], False)
    assert first != second


def test_a_reply_to_an_inbox_of_ones_own_is_kept(letters: Letters) -> None:
    inbox = letters.new_inbox()

    letters.put(message(INBOX_SID, inbox, b"ack"))

    assert [each.subject for each in letters.take()] == [inbox]


def test_of_a_closed_subscription_nothing_is_returned(letters: Letters) -> None:
    one, other = letters.open(), letters.open()
    letters.put(message(one, "a"))
    letters.put(message(other, "b"))

    letters.close(one)
    letters.put(message(one, "a"))

    assert [each.subject for each in letters.take()] == ["b"]


@pytest.mark.parametrize(
    "each",
    [
        message(1, "a", b"x" * 100_000),
        message(1, "s" * 100_000),
        Message(1, "a", "", 0, Headers(b"x" * 100_000), b""),
    ],
    ids=["payloads", "subjects", "headers"],
)
def test_no_more_is_kept_than_the_bound_whatever_is_large(letters: Letters, each: Message) -> None:
    letters.open()

    for _ in range(MAX_KEPT_BYTES // 101_000):
        letters.put(each)
    with pytest.raises(TooManyLetters):
        fill(letters, each, MAX_KEPT_BYTES // 100_000 - MAX_KEPT_BYTES // 101_000 + 1)


def test_empty_messages_count_too(letters: Letters) -> None:
    letters.open()

    with pytest.raises(TooManyLetters):
        fill(letters, message(1, "a"), 200_000)


def test_what_was_taken_counts_no_more(letters: Letters) -> None:
    sid = letters.open()
    for _ in range(3):
        asked = letters.ask()
        for _ in range(4):
            letters.put(message(sid, "a", bytes(MAX_KEPT_BYTES // 10)))
            letters.put(message(INBOX_SID, asked, bytes(MAX_KEPT_BYTES // 10)))
        letters.take()
        letters.asked()
