"""GET /api/v1/users: who is connected, how one of them is, and what waits for him."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from litestar.exceptions import PermissionDeniedException, ValidationException
from litestar.params import Parameter

from relay import clock
from relay.admin.access import Permission
from relay.admin.asker import Seat, Silence
from relay.admin.bans import Bans
from relay.admin.reasons import reasons
from relay.admin.revocations import Revocations
from relay.admin.routes import has, known, look
from relay.admin.view import View
from relay.auth.revoked import UserRevoked
from relay.errors import JidError, SettingsError
from relay.inquiries.people import (
    AskMailbox,
    AskQueue,
    AskSession,
    AskSessions,
    AuthorWaiting,
    MailboxSeen,
    Queued,
    SessionSeen,
)
from relay.protocol.jid import group_jid, parse_user, user_com

Limit = Annotated[int, Parameter(ge=1, le=1000, description="how many at most")]
Jid = Annotated[str, Parameter(max_length=200, description="a user, in any accepted spelling")]


class Connected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One session; of a cluster `host` is where its front is."""

    jid: str
    front: int
    session: int
    address: str
    stage: str
    since_ms: int
    capabilities: tuple[str, ...]
    host: str = ""


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the sessions; `next` is the cursor behind them, empty where no more follow."""

    users: list[Connected]
    next: str
    not_asked: list[Silence]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds one user, and how near he is: what is refused beyond says so to its author."""

    mailbox_entries: int
    mailbox_bytes: int
    sent_waiting_messages: int  # of his own, of users that his worker serves too; about
    sent_waiting_bytes: int
    quota_messages: int
    quota_bytes: int


