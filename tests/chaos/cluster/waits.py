"""How long users wait for ack 1 after a fault, told by the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tests.chaos.ledger import Ledger, Message

# Sends of later than so are no matter of that fault.
WITHIN_S = 20.0


def next_acks_s(ledger: Ledger, users: Collection[str], at_s: float) -> dict[str, float | None]:
    """Return for each of `users` how long it waited for ack 1 of its next send after `at_s`.

    The next send is the first that was written from then on, within WITHIN_S; users without one
    are left out. None: it never came. On a connection of before the user had nothing to say until
    then; who had to log in anew would have said it at once.
    """
    found: dict[str, tuple[float, float | None]] = {}
    for message in ledger.messages.values():
        author, sent_s = message.key.author, message.writes[0][0]
        if author not in users or not at_s <= sent_s < at_s + WITHIN_S:
            continue
        if author not in found or sent_s < found[author][0]:
            asked = ledger.connections[message.writes[0][1]].asked
            since_s = at_s if asked and asked[0] >= at_s else sent_s
            wait_s = message.acks_1[0][0] - since_s if message.acks_1 else None
            found[author] = (sent_s, wait_s)
    return {author: wait_s for author, (_, wait_s) in found.items()}


def longest_waits_s(
    messages: Iterable[Message], users: Collection[str], at_s: float, until_s: float
) -> dict[str, float]:
    """Return for each of `users` the longest that a send waited for ack 1 between those times.

    It counts from the send, or from `at_s` where that is later.
    """
    found: dict[str, float] = {}
    for message in messages:
        author, sent_s = message.key.author, message.writes[0][0]
        if author not in users or not message.acks_1 or sent_s >= until_s:
            continue
        acked_s = message.acks_1[0][0]
        if acked_s > at_s:
            found[author] = max(found.get(author, 0.0), acked_s - max(at_s, sent_s))
    return found
