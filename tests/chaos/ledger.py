"""What the clients of a chaos run did and saw, and nothing else: the evidence for the checker.

Every fact comes from a client's own socket, in the order in which that client read or wrote it, and
carries a time in seconds that is the same clock for all clients. Pure: sockets and clocks are the
callers'.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

STORED = 1
DELIVERED = 2
READ = 3


class Key(NamedTuple):
    """What tells a message from every other: an id is its author's, towards one chat."""

    author: str
    chat: str  # a user's local part or a group's jid
    message_id: str

    def __str__(self) -> str:
        return f"{self.message_id} from {self.author} to {self.chat}"


class Via(enum.Enum):
    """How a frame reached its client."""

    QUEUE = "q"
    LIVE = "live"


@dataclass(slots=True)
class Login:
    """What came on one connection between one successful auth and the next, or the end."""

    asked_at: float
    delivered: list[Key] = field(default_factory=list)
    # The highest level seen of each (message, recipient).
    levels: dict[tuple[Key, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class Connection:
    """One socket of one user."""

    number: int
    user: str
    asked: list[float] = field(default_factory=list)  # when an auth was written
    logins: list[Login] = field(default_factory=list)  # those that succeeded
    written: list[Key] = field(default_factory=list)  # sends, in order
    answered: list[Key] = field(default_factory=list)  # by ack 1 or error, in order

    def __str__(self) -> str:
        return f"connection {self.number}"


class Event(NamedTuple):
    """One line of a message's story."""

    at: float
    text: str


@dataclass(slots=True)
class Message:
    """Everything that is known of one message."""

    key: Key
    recipients: frozenset[str]
    text: str
    rank: int  # its place among its author's messages to this chat, from 0
    writes: list[tuple[float, int]] = field(default_factory=list)  # (at, connection)
    acks_1: list[tuple[float, int]] = field(default_factory=list)
    refusals: list[tuple[float, int, int]] = field(default_factory=list)  # (at, connection, code)
    # By recipient: when it came and how; what the recipient acked; what the author was told.
    deliveries: dict[str, list[tuple[float, int, Via]]] = field(default_factory=dict)
    acks: dict[str, list[tuple[float, int, int]]] = field(default_factory=dict)
    receipts: dict[str, list[tuple[float, int, int]]] = field(default_factory=dict)

    @property
    def is_acked(self) -> bool:
        """Whether the author holds ack 1: the relay has promised delivery."""
        return bool(self.acks_1)

    @property
    def is_refused(self) -> bool:
        """Whether the author holds an error, and no ack 1."""
        return bool(self.refusals) and not self.acks_1

    @property
    def is_open(self) -> bool:
        """Whether the author waits for an answer."""
        return not self.acks_1 and not self.refusals

    def acked_level(self, recipient: str) -> int:
        """The highest level that `recipient` has said, 0 for none."""
        return max((level for _, _, level in self.acks.get(recipient, ())), default=0)

    def receipt_level(self, recipient: str) -> int:
        """The highest level of `recipient` that the author was told, 0 for none."""
        return max((level for _, _, level in self.receipts.get(recipient, ())), default=0)

    def waits_s(self) -> Iterator[float]:
        """Yield how long each ack 1 took that came on the connection of its send."""
        written = {connection: at for at, connection in self.writes}
        for at, connection in self.acks_1:
            if connection in written:
                yield at - written[connection]

    def missing(self) -> Iterator[str]:
        """Yield the recipients of an acked message whom it has not reached."""
        if self.is_acked:
            yield from sorted(self.recipients - self.deliveries.keys())

    def missing_receipts(self) -> Iterator[str]:
        """Yield the recipients who said more than the author knows."""
        for recipient in self.acks:
            if self.receipt_level(recipient) < self.acked_level(recipient):
                yield recipient

    def story(self) -> list[Event]:
        """Return what happened to the message, in order."""
        events = [Event(at, f"sent on connection {c}") for at, c in self.writes]
        events += [Event(at, f"ack 1 on connection {c}") for at, c in self.acks_1]
        events += [Event(at, f"error {code} on connection {c}") for at, c, code in self.refusals]
        for user, deliveries in self.deliveries.items():
            events += [
                Event(at, f"came to {user} {via.value} on connection {c}")
                for at, c, via in deliveries
            ]
        for user, acks in self.acks.items():
            events += [
                Event(at, f"{user} acked {level} on connection {c}") for at, c, level in acks
            ]
        for user, receipts in self.receipts.items():
            events += [
                Event(at, f"author told of {user}'s {level} on connection {c}")
                for at, c, level in receipts
            ]
        return sorted(events, key=lambda event: event.at)


class Wrong(NamedTuple):
    """Something that came and is wrong by itself, whatever else came."""

    kind: str  # one of the checker's kinds
    key: Key | None
    what: str


class Ledger:
    """The books of one run. `groups` maps a group's jid to its members' local parts."""

    def __init__(self, groups: dict[str, frozenset[str]]) -> None:
        self.groups = groups
        self.messages: dict[Key, Message] = {}
        self.connections: list[Connection] = []
        # By user: what came, each message once, in the order of the first times.
        self.first_deliveries: dict[str, list[Key]] = {}
        # Running totals, for the progress line.
        self.acked_messages = 0
        self.first_times = 0
        self.redelivered = 0
        self.wrong: list[Wrong] = []
        self.replacements: list[Connection] = []
        self._ranks: dict[tuple[str, str], int] = {}
        self._unfinished: dict[Key, Message] = {}

    # --- sessions ---

    def connected(self, user: str) -> Connection:
        """Note a new connection of `user`."""
        connection = Connection(len(self.connections), user)
        self.connections.append(connection)
        return connection

    def asked(self, connection: Connection, at: float) -> None:
        """Note that an auth was written; there is one at a time."""
        connection.asked.append(at)

    def logged_in(self, connection: Connection) -> None:
        """Note that the last auth succeeded; what comes next belongs to that login."""
        connection.logins.append(Login(connection.asked[-1]))

    # --- what a client writes ---

    def sent(self, connection: Connection, key: Key, text: str, at: float) -> None:
        """Note that a send was written, be it for the first time or again."""
        message = self.messages.get(key)
        if message is None:
            recipients = self.groups.get(key.chat)
            recipients = frozenset({key.chat}) if recipients is None else recipients - {key.author}
            rank = self._ranks.get(key[:2], 0)
            self._ranks[key[:2]] = rank + 1
            message = self.messages[key] = Message(key, recipients, text, rank)
            self._unfinished[key] = message
        message.writes.append((at, connection.number))
        connection.written.append(key)

    def acked(self, connection: Connection, key: Key, level: int, at: float) -> None:
        """Note that the user of `connection` acked a delivery."""
        message = self.messages[key]
        message.acks.setdefault(connection.user, []).append((at, connection.number, level))
        self._unfinished[key] = message

    # --- what a client reads ---

    def stored(self, connection: Connection, key: Key, at: float) -> None:
        """Note an ack 1."""
        message = self._answered(connection, key, "ack 1")
        if message is not None:
            self.acked_messages += not message.acks_1
            message.acks_1.append((at, connection.number))

    def refused(self, connection: Connection, key: Key, code: int, at: float) -> None:
        """Note an error that names a send."""
        message = self._answered(connection, key, f"error {code}")
        if message is not None:
            message.refusals.append((at, connection.number, code))

    def _answered(self, connection: Connection, key: Key, what: str) -> Message | None:
        message = self.messages.get(key)
        if message is None or key.author != connection.user:
            self._forged(key, f"{what} of a message that {connection.user} never sent")
            return None
        connection.answered.append(key)
        return message

    def delivered(
        self, connection: Connection, key: Key, text: str | None, via: Via, at: float
    ) -> bool:
        """Note a message that came; False where it is forged, and not to be acked.

        `key.chat` is the recipient himself or a group, `text` what it says, None if unreadable.
        """
        user = connection.user
        message = self.messages.get(key)
        if message is None:
            return self._forged(key, f"came to {user}, but nobody sent it")
        if user not in message.recipients:
            return self._forged(key, f"came to {user}, who is no recipient")
        if text != message.text:
            return self._forged(key, f"came to {user} with another content")
        if user in message.deliveries:
            self.redelivered += 1
        else:
            self.first_times += 1
            self.first_deliveries.setdefault(user, []).append(key)
        message.deliveries.setdefault(user, []).append((at, connection.number, via))
        connection.logins[-1].delivered.append(key)
        return True

    def receipt(
        self, connection: Connection, key: Key, by: str, level: int, via: Via, at: float
    ) -> None:
        """Note that the author was told how far a message got at `by`."""
        message = self.messages.get(key)
        if message is None or key.author != connection.user or by not in message.recipients:
            self._forged(key, f"receipt {level} of {by} came to {connection.user}")
            return
        if level > message.acked_level(by):
            self._forged(key, f"receipt {level} of {by}, who never said so")
            return
        if via is Via.LIVE and not message.acks_1 and self._is_first(connection, message):
            self.wrong.append(Wrong("receipt before ack 1", key, f"receipt {level} of {by}"))
        levels = connection.logins[-1].levels
        if level <= levels.get((key, by), 0):
            what = f"receipt {level} of {by} after {levels[key, by]} on {connection}"
            self.wrong.append(Wrong("receipt repeated", key, what))
        levels[key, by] = level
        message.receipts.setdefault(by, []).append((at, connection.number, level))

    def replaced(self, connection: Connection) -> None:
        """Note that the relay says that another login has taken this connection's place (R27)."""
        self.replacements.append(connection)

    def _is_first(self, connection: Connection, message: Message) -> bool:
        """Whether the message was never sent on another connection: then none other stored it."""
        return message.writes[0][1] == connection.number

    def _forged(self, key: Key, what: str) -> bool:
        self.wrong.append(Wrong("forged", key, what))
        return False

    # --- progress ---

    def unfinished(self) -> Iterable[Message]:
        """Return the messages that lack an answer, a delivery, an ack or a receipt.

        A message that lacks nothing is not looked at again until someone acks it once more.
        """
        for key, message in list(self._unfinished.items()):
            if message.is_refused or (
                message.is_acked
                and all(message.acked_level(user) for user in message.recipients)
                and not any(message.missing_receipts())
            ):
                del self._unfinished[key]
        return self._unfinished.values()
