"""Events that an endpoint of the operator's is to be told, as the workers keep them."""

from __future__ import annotations

from typing import Literal

import msgspec

from relay.inquiries.contract import Inquiry

# Events that one inquiry tells of, and bytes of them: some 2 ms.
MAX_EVENTS = 250
MAX_EVENT_BYTES = 256 * 1024
# Events that one inquiry orders about.
MAX_ORDERED = 5000


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """An event, or a dead letter, as its worker keeps it (`relay.webhooks.events`)."""

    seq: int
    owner: str
    body: bytes


class EventsKept(msgspec.Struct, frozen=True):
    """Some of them, in order. Where `rounds` grows, others have come to lie before these."""

    events: list[Kept]
    rounds: int
    more: bool = False


class AskEvents(Inquiry[EventsKept], frozen=True):
    """Those that wait, or are dead, behind the place (`seq`, `owner`); at most `limit`."""

    name = "webhooks.events"
    answer = EventsKept

    limit: int
    seq: int = 0
    owner: str = ""
    dead: bool = False


class Ordered(msgspec.Struct, frozen=True, array_like=True):
    """What becomes of one event: it was posted, is dead and why, is to wait again, or to go."""

    seq: int
    owner: str
    what: Literal["settle", "bury", "retry", "drop"]
    reason: str = ""


class Taken(msgspec.Struct, frozen=True):
    """So many events were ordered about; it is done within a second or two."""

    events: int


class OrderEvents(Inquiry[Taken], frozen=True):
    """All of them, or none."""

    name = "webhooks.order"
    answer = Taken

    orders: list[Ordered]


class OrderDead(Inquiry[Taken], frozen=True):
    """The oldest dead letters, at most `MAX_ORDERED`; of more the rest is to be ordered again."""

    name = "webhooks.order_dead"
    answer = Taken

    what: Literal["retry", "drop"]


class EventsCount(msgspec.Struct, frozen=True):
    """How much a worker keeps; times are of the oldest, since 1970, 0 where there is none."""

    waiting: int
    waiting_bytes: int
    oldest_ms: int
    dead: int


class CountEvents(Inquiry[EventsCount], frozen=True):
    """Of one worker."""

    name = "webhooks.count"
    answer = EventsCount


class Resumed(msgspec.Struct, frozen=True):
    """Whether that host posts events at all."""

    posts: bool


class ResumePosting(Inquiry[Resumed], frozen=True):
    """Try again now what failed: of the admin of another host, which posts for its ranges."""

    name = "webhooks.resume"
    answer = Resumed
