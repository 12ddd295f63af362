"""GET /api/v1/senders and /api/v1/mailboxes: who sends most, and who fills the disk."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from heapq import nlargest
from typing import Annotated, Final, Literal

import msgspec
from litestar.params import Parameter

from relay.admin.asker import Seat, Silence
from relay.admin.routes import look
from relay.admin.view import View
from relay.inquiries.largest import MAX_NAMED, AskLargest, AskSenders, Holding
from relay.protocol.jid import user_com

Limit = Annotated[int, Parameter(ge=1, le=MAX_NAMED, description="how many at most")]
# Between two questions to a worker, which take it a fraction of that: messages come first.
_REST_S: Final = 0.015


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """About how many messages a user sends now, in the last five to ten seconds."""

    jid: str
    per_s: float


class Senders(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends most first; whoever sends less than some twenty messages is told too high."""

    senders: list[Sender]
    not_asked: list[Silence]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for one user; or of one author, about, and without receipts."""

    jid: str
    messages: int
    size: int
    receipts: int = 0


class Largest(msgspec.Struct, frozen=True, kw_only=True):
    """The largest mailboxes first, and the authors of whom most waits for users (not groups).

    `more` tells whether the time was up before all were looked at.
    """

    mailboxes: list[Held]
    authors: list[Held]
    looked_at: int
    more: bool
    not_asked: list[Silence]


@look("/api/v1/senders", summary="Who sends most", tags=["users"])
async def senders(view: View, limit: Limit = 20) -> Senders:
    """Return who sends most now, by all fronts; nothing while `quota.messages_per_s` is 0."""
    heard, not_asked = await view.asker.ask_all("front", AskSenders(limit), everywhere=True)
    per_s: Counter[str] = Counter()
    for seen in heard.values():
        for each in seen.senders:
            per_s[each.user] += each.per_s  # type: ignore[assignment]  # a Counter takes any number
    return Senders(
        senders=[Sender(jid=user_com(user), per_s=n) for user, n in per_s.most_common(limit)],
        not_asked=not_asked,
    )


@look("/api/v1/mailboxes", summary="For whom and of whom most waits", tags=["users"])
async def mailboxes(
    view: View,
    limit: Limit = 20,
    by: Annotated[Literal["bytes", "entries"], Parameter(description="what is most")] = "bytes",
    within_s: Annotated[
        float,
        Parameter(
            ge=0.1, le=30, description="how long to look: some 60,000 mailboxes/s of a worker"
        ),
    ] = 0.7,
) -> Largest:
    """Return the largest, as far as workers have told them in that time."""
    ends_s = asyncio.get_running_loop().time() + within_s
    by_entries = by == "entries"
    workers = view.asker.everywhere("worker")
    looks = await asyncio.gather(*(_look(view, w, limit, by_entries, ends_s) for w in workers))
    return Largest(
        mailboxes=_most((each for seen in looks for each in seen.mailboxes), limit, by_entries),
        authors=_most(_summed(each for seen in looks for each in seen.authors), limit, by_entries),
        looked_at=sum(seen.looked_at for seen in looks),
        more=any(seen.more for seen in looks),
        not_asked=[seen.silence for seen in looks if seen.silence is not None],
    )


class _Look(msgspec.Struct):
    """What one worker has told so far."""

    mailboxes: list[Holding] = []
    authors: list[Holding] = []
    looked_at: int = 0
    more: bool = True
    silence: Silence | None = None


async def _look(view: View, worker: Seat, limit: int, by_entries: bool, ends_s: float) -> _Look:
    found, after = _Look(), b""
    loop = asyncio.get_running_loop()
    while True:
        seen = await view.asker.ask(worker, AskLargest(limit, after, by_entries))
        if isinstance(seen, Silence):
            found.silence = seen
            return found
        found.mailboxes = nlargest(
            limit, [*found.mailboxes, *seen.mailboxes], key=lambda each: _key(each, by_entries)
        )
        found.authors += seen.authors
        found.looked_at += seen.looked_at
        after = seen.next
        if not after:
            found.more = False
            return found
        if loop.time() + _REST_S >= ends_s:
            return found
        await asyncio.sleep(_REST_S)


def _key(each: Holding, by_entries: bool) -> int:
    return each.messages + each.receipts if by_entries else each.size


def _summed(authors: Iterable[Holding]) -> list[Holding]:
    """Return what waits of each author at all workers."""
    messages: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for each in authors:
        messages[each.user] += each.messages
        sizes[each.user] += each.size
    return [Holding(user, count, sizes[user]) for user, count in messages.items()]


def _most(found: Iterable[Holding], limit: int, by_entries: bool) -> list[Held]:
    most = nlargest(limit, found, key=lambda each: _key(each, by_entries))
    return [
        Held(jid=user_com(e.user), messages=e.messages, size=e.size, receipts=e.receipts)
        for e in most
    ]


ROUTES = [senders, mailboxes]
