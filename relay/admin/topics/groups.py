"""/api/v1/groups: which groups there are, and those that are made and changed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from relay.admin.groupbook import Book, GivenElsewhere
from relay.admin.operations import Operation
from relay.admin.routes import acted, also, look, missing, remove, replace
from relay.admin.view import View
from relay.disk.groupfile import Group, encode_groups
from relay.errors import DiskError, JidError, SettingsError
from relay.protocol.jid import group_jid, parse_group, user_cus

Jid = Annotated[str, Parameter(max_length=200, description="a group, such as 123-456@g.us")]
Answer = TypeVar("Answer")

# An answer comes within a second; what takes longer is asked for again by its id.
WAIT_S: Final = 0.8
_READING: Final = also({500: "a groups file is unusable"})
_WRITING: Final = also(
    {
        409: "the group is in the operator's groups file, which counts",
        500: "a groups file is unusable",
        507: "the groups cannot be written, or are too many",
    }
)


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """One group; of `file` it is where the operator's groups file names it, which counts."""

    jid: str
    subject: str
    participants: int
    admins: int
    source: Literal["file", "api"]


class GroupPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of them, by jid; `next` is the cursor behind them, empty where no more follow."""

    groups: list[GroupRow]
    next: str


class GroupContent(msgspec.Struct, frozen=True):
    """One group, as a groups file has it."""

    subject: str
    participants: list[str]
    admins: list[str] = []


_FILE: Final = ResponseSpec(
    dict[str, GroupContent], description="the file", generate_examples=False
)


class GroupShown(msgspec.Struct, frozen=True, kw_only=True):
    """One group with its members."""

    jid: str
    subject: str
    participants: list[str]
    admins: list[str]
    source: Literal["file", "api"]


class GroupsStored(msgspec.Struct, frozen=True, kw_only=True):
    """They are durable; `operation` says whether they are in force, too."""

    groups: int
    operation: Operation


class GroupRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """Whether there was one; `operation` says whether it is out of force."""

    jid: str
    was_there: bool
    operation: Operation | None


@look("/api/v1/groups", summary="Which groups there are", tags=["groups"], responses=_READING)
async def groups(
    view: View,
    prefix: Annotated[str, Parameter(max_length=64, description="how a jid begins")] = "",
    limit: Annotated[int, Parameter(ge=1, le=1000, description="how many at most")] = 100,
    cursor: Annotated[str, Parameter(max_length=200, description="`next` of before")] = "",
) -> GroupPage:
    """Return groups by jid, as the files say now."""
    book = await _done(view.groups.read)
    found = sorted(n for n in book.all if n.startswith(prefix) and group_jid(n) > cursor)
    page = found[:limit]
    more = len(found) > limit
    return GroupPage(
        groups=[_row(book, local) for local in page], next=group_jid(page[-1]) if more else ""
    )


@look("/api/v1/groups/{jid:str}", summary="One group", tags=["groups"], responses=_READING)
async def group(view: View, jid: Jid) -> GroupShown:
    """Return a group with its members."""
    local = _local(jid)
    book = await _done(view.groups.read)
    found = book.all.get(local)
    if found is None:
        raise missing(f"there is no group {group_jid(local)}")
    content = _content(found)
    return GroupShown(
        jid=group_jid(local),
        subject=content.subject,
        participants=content.participants,
        admins=content.admins,
        source=_source(book, local),
    )


@replace(
    "/api/v1/groups/{jid:str}",
    summary="Make or change a group",
    tags=["groups"],
    responses=_WRITING,
)
async def put(
    request: Request[Any, Any, Any], view: View, jid: Jid, data: GroupContent
) -> GroupsStored:
    """Make a group, or have it be as this says; it is durable when this is answered."""
    return await _put(request, view, {group_jid(_local(jid)): data})


@remove("/api/v1/groups/{jid:str}", summary="Delete a group", tags=["groups"], responses=_WRITING)
async def delete(request: Request[Any, Any, Any], view: View, jid: Jid) -> GroupRemoved:
    """Delete a group; what waits of it for its members stays."""
    local = _local(jid)
    was_there = await _done(lambda: view.groups.remove(local))
    acted(request, "delete group", group=local, was_there=was_there)
    operation = None
    if was_there:
        operation = await view.operations.wait(view.operations.take_groups(), WAIT_S)
    return GroupRemoved(jid=group_jid(local), was_there=was_there, operation=operation)


@look(
    "/api/v1/groups-file",
    summary="All groups as a groups file",
    tags=["groups"],
    responses={**_READING, 200: _FILE},
)
async def export(view: View) -> Response[bytes]:
    """Return all that count, as `server.groups` is written."""
    book = await _done(view.groups.read)
    return Response(encode_groups(book.all), media_type="application/json")


@replace(
    "/api/v1/groups-file", summary="Make or change many groups", tags=["groups"], responses=_WRITING
)
async def take(
    request: Request[Any, Any, Any], view: View, data: dict[str, GroupContent]
) -> GroupsStored:
    """Make or change the groups of a groups file, all or none; others stay."""
    return await _put(request, view, data)


async def _put(
    request: Request[Any, Any, Any], view: View, data: dict[str, GroupContent]
) -> GroupsStored:
    document = msgspec.json.encode(data)
    names = await _done(lambda: view.groups.put(document), by_client=True)
    acted(request, "put groups", groups=len(names), first=names[0] if names else "")
    operation = await view.operations.wait(view.operations.take_groups(), WAIT_S)
    return GroupsStored(groups=len(names), operation=operation)


async def _done(call: Callable[[], Answer], *, by_client: bool = False) -> Answer:
    """Return what `call` does in a thread: the files may be large."""
    try:
        return await asyncio.to_thread(call)
    except GivenElsewhere as error:
        raise HTTPException(str(error), status_code=409) from None
    except DiskError as error:
        raise HTTPException(str(error), status_code=507) from None
    except SettingsError as error:
        if by_client and all(each.startswith("the request") for each in error.problems):
            raise ValidationException("; ".join(error.problems)) from None
        raise HTTPException(str(error), status_code=500) from None


def _local(jid: str) -> str:
    try:
        return parse_group(jid)
    except JidError as error:
        raise ValidationException(str(error)) from None


def _source(book: Book, local: str) -> Literal["file", "api"]:
    return "file" if local in book.given else "api"


def _content(found: Group) -> GroupContent:
    return GroupContent(
        found.subject, [*map(user_cus, found.participants)], [*map(user_cus, found.admins)]
    )


def _row(book: Book, local: str) -> GroupRow:
    found = book.given.get(local) or book.made[local]
    return GroupRow(
        jid=group_jid(local),
        subject=found.subject,
        participants=len(found.participants),
        admins=len(found.admins),
        source=_source(book, local),
    )


ROUTES = [groups, group, put, delete, export, take]
