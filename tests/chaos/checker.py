"""What a ledger proves: each promise of the relay that it breaks, with the story of the messages.

What is checked, and what the protocol really promises:

* **Lost** (I2). A message with ack 1 has come to each recipient. A run ends with every mailbox
  empty, so nothing can still be on its way.
* **Receipts missing** (I2). The relay answers no ack, so a client cannot know when one was
  processed. But levels are remembered and only a rise is told to the author: so at the end of a run
  every ack whose receipt is missing is sent again on a connection that stays. If the relay had not
  processed it before, it does now and tells the author; if it had, and lost the receipt, it stays
  silent, and the receipt is missing for good.
* **Duplicates** (I3). A message may come again at a new login, until it is acked. It may not come
  twice within one login, nor at a login that was asked for after the author had the receipt of it
  from that recipient: then the ack was certainly processed.
* **Order** (I4). The relay orders a chat's messages by first arrival. A client sends again, after a
  reconnect and before anything new, all that is un-acked, in the order of before. Whichever copies
  arrive, through however many fronts, and however late an old front's are, the first arrivals then
  keep the order of the sends. So it is promised for resent messages too, and checked for all:
  per (author, chat) a recipient's first deliveries are in that order, and so is what comes within
  any one login. Without that discipline of the client only messages acked on their first
  connection would be.
* **One order in a group** (I4). There is a single order of each group's messages with which every
  member's first deliveries agree. No two members need to share a pair of messages for a breach to
  show: all orders together must be free of cycles.
* **Acks 1** come in the order of the sends of that connection (2.3.4).
* **Forged** (I5). Whatever comes was sent, by that author, to that recipient, with that content;
  receipts tell only what that recipient said.
* **Replaced**. The newest login of a user wins (R27).
* **Refused**. The load gives no reason for an error but overload.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from .ledger import DELIVERED, Connection, Key, Ledger, Message

# Errors that say "not now": too many, a full mailbox, a failing disk, a worker that is away.
OVERLOAD_CODES = frozenset({429, 500, 503, 507})


@dataclass(frozen=True)
class Violation:
    """A broken promise: its kind, the messages it is about, and what is wrong with them."""

    kind: str
    keys: tuple[Key, ...]
    what: str


def check(ledger: Ledger) -> list[Violation]:
    """Return every broken promise that the whole `ledger` shows."""
    return [
        *(
            Violation(wrong.kind, () if wrong.key is None else (wrong.key,), wrong.what)
            for wrong in ledger.wrong
        ),
        *_answers(ledger.messages.values()),
        *_losses(ledger.messages.values()),
        *_duplicates(ledger),
        *_order(ledger),
        *_group_order(ledger),
        *_answer_order(ledger.connections),
        *_replacements(ledger),
    ]


def stuck(ledger: Ledger) -> list[Violation]:
    """Return what has not gone on, to be called when every client was online for long.

    What a new login would repair counts too: it should not need one.
    """
    return [
        Violation("stuck", (message.key,), ", ".join(_lacks(message)))
        for message in ledger.unfinished()
    ]


def _lacks(message: Message) -> Iterator[str]:
    if message.is_open:
        yield "no ack 1"
    for user in message.missing():
        yield f"not delivered to {user}"
    for user in message.missing_receipts():
        yield f"no receipt of {user}'s {message.acked_level(user)}"


def _answers(messages: Iterable[Message]) -> Iterator[Violation]:
    for message in messages:
        if message.is_open:
            yield Violation("unanswered", (message.key,), "neither ack 1 nor error")
        for _, _, code in message.refusals:
            if code not in OVERLOAD_CODES:
                yield Violation("refused", (message.key,), f"error {code} without a reason")
        if message.is_refused and message.deliveries:
            yield Violation("refused", (message.key,), "refused, but delivered")


def _losses(messages: Iterable[Message]) -> Iterator[Violation]:
    for message in messages:
        for user in message.missing():
            yield Violation("lost", (message.key,), f"never came to {user}")
        for user in message.missing_receipts():
            what = f"author told {message.receipt_level(user)} of {user}'s"
            what += f" {message.acked_level(user)}"
            yield Violation("receipt missing", (message.key,), what)


def _duplicates(ledger: Ledger) -> Iterator[Violation]:
    for connection in ledger.connections:
        for login in connection.logins:
            if len(set(login.delivered)) < len(login.delivered):
                for key, times in Counter(login.delivered).items():
                    if times > 1:
                        what = f"came {times} times to {connection.user} on {connection}"
                        yield Violation("duplicate", (key,), what)
            for key in login.delivered:
                receipts = ledger.messages[key].receipts.get(connection.user, ())
                known_at = next((at for at, _, level in receipts if level >= DELIVERED), None)
                if known_at is not None and known_at < login.asked_at:
                    what = f"came to {connection.user} again on {connection}, asked for at"
                    what += f" {login.asked_at:.3f}, after the author had the receipt"
                    yield Violation("duplicate", (key,), what)


def _order(ledger: Ledger) -> Iterator[Violation]:
    for user, keys in ledger.first_deliveries.items():
        yield from _fifo(ledger, keys, f"to {user}, of the first deliveries")
    for connection in ledger.connections:
        for login in connection.logins:
            yield from _fifo(ledger, login.delivered, f"to {connection.user} on {connection}")


def _fifo(ledger: Ledger, keys: Iterable[Key], where: str) -> Iterator[Violation]:
    """Within `keys`, each author's messages to one chat must be in the order of the sends."""
    last: dict[tuple[str, str], Message] = {}
    for key in keys:
        message = ledger.messages[key]
        before = last.get(key[:2])
        if before is not None and message.rank < before.rank:
            what = f"{key.message_id} after {before.key.message_id} {where}"
            yield Violation("out of order", (key, before.key), what)
        else:
            last[key[:2]] = message