class User(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One user: where he is connected, and what waits for him; `host` has his worker.

    Over 15 fields, since all of it is of him.
    """

    jid: str
    worker: int
    sessions: list[Connected]
    says: list[str]  # why it gets no messages, or that it does; for people
    reads: str  # LIVE, READING, PAUSED or STARVED; empty: he has no session
    waiting_messages: int | None  # None: not counted yet
    waiting_bytes: int | None
    waiting_receipts: int | None
    oldest_ms: int  # since 1970; 0: nothing waits
    authors: list[AuthorWaiting]  # of the first `looked_at` entries
    looked_at: int
    limits: Limits
    has_tokens: bool  # to revoke: auth.mode is "token"
    not_asked: list[Silence]
    host: str = ""  # of a cluster


class QueueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a queue."""

    seq: int
    kind: Literal["message", "group_message", "receipt"]
    id: str
    author: str  # of a receipt: who has acked
    group: str | None
    queued_ms: int
    size: int
    level: int | None  # of a receipt: 2 delivered, 3 read, 4 played
    message: dict[str, Any] | None  # where texts were asked for


class UserQueue(msgspec.Struct, frozen=True, kw_only=True):
    """Some of what waits, in order; `next` is the cursor behind it, 0 where no more follows."""

    jid: str
    entries: list[QueueEntry]
    next: int


@look("/api/v1/users", summary="Who is connected", tags=["users"])
async def users(
    view: View,
    prefix: Annotated[str, Parameter(max_length=64, description="how a user begins")] = "",
    limit: Limit = 100,
    cursor: Annotated[
        str,
        Parameter(
            pattern=r"^(([a-z][a-z0-9]{0,31}:)?[0-9]{1,3}:[0-9]{1,18})?$",
            description="`next` of the page before",
        ),
    ] = "",
) -> Users:
    """Return sessions front by front, in the order in which they came; in a cluster of all."""
    asker = view.asker
    deadline_s = asker.deadline_s()
    where, _, after = (cursor or "0:0").rpartition(":")
    host, _, front = where.rpartition(":")
    at, behind = (host, int(front)), int(after)
    fronts = asker.everywhere("front")
    found: list[Connected] = []
    not_asked = asker.unheard()
    for number, seat in enumerate(fronts):
        place = (asker.host_of(seat), seat.index)
        if place < at:
            continue
        position = behind if place == at else 0
        by_s = _share_s(deadline_s, {asker.host_of(each) for each in fronts[number:]})
        while True:
            inquiry = AskSessions(limit - len(found), position, prefix)
            answer = await asker.ask(seat, inquiry, deadline_s=by_s)
            if isinstance(answer, Silence):
                not_asked.append(answer)
                break
            found += (_connected(view, seat, each) for each in answer.sessions)
            position = answer.next
            if len(found) >= limit:
                more = position or seat != fronts[-1]
                following = f"{seat.index}:{position}" if position else f"{seat.index + 1}:0"
                if asker.host:
                    following = f"{asker.host_of(seat)}:{following}"
                return Users(users=found, next=following if more else "", not_asked=not_asked)
            if not position:
                break
    return Users(users=found, next="", not_asked=not_asked)


@look("/api/v1/users/{jid:str}", summary="One user", tags=["users"])
async def user(view: View, jid: Jid) -> User:
    """Return how a user is, be he connected or not; one who was never heard of has nothing."""
    local = _local(jid)
    deadline_s = view.asker.deadline_s()
    worker = view.asker.owner_of(local)
    box = known(await view.asker.ask(worker, AskMailbox(local), deadline_s=deadline_s))
    sessions: list[Connected] = []
    not_asked: list[Silence] = []
    if box.front:
        seat = view.asker.seat_of(box.front)
        answer = await view.asker.ask(seat, AskSession(box.session), deadline_s=deadline_s)
        if isinstance(answer, Silence):
            not_asked.append(answer)
        else:
            of_him = (each for each in answer.sessions if each.user == local)
            sessions = [_connected(view, seat, each) for each in of_him]
    mailbox, quota = view.settings.mailbox, view.settings.quota
    return User(
        jid=user_com(local),
        worker=worker.index,
        sessions=sessions,
        says=_says(view, local, box, sessions),
        reads=box.state,
        waiting_messages=box.messages,
        waiting_bytes=box.size,
        waiting_receipts=box.receipts,
        oldest_ms=box.oldest_ms,
        authors=[AuthorWaiting(user_com(a.author), a.messages, a.size) for a in box.authors],
        looked_at=box.looked_at,
        limits=Limits(
            mailbox_entries=mailbox.max_entries,
            mailbox_bytes=mailbox.max_bytes,
            sent_waiting_messages=box.sent_messages,
            sent_waiting_bytes=box.sent_size,
            quota_messages=quota.waiting_messages,
            quota_bytes=quota.waiting_bytes,
        ),
        has_tokens=view.settings.auth.mode == "token",
        not_asked=not_asked,
        host=view.asker.host_of(worker),
    )


@look("/api/v1/users/{jid:str}/queue", summary="What waits for one user", tags=["users"])
async def queue(
    request: Request[Any, Any, Any],
    view: View,
    jid: Jid,
    limit: Limit = 100,
    after: Annotated[int, Parameter(ge=0, le=1 << 53, description="`next` of the page before")] = 0,
    texts: Annotated[bool, Parameter(description="with what people have written")] = False,
) -> UserQueue:
    """Return entries in order; texts need a token that may `texts`."""
    if texts and not has(request, Permission.TEXTS):
        raise PermissionDeniedException("a token that may `texts` is needed")
    local = _local(jid)
    inquiry = AskQueue(local, limit, after, texts)
    answer = known(await view.asker.ask(view.asker.owner_of(local), inquiry))
    return UserQueue(jid=user_com(local), entries=[*map(_entry, answer.entries)], next=answer.next)


def _says(view: View, local: str, box: MailboxSeen, sessions: list[Connected]) -> list[str]:
    ban, revocation, trouble = None, None, []
    now_ms = clock.now_ms()
    try:
        bans = Bans(view.place.data_dir).all()
        ban = next((each for each in bans if each.user == local), None)
    except SettingsError as error:
        trouble.append(f"whether it was thrown out cannot be told: {error}")
    try:
        revocation = _revocation(view, local, now_ms)
    except SettingsError as error:
        trouble.append(f"whether its tokens were revoked cannot be told: {error}")
    since_ms = max((each.since_ms for each in sessions), default=0)
    return trouble + reasons(
        box, ban, view.settings.mailbox, revocation=revocation, since_ms=since_ms, now_ms=now_ms
    )


def _revocation(view: View, local: str, now_ms: int) -> UserRevoked | None:
    if view.settings.auth.mode != "token":
        return None
    leeway_s = view.settings.auth_token.leeway_s
    for each in Revocations(view.place.data_dir, leeway_s=leeway_s).all(now_ms / 1000):
        if isinstance(each, UserRevoked) and each.user == local:
            return each
    return None


def _local(jid: str) -> str:
    try:
        return parse_user(jid)
    except JidError as error:
        raise ValidationException(str(error)) from None


def _entry(queued: Queued) -> QueueEntry:
    return QueueEntry(
        seq=queued.seq,
        kind=queued.kind,
        id=queued.id,
        author=user_com(queued.author),
        group=group_jid(queued.group) if queued.group else None,
        queued_ms=queued.queued_ms,
        size=queued.size,
        level=queued.level or None,
        message=None if queued.message is None else msgspec.json.decode(queued.message),
    )


def _share_s(deadline_s: float, hosts: Collection[str]) -> float:
    """Return until when the first of so many hosts may take, so that all of them are asked."""
    now_s = asyncio.get_running_loop().time()
    return now_s + max(0.0, deadline_s - now_s) / len(hosts)


def _connected(view: View, seat: Seat, seen: SessionSeen) -> Connected:
    return Connected(
        host=view.asker.host_of(seat),
        jid=user_com(seen.user),
        front=seat.index,
        session=seen.session,
        address=seen.address,
        stage=seen.stage,
        since_ms=seen.since_ms,
        capabilities=seen.capabilities,
    )


ROUTES = [users, user, queue]
