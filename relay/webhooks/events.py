"""An event: something that an endpoint of the operator's is told, and how a worker keeps it.

Workers note events in the batches of what they tell of. An event is known by its place: the user or
group that it is of, and a number that its worker gave to nothing else. Its id is made of the two,
so that it is the same however often, and by whom, it is posted.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal, NamedTuple

import msgspec

# How an extension's half calls itself: the prefix of its counters and trees.
NAME: Final = "webhooks"
WAITING_TREE: Final = "waiting"
DEAD_TREE: Final = "dead"


class Place(NamedTuple):
    """Where an event is kept, and what tells it from all others; in order of the number first."""

    seq: int
    owner: str  # local part of a user or group


class _What(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of what may have happened; the tag is what receivers know it by."""


class MessageQueued(_What, frozen=True, tag="message.queued"):
    """A message waits for the event's user, who has no session."""

    author: str
    group: str  # empty for a 1-1 message
    message_id: str
    time_s: int
    size: int
    frame: bytes = b""  # as its recipient gets it, where texts are told


class UserOnline(_What, frozen=True, tag="user.online"):
    """The event's user has a session."""


class UserOffline(_What, frozen=True, tag="user.offline"):
    """The event's user has no session any more; so many messages wait for him."""

    waiting: int


class GroupChanged(_What, frozen=True, tag="group.changed"):
    """The event's group was made, changed or deleted; `members` are how many it has now."""

    change: Literal["created", "changed", "deleted"]
    subject: str
    members: int


class MailboxFull(_What, frozen=True, tag="mailbox.full"):
    """A message of `author` had no room in the mailbox of the event's user.

    `is_share` tells that it is the author's part of it that is full. A message to a group was
    acked, and only this copy of it was left out.
    """

    author: str
    group: str
    message_id: str
    is_share: bool


What = MessageQueued | UserOnline | UserOffline | GroupChanged | MailboxFull


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What happened to whose, and when."""

    at_ms: int
    what: What


class DeadLetter(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event that is not posted any more, unless an operator says so: since when, and why."""

    since_ms: int
    reason: str
    event: msgspec.Raw


_encoder: Final = msgspec.msgpack.Encoder()
encode: Final = _encoder.encode
decode_event: Final = msgspec.msgpack.Decoder(Event).decode
decode_dead: Final = msgspec.msgpack.Decoder(DeadLetter).decode


def id_of(place: Place) -> str:
    """Return the id of the event at `place`: no full stop is in it, which would end it (v1)."""
    owner = blake2b(place.owner.encode(), digest_size=8).hexdigest()
    return f"evt_{place.seq:014x}{owner}"


def key_of(place: Place) -> bytes:
    """Return its key in a tree that grows, beside its owner."""
    return place.seq.to_bytes(8, "big")


def place_of(owner: str, key: bytes) -> Place:
    """Return the place of what is in such a tree."""
    return Place(int.from_bytes(key, "big"), owner)
