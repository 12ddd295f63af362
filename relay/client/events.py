"""What a client tells the program that uses it: one frozen struct for each thing that happened."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import msgspec

# Why a message is refused for now: it is sent again by itself.
PASSING_CODES: Final = frozenset({429, 500, 503})
# Those, and 507, which lasts, so that the user should hear of it: the same id may be tried again.
RETRYABLE_CODES: Final = PASSING_CODES | {507}

# Chat, sender, id: what a message is recognised by when it comes again.
MessageKey = tuple[str, str, str]


class Level(IntEnum):
    """How far a message got at one recipient; it only ever rises."""

    DELIVERED = 2
    READ = 3
    PLAYED = 4


class Connected(msgspec.Struct, frozen=True, tag=True):
    """Logged in; what waited at the relay follows."""


class Disconnected(msgspec.Struct, frozen=True, tag=True):
    """The connection was lost or could not be made; the next attempt is in `retry_in` seconds.

    `code` is the WebSocket close code, or None where there was no connection to close. Where
    nothing `answered`, there may be no relay at all; one that turns its client away has.
    """

    code: int | None
    reason: str
    retry_in: float
    answered: bool = True


class Message(msgspec.Struct, frozen=True, tag=True):
    """A message for this user.

    `chat` is where an answer goes: the sender's local part, or the group's jid (`...@g.us`).
    `sender` is always a user's local part. `body` is the sender's `message` object, unchecked.
    `t` is the sender's clock in seconds, 0 where unreadable.
    """

    id: str
    chat: str
    sender: str
    body: dict[str, Any]
    t: int

    @property
    def key(self) -> MessageKey:
        """What it is recognised by when it comes again."""
        return self.chat, self.sender, self.id

    @property
    def is_group(self) -> bool:
        """Whether it was sent to a group."""
        return self.chat.endswith("@g.us")

    @property
    def text(self) -> str:
        """The text of a plain text message, or an empty string."""
        text = self.body.get("conversation")
        if text is None and isinstance(extended := self.body.get("extendedTextMessage"), dict):
            text = extended.get("text")
        return text if isinstance(text, str) else ""


class Sent(msgspec.Struct, frozen=True, tag=True):
    """Ack 1: the relay stores the message `id` and will deliver it, whatever crashes."""

    id: str
    chat: str
    t: int


class Receipt(msgspec.Struct, frozen=True, tag=True):
    """`user` got, read or played the message `id` that this user sent to `chat`.

    Given once for each rise of the level; READ may come without DELIVERED and implies it.
    """

    id: str
    chat: str
    user: str
    level: Level
    t: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The relay refused the message `id`; the client has given it up.

    `retry_after` is in seconds, None where the relay named no time.
    """

    id: str
    chat: str
    code: int
    reason: str
    retry_after: float | None = None

    @property
    def retryable(self) -> bool:
        """Whether the same id may be accepted later."""
        return self.code in RETRYABLE_CODES


class Delayed(msgspec.Struct, frozen=True, tag=True):
    """The relay cannot take the message `id` now; it is sent again by itself.

    That is in `retry_in` seconds, and before all that its chat has not been told yet.
    """

    id: str
    chat: str
    code: int
    reason: str
    retry_in: float


class Refused(msgspec.Struct, frozen=True, tag=True):
    """An error frame that is about no send under way."""

    code: int
    reason: str
    tag: str
    id: str


Event = Connected | Disconnected | Message | Sent | Receipt | Failed | Delayed | Refused


class Waiting(msgspec.Struct, frozen=True):
    """A message of this user that has no ack 1 yet."""

    id: str
    chat: str
    message: Mapping[str, Any]
