"""POST .../kick, PUT and DELETE .../ban, GET /api/v1/bans: users who are sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.params import Parameter

from relay import clock
from relay.admin.asker import Seat, Silence
from relay.admin.bans import Bans
from relay.admin.keeper import keeper_of
from relay.admin.routes import act, acted, also, local_of, look, remove, replace, who
from relay.admin.telling import told
from relay.admin.view import View
from relay.auth.banned import Ban
from relay.disk.layout import bans_path
from relay.errors import DiskError, SettingsError
from relay.inquiries.leaving import Kick
from relay.protocol.jid import user_com

Changed = TypeVar("Changed")
Jid = Annotated[str, Parameter(max_length=200, description="a user, in any accepted spelling")]
_STORING: Final = also(
    {500: "the list of bans is unusable", 507: "the list cannot be written, or is full"}
)


class KickDone(msgspec.Struct, frozen=True, kw_only=True):
    """What was closed; he may come again, and his client will."""

    jid: str
    sessions: int
    not_asked: list[Silence]


class BanShown(msgspec.Struct, frozen=True, kw_only=True):
    """One ban, and since when it is."""

    jid: str
    since_ms: int
    by: str
    reason: str
    # Fronts that will hear of it late: each looks at the list at its signs of life, too.
    not_asked: list[Silence] = []


class Reason(msgspec.Struct, frozen=True):
    """Why, for other operators; the user does not hear it."""

    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class BanLifted(msgspec.Struct, frozen=True, kw_only=True):
    """Whether there was one to lift."""

    jid: str
    was_banned: bool
    not_asked: list[Silence]


class BanPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the bans, in the order in which they came; `next` is 0 where no more follow."""

    bans: list[BanShown]
    next: int


@act("/api/v1/users/{jid:str}/kick", summary="Close a user's sessions", tags=["users"])
async def kick(request: Request[Any, Any, Any], view: View, jid: Jid) -> KickDone:
    """Close them with 1012 and the notice `kicked`; the user may come again."""
    local = local_of(jid)
    deadline_s = view.asker.deadline_s()
    fronts = view.asker.everywhere("front")
    ends = await asyncio.gather(*(_kicked_at(view, seat, local, deadline_s) for seat in fronts))
    closed = sum(count for count, _ in ends)
    not_asked = [*view.asker.unheard(), *(silence for _, silence in ends if silence is not None)]
    acted(request, "kick", user=local, sessions=closed, not_asked=len(not_asked))
    return KickDone(jid=user_com(local), sessions=closed, not_asked=not_asked)


async def _kicked_at(
    view: View, front: Seat, local: str, deadline_s: float
) -> tuple[int, Silence | None]:
    """Close sessions of a front; return how many, and why not all."""
    closed = position = 0
    while True:
        answer = await view.asker.ask(front, Kick(local, position), deadline_s=deadline_s)
        if isinstance(answer, Silence):
            return closed, answer
        closed += answer.sessions
        position = answer.next
        if not position:
            return closed, None


@replace(
    "/api/v1/users/{jid:str}/ban", summary="Throw a user out", tags=["users"], responses=_STORING
)
async def ban(request: Request[Any, Any, Any], view: View, jid: Jid, data: Reason) -> BanShown:
    """Close the user's sessions with 4401 and refuse logins with 403, for good.

    It is durable when this is answered. A second ban changes nothing of the first.
    """
    local = local_of(jid)
    asked = Ban(local, clock.now_ms(), who(request), data.reason)
    found = await _changed(lambda: _bans(view).add(asked))
    acted(request, "ban", user=local, again=found is not asked)
    return _shown(found, await told(view))


@remove(
    "/api/v1/users/{jid:str}/ban", summary="Let a user in again", tags=["users"], responses=_STORING
)
async def unban(request: Request[Any, Any, Any], view: View, jid: Jid) -> BanLifted:
    """Lift a ban; where there is none that is fine, too."""
    local = local_of(jid)
    was_banned = await _changed(lambda: _bans(view).remove(local))
    acted(request, "unban", user=local, was_banned=was_banned)
    return BanLifted(jid=user_com(local), was_banned=was_banned, not_asked=await told(view))


@look("/api/v1/bans", summary="Who is thrown out", tags=["users"], responses=_STORING)
async def bans(
    view: View,
    limit: Annotated[int, Parameter(ge=1, le=1000, description="how many at most")] = 100,
    after: Annotated[int, Parameter(ge=0, le=1 << 53, description="`next` of the page before")] = 0,
) -> BanPage:
    """Return bans, a page at a time."""
    try:
        found = _bans(view).all()
    except SettingsError as error:
        raise HTTPException(str(error), status_code=500) from None
    page = found[after : after + limit]
    more = after + limit < len(found)
    return BanPage(bans=[_shown(each, []) for each in page], next=after + limit if more else 0)


def _bans(view: View) -> Bans:
    data = view.place.data_dir
    return Bans(data, keeper_of(view.settings.cluster, "bans", bans_path(data)))


async def _changed(change: Callable[[], Changed]) -> Changed:
    """Return what a change returns: in a cluster a majority of the hosts takes it."""
    try:
        return await asyncio.to_thread(change)
    except DiskError as error:
        raise HTTPException(str(error), status_code=507) from None
    except SettingsError as error:
        raise HTTPException(str(error), status_code=500) from None


def _shown(found: Ban, not_asked: list[Silence]) -> BanShown:
    return BanShown(
        jid=user_com(found.user),
        since_ms=found.since_ms,
        by=found.by,
        reason=found.reason,
        not_asked=not_asked,
    )


ROUTES = [kick, ban, unban, bans]