def _group_order(ledger: Ledger) -> Iterator[Violation]:
    for group, members in ledger.groups.items():
        after: TopologicalSorter[Key] = TopologicalSorter()
        for member in sorted(members):
            keys = [k for k in ledger.first_deliveries.get(member, ()) if k.chat == group]
            for before, behind in pairwise(keys):
                after.add(behind, before)
        try:
            after.prepare()
        except CycleError as error:
            cycle: list[Key] = error.args[1]
            what = f"members of {group} disagree: " + " before ".join(k.message_id for k in cycle)
            yield Violation("group order", tuple(dict.fromkeys(cycle)), what)


def _answer_order(connections: Iterable[Connection]) -> Iterator[Violation]:
    for connection in connections:
        place = {key: number for number, key in enumerate(connection.written)}
        last = -1
        for key in connection.answered:
            if place.get(key, last) < last:
                what = f"answered after a later send on {connection}"
                yield Violation("ack 1 out of order", (key,), what)
            else:
                last = place.get(key, last)


def _replacements(ledger: Ledger) -> Iterator[Violation]:
    for old in ledger.replacements:
        later = ledger.connections[old.number + 1 :]
        if not any(new.user == old.user and new.asked for new in later):
            what = f"{old} of {old.user} was replaced, but it is the newest"
            yield Violation("replaced wrongly", (), what)


@dataclass(frozen=True)
class Totals:
    """How much a ledger holds."""

    sent: int
    acked: int
    refused: int
    delivered: int
    redelivered: int
    receipts: int
    logins: int

    @classmethod
    def of(cls, ledger: Ledger) -> Totals:
        """Count what is in `ledger`."""
        messages = ledger.messages.values()
        return cls(
            sent=len(messages),
            acked=sum(message.is_acked for message in messages),
            refused=sum(message.is_refused for message in messages),
            delivered=sum(len(message.deliveries) for message in messages),
            redelivered=ledger.redelivered,
            receipts=sum(len(message.receipts) for message in messages),
            logins=sum(len(connection.logins) for connection in ledger.connections),
        )
