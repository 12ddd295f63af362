"""POST /api/v1/tokens/revoke and /restore, GET .../revoked: tokens that count no more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, assert_never

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.params import Parameter

from relay import clock
from relay.admin.asker import Silence
from relay.admin.keeper import keeper_of
from relay.admin.revocations import Revocations
from relay.admin.routes import act, acted, also, local_of, look, who
from relay.admin.telling import told
from relay.admin.view import View
from relay.auth.revoked import Revocation, TokenRevoked, UserRevoked
from relay.disk.layout import revocations_path
from relay.errors import DiskError, SettingsError
from relay.protocol.jid import user_com

_STORING: Final = also(
    {
        409: 'auth.mode is not "token": the relay knows no tokens',
        500: "the list of revoked tokens is unusable",
        507: "the list cannot be written, or is full",
    }
)
# Behind that nobody counts; what is given in ms is, too.
_LAST_S: Final = 1 << 40

Id = Annotated[str, msgspec.Meta(max_length=1000, description="`jti` of a token")]
Jid = Annotated[str, msgspec.Meta(max_length=200, description="a user, in any accepted spelling")]


class Revoke(msgspec.Struct, frozen=True):
    """Which tokens: the one of that `id`, or those of `user` that were issued before a moment."""

    id: Id = ""
    user: Jid = ""
    issued_before_s: (
        Annotated[
            int, msgspec.Meta(ge=1, le=_LAST_S, description="of `user`, since 1970; null: now")
        ]
        | None
    ) = None
    expires_s: Annotated[
        int, msgspec.Meta(ge=0, le=_LAST_S, description="the last `exp` of them; 0: not known")
    ] = 0
    # For other operators; the user does not hear it.
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Restore(msgspec.Struct, frozen=True):
    """What was revoked: the token of that `id`, or tokens of `user`."""

    id: Id = ""
    user: Jid = ""


class RevocationShown(msgspec.Struct, frozen=True, kw_only=True):
    """What is revoked, since when: a token by its `id`, or tokens of the user `jid`."""

    id: str | None
    jid: str | None
    issued_before_s: int | None  # of `jid`; one that does not say when it was is revoked, too
    expires_s: int  # 0: it is listed until it is restored
    since_ms: int
    by: str
    reason: str
    # Fronts that will hear of it late: each looks at the list at its signs of life, too.
    not_asked: list[Silence] = []


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """Whether there was something to restore."""

    id: str | None
    jid: str | None
    was_revoked: bool
    not_asked: list[Silence]


class RevocationPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of them, in the order in which they came; `next` is 0 where no more follow."""

    revocations: list[RevocationShown]
    next: int


@act("/api/v1/tokens/revoke", summary="Revoke tokens", tags=["users"], responses=_STORING)
async def revoke(request: Request[Any, Any, Any], view: View, data: Revoke) -> RevocationShown:
    """Close sessions that began with such tokens with 4401, and refuse their logins with 401.

    It is durable when this is answered. Of the same token or user whatever denies more counts. The
    clock of who makes tokens may be ahead by `auth_token.leeway_s`: for that long behind now those
    that a user gets are refused as well.
    """
    revocations, now_s = _revocations(view), clock.now_ms() / 1000
    asked = _asked(view, data, who(request), now_s)
    with _told_apart():
        found = await asyncio.to_thread(revocations.add, asked, now_s)
    acted(request, "revoke tokens", **_named(found), again=found is not asked)
    return _shown(found, await told(view))


@act("/api/v1/tokens/restore", summary="Let tokens count again", tags=["users"], responses=_STORING)
async def restore(request: Request[Any, Any, Any], view: View, data: Restore) -> Restored:
    """Undo a revocation; where there is none that is fine, too."""
    revocations, now_s = _revocations(view), clock.now_ms() / 1000
    asked = _asked(view, Revoke(data.id, data.user), "", now_s)
    with _told_apart():
        was_revoked = await asyncio.to_thread(revocations.remove, asked, now_s)
    acted(request, "restore tokens", **_named(asked), was_revoked=was_revoked)
    shown = _shown(asked, await told(view))
    return Restored(id=shown.id, jid=shown.jid, was_revoked=was_revoked, not_asked=shown.not_asked)


@look("/api/v1/tokens/revoked", summary="Which are revoked", tags=["users"], responses=_STORING)
async def revoked(
    view: View,
    limit: Annotated[int, Parameter(ge=1, le=1000, description="how many at most")] = 100,
    after: Annotated[int, Parameter(ge=0, le=1 << 53, description="`next` of the page before")] = 0,
) -> RevocationPage:
    """Return them a page at a time; those whose tokens have expired are gone."""
    revocations = _revocations(view)
    with _told_apart():
        found = revocations.all(clock.now_ms() / 1000)
    page = [_shown(each, []) for each in found[after : after + limit]]
    more = after + limit < len(found)
    return RevocationPage(revocations=page, next=after + limit if more else 0)


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except DiskError as error:
        raise HTTPException(str(error), status_code=507) from None
    except SettingsError as error:
        raise HTTPException(str(error), status_code=500) from None


def _revocations(view: View) -> Revocations:
    mode = view.settings.auth.mode
    if mode != "token":
        raise HTTPException(
            f'auth.mode is "{mode}": only in mode "token" does the relay know tokens, and can'
            " revoke them; `relay ban` keeps a user out in every mode",
            status_code=409,
        )
    data = view.place.data_dir
    keeper = keeper_of(view.settings.cluster, "revocations", revocations_path(data))
    return Revocations(data, keeper, leeway_s=view.settings.auth_token.leeway_s)


def _asked(view: View, data: Revoke, by: str, now_s: float) -> Revocation:
    """Return what is asked for.

    Raises:
        ValidationException: 400: it is nothing that could be.
    """
    if bool(data.id) == bool(data.user):
        raise ValidationException("give either id or user")
    # A token is good until so long past its `exp`; its issuer's clock may be ahead by as much.
    leeway_s = view.settings.auth_token.leeway_s
    if 0 < data.expires_s <= now_s - leeway_s:
        raise ValidationException("expires_s: they have expired, and let nobody in")
    since_ms = int(now_s * 1000)
    if data.id:
        if data.issued_before_s is not None:
            raise ValidationException("issued_before_s goes with user")
        return TokenRevoked(
            id=data.id, expires_s=data.expires_s, since_ms=since_ms, by=by, reason=data.reason
        )
    before_s = int(now_s + leeway_s) + 1
    if data.issued_before_s is not None:
        if data.issued_before_s > before_s:
            raise ValidationException("issued_before_s: it is to come")
        before_s = data.issued_before_s
    return UserRevoked(
        user=local_of(data.user),
        before_s=before_s,
        expires_s=data.expires_s,
        since_ms=since_ms,
        by=by,
        reason=data.reason,
    )


def _named(revocation: Revocation) -> dict[str, str]:
    """Return whose tokens they are, as the log has it."""
    match revocation:
        case TokenRevoked():
            return {"token_id": revocation.id}
        case UserRevoked():
            return {"user": revocation.user}
        case _:
            assert_never(revocation)


def _shown(found: Revocation, not_asked: list[Silence]) -> RevocationShown:
    return RevocationShown(
        id=found.id if isinstance(found, TokenRevoked) else None,
        jid=user_com(found.user) if isinstance(found, UserRevoked) else None,
        issued_before_s=found.before_s if isinstance(found, UserRevoked) else None,
        expires_s=found.expires_s,
        since_ms=found.since_ms,
        by=found.by,
        reason=found.reason,
        not_asked=not_asked,
    )


ROUTES = [revoke, restore, revoked]
