"""What a client's frame means, once it is parsed and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import msgspec

from relay.errors import Refusal
from relay.protocol.request import Correlation, RequestKey

MAX_ID_CHARS = 128  # of a message's id (R21)

# Ack levels (R18): 1 is the relay's own word, 2 to 4 are the recipient's.
LEVEL_STORED = 1
LEVEL_DELIVERED = 2
LEVEL_PLAYED = 4


class Token:
    """A token as a client gave it; it shows itself nowhere, neither in a log nor in a traceback."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "Token(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class Auth(msgspec.Struct, frozen=True):
    """A login as `user` (local part), with a token if one is there that is a text."""

    user: str
    resume: bool  # asked to resume; no session is ever known, so it starts anew (E3)
    caps: tuple[str, ...] | None  # asked for, so the answer lists those granted (E1)
    token: Token | None = None


class InvalidAuth(msgspec.Struct, frozen=True):
    """A frame tagged `auth` that is no login; answered with an auth failure."""

    reason: str


@final
class Send(msgspec.Struct, frozen=True):
    """One message element of an `action`, ready to be routed.

    `frame` is the complete frame that every recipient gets, UTF-8 JSON. `digest` tells whether a
    repeat carries the same message, deep-equal (R20). `time_s` is the time as kept (R9).
    """

    chat: str
    is_group: bool
    message_id: str
    time_s: int
    digest: bytes
    frame: bytes


@final
class Action(msgspec.Struct, frozen=True):
    """The elements of an `action` in order, each to send or refused on its own (R23).

    `refused` is how many messages of the frame are, be they among the elements or in one refusal
    for many that have no id.
    """

    elements: Sequence[Send | Refusal]
    refused: int = 0


@final
class Ack(msgspec.Struct, frozen=True):
    """A recipient's word on messages: delivered, read or played.

    `author` and `chat` are the frame's `from` and `to` as local parts (R13). `tag` is "Msg" or
    "MsgInfo", which mean the same (R17).
    """

    tag: str
    message_ids: list[str]
    level: int
    author: str
    author_is_group: bool
    chat: str
    chat_is_group: bool
    time_s: int | None


class ExtensionRequest(msgspec.Struct, frozen=True):
    """A request that is the business of the extension `owner`, with the body that it decoded."""

    owner: str
    key: RequestKey
    body: Any
    correlation: Correlation
    before_login: bool
    is_json: bool

    @property
    def named(self) -> str:
        """How an error names the request: as it named itself, else by its frame's tag."""
        return self.correlation.tag or self.correlation.prefix or self.key[0]


Stanza = Auth | InvalidAuth | Action | Ack | ExtensionRequest
