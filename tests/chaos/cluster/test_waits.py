"""How long users missed acks after a fault, from what the ledger knows."""

from __future__ import annotations

from tests.chaos.ledger import Key, Ledger, Message

from .waits import WITHIN_S, longest_waits_s, next_acks_s

USERS = ("u", "v")


def sent(author: str, at_s: float, acked_s: float | None) -> Message:
    message = Message(Key(author, "x", f"{author}{at_s}"), frozenset(), "", 0)
    message.writes.append((at_s, 0))
    if acked_s is not None:
        message.acks_1.append((acked_s, 0))
    return message


def ledger_of(*messages: Message, logged_in_at: float = 1.0) -> Ledger:
    ledger = Ledger({})
    ledger.asked(ledger.connected("u"), logged_in_at)
    ledger.messages.update({message.key: message for message in messages})
    return ledger


def test_the_next_send_of_each_user_counts() -> None:
    messages = [sent("u", 9.0, 12.0), sent("u", 10.5, 13.0), sent("u", 11.0, 20.0)]
    messages += [sent("v", 12.0, 12.25)]

    assert next_acks_s(ledger_of(*messages), USERS, 10.0) == {"u": 2.5, "v": 0.25}


def test_who_had_to_log_in_anew_has_waited_since_the_fault() -> None:
    ledger = ledger_of(sent("u", 12.5, 13.0), logged_in_at=12.0)

    assert next_acks_s(ledger, USERS, 10.0) == {"u": 3.0}


def test_one_that_was_never_acked_is_told() -> None:
    ledger = ledger_of(sent("u", 10.5, None), sent("u", 11, 12))

    assert next_acks_s(ledger, USERS, 10.0) == {"u": None}


def test_who_sent_nothing_for_long_or_is_not_steady_does_not_count() -> None:
    messages = [sent("u", 10.0 + WITHIN_S, 99.0), sent("w", 10.0, 10.1)]

    assert next_acks_s(ledger_of(*messages), USERS, 10.0) == {}


def test_the_longest_wait_counts_what_was_on_its_way_when_the_fault_came() -> None:
    messages = [sent("u", 4.0, 13.0), sent("u", 11.0, 13.5), sent("v", 9.0, 9.9)]
    messages += [sent("v", 30.0, 90.0)]

    assert longest_waits_s(messages, USERS, 10.0, 30.0) == {"u": 3.0}
