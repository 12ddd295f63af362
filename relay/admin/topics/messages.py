"""GET /api/v1/message: what the relay still knows of one message, and so why it is late."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
from litestar.exceptions import ValidationException
from litestar.params import Parameter

from relay.admin.asker import Silence
from relay.admin.routes import look, missing
from relay.admin.view import View
from relay.errors import JidError
from relay.inquiries.messages import (
    AskMessage,
    AskReceipts,
    PassingSeen,
    ReceiptSeen,
    ReceiptsSeen,
    RecordSeen,
)
from relay.protocol.jid import group_jid, parse_user, user_com

# An id is one author's, nearly always; of more than so many the receipts are not looked for.
_MAX_AUTHORS: Final = 8


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """The message on its way to one recipient; a group's own has none."""

    author: str
    recipient: str | None
    group: str | None
    worker: int
    stored_us: int  # since 1970: ack 1 may have left from then on
    level: int  # 1 stored, 2 delivered, 3 read, 4 played, or kept from who blocks the author
    waits: bool  # in the recipient's mailbox
    recipient_reads: str  # LIVE, READING, PAUSED or STARVED; empty: he is not connected


class ReceiptWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt that the author has not got, or has not been seen to have."""

    author: str
    acker: str
    group: str | None
    level: int
    since_us: int
    author_reads: str


class Passing(msgspec.Struct, frozen=True, kw_only=True):
    """What of it is on its way from one worker to another."""

    kind: str
    author: str
    from_worker: int
    to_worker: int
    since_us: int


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One id's story; ids of several authors may be the same."""

    id: str
    copies: list[Copy]
    receipts: list[ReceiptWaiting]
    passing: list[Passing]
    more: bool  # than is told
    not_asked: list[Silence]


@look("/api/v1/message", summary="What became of a message", tags=["messages"])
async def message(
    view: View,
    id: Annotated[str, Parameter(min_length=1, max_length=128, description="its id")],
    of: Annotated[str, Parameter(max_length=200, description="its author or recipient")] = "",
) -> Message:
    """Return what is known: for as long as repeats of it are, and while it waits."""
    try:
        user = parse_user(of) if of else ""
    except JidError as error:
        raise ValidationException(str(error)) from None
    deadline_s = view.asker.deadline_s()
    # A worker that is stopped leaves half of the time for what follows.
    half_s = (asyncio.get_running_loop().time() + deadline_s) / 2
    heard, not_asked = await view.asker.ask_all(
        "worker", AskMessage(id), deadline_s=half_s, everywhere=True
    )
    copies: list[Copy] = []
    passing: list[Passing] = []
    more = False
    for seat, seen in sorted(heard.items()):
        more |= seen.more
        copies += (_copy(seat.index, each) for each in seen.records if _is_of(each, user))
        passing += (_passing(seat.index, each) for each in seen.passing)
    authors = sorted({each.author.partition("@")[0] for each in copies})
    more |= len(authors) > _MAX_AUTHORS

    async def waiting_for(author: str) -> ReceiptsSeen | Silence:
        inquiry = AskReceipts(id, author)
        seat = view.asker.owner_of(author)
        answer = await view.asker.ask(seat, inquiry, deadline_s=deadline_s)
        return answer  # returned at once, it would be taken for another type

    answers = await asyncio.gather(*map(waiting_for, authors[:_MAX_AUTHORS]))
    receipts: list[ReceiptWaiting] = []
    for answer in answers:
        if isinstance(answer, Silence):
            if answer not in not_asked:
                not_asked.append(answer)
            continue
        more |= answer.more
        receipts += (_receipt(each, answer.reads) for each in answer.receipts)
    if not copies and not passing and not not_asked:
        raise missing("no message of that id is known; nobody sent it, or it is long past")
    return Message(
        id=id,
        copies=sorted(copies, key=lambda each: each.stored_us),
        receipts=receipts,
        passing=passing,
        more=more,
        not_asked=not_asked,
    )


def _is_of(record: RecordSeen, user: str) -> bool:
    # A group's own record is part of the story of each of its messages.
    return not user or user in (record.author, record.recipient) or not record.recipient


def _copy(worker: int, seen: RecordSeen) -> Copy:
    return Copy(
        author=user_com(seen.author),
        recipient=user_com(seen.recipient) if seen.recipient else None,
        group=group_jid(seen.group) if seen.group else None,
        worker=worker,
        stored_us=seen.stored_us,
        level=seen.level,
        waits=seen.waits,
        recipient_reads=seen.reads,
    )


def _receipt(seen: ReceiptSeen, reads: str) -> ReceiptWaiting:
    return ReceiptWaiting(
        author=user_com(seen.author),
        acker=user_com(seen.acker),
        group=group_jid(seen.group) if seen.group else None,
        level=seen.level,
        since_us=seen.since_us,
        author_reads=reads,
    )


def _passing(worker: int, seen: PassingSeen) -> Passing:
    return Passing(
        kind=seen.kind,
        author=user_com(seen.author),
        from_worker=worker,
        to_worker=seen.to_worker,
        since_us=seen.since_us,
    )


ROUTES = [message]
