"""GET /api/v1/users/{jid}/trace: what becomes of a user's frames, while somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from litestar import Request
from litestar.exceptions import PermissionDeniedException, ValidationException
from litestar.params import Parameter

from relay import clock
from relay.admin.access import Permission
from relay.admin.asker import Seat, Silence
from relay.admin.routes import has, look
from relay.admin.view import View
from relay.errors import JidError
from relay.inquiries.tracing import AskNotes, Note, Notes
from relay.protocol.jid import parse_user, user_com

_POSITION: Final = r"(front|worker)-([a-z][a-z0-9]{0,31}-)?[0-9]{1,4}-[0-9]{1,17}-[0-9]{1,12}"


class TraceEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that became of something, and where."""

    at_us: int  # since 1970
    role: str
    index: int
    what: str  # read, written, logged_in, gone; of a worker: taken, stored, refused, sent
    kind: str
    ids: list[str]
    more_ids: int
    peer: str  # whom it was from or for, a local part
    detail: str
    size: int
    text: str | None  # the frame, where texts were asked for
    host: str = ""  # of a cluster; by its own clock


class Gap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Until when a process has noted nothing, or lost what it had noted, and why."""

    role: str
    index: int
    until_us: int
    reason: str
    host: str = ""  # of a cluster


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """What has become known since `cursor`, in order; to be asked again within seconds."""

    jid: str
    events: list[TraceEvent]
    gaps: list[Gap]
    cursor: str
    not_asked: list[Silence]


class _Position(msgspec.Struct, frozen=True):
    """Up to which note of a process somebody has come, and when its trace began."""

    begun_us: int = 0
    after: int = 0


@look("/api/v1/users/{jid:str}/trace", summary="What becomes of a user's frames", tags=["trace"])
async def trace(
    request: Request[Any, Any, Any],
    view: View,
    jid: Annotated[str, Parameter(max_length=200, description="a user")],
    cursor: Annotated[
        str,
        Parameter(
            max_length=20_000,
            pattern=rf"^({_POSITION}(,{_POSITION})*)?$",
            description="`cursor` of the answer before",
        ),
    ] = "",
    texts: Annotated[bool, Parameter(description="with the frames")] = False,
) -> Traced:
    """Begin to trace a user, or tell what was noted since the answer before.

    It ends ten seconds after the last question. Texts need a token that may `texts`.
    """
    if texts and not has(request, Permission.TEXTS):
        raise PermissionDeniedException("a token that may `texts` is needed")
    try:
        user = parse_user(jid)
    except JidError as error:
        raise ValidationException(str(error)) from None
    before = _positions(cursor)
    # What everybody has noted up to here is there when he answers; what is later comes next time.
    until_us = clock.now_us()
    deadline_s = view.asker.deadline_s()
    owner = view.asker.owner_of(user)
    half_s = (deadline_s - asyncio.get_running_loop().time()) / 2

    async def ask(seat: Seat, session: int = 0) -> tuple[Seat, Notes | Silence]:
        was = before.get(seat, _Position())
        inquiry = AskNotes(user, until_us, was.begun_us, was.after, session, texts)
        return seat, await view.asker.ask(seat, inquiry, deadline_s=deadline_s)

    async def ask_fronts() -> list[tuple[Seat, Notes | Silence]]:
        # One knows the user's session by his worker; a front that traces him does so without it.
        sessions: dict[Seat, int] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(half_s):
                _, told = await asyncio.shield(of_owner)
            if isinstance(told, Notes) and told.front:
                sessions[view.asker.seat_of(told.front)] = told.session
        fronts = view.asker.everywhere("front")
        return await asyncio.gather(*(ask(each, sessions.get(each, 0)) for each in fronts))

    of_owner = asyncio.ensure_future(ask(owner))
    others = [each for each in view.asker.everywhere("worker") if each != owner]
    of_workers = asyncio.gather(of_owner, *map(ask, others))
    answers = dict([*await ask_fronts(), *await of_workers])
    heard = {seat: each for seat, each in answers.items() if isinstance(each, Notes)}
    for notes in heard.values():
        if notes.more:  # nothing of others may go ahead of it
            until_us = min(until_us, notes.notes[-1].at_us)
    events = [
        (note, seat)
        for seat, notes in heard.items()
        for note in notes.notes
        if note.at_us <= until_us
    ]
    events.sort(key=lambda each: each[0].at_us)
    after = dict(before)
    for seat, notes in heard.items():
        was = before.get(seat, _Position())
        last = was.after if notes.begun_us == was.begun_us else 0
        numbers = [note.number for note in notes.notes if note.at_us <= until_us]
        after[seat] = _Position(notes.begun_us, max([last, *numbers]))
    return Traced(
        jid=user_com(user),
        events=[_event(view, note, seat) for note, seat in events],
        gaps=list(_gaps(view, heard, before)),
        cursor=",".join(
            f"{seat.role}-{_on_host(seat)}{seat.index}-{each.begun_us}-{each.after}"
            for seat, each in after.items()
        ),
        not_asked=[
            *view.asker.unheard(),
            *(each for each in answers.values() if isinstance(each, Silence)),
        ],
    )


def _on_host(seat: Seat) -> str:
    return f"{seat.host}-" if seat.host else ""


def _positions(cursor: str) -> dict[Seat, _Position]:
    found = {}
    for each in filter(None, cursor.split(",")):
        role, *hosts, index, begun_us, after = each.split("-")
        found[Seat(role, int(index), "".join(hosts))] = _Position(int(begun_us), int(after))
    return found


def _gaps(view: View, heard: dict[Seat, Notes], before: dict[Seat, _Position]) -> Iterable[Gap]:
    for seat, notes in heard.items():
        was = before.get(seat)
        if was is not None and was.begun_us != notes.begun_us:
            reason = "it has come anew, or was not asked for long"
            until_us = notes.begun_us
        elif was is not None and notes.notes and notes.notes[0].number > was.after + 1:
            reason = f"{notes.notes[0].number - was.after - 1} notes were too many"
            until_us = notes.notes[0].at_us
        elif was is None and before:
            reason = "nothing was heard of it before"
            until_us = notes.begun_us
        else:
            continue
        host = view.asker.host_of(seat)
        yield Gap(role=seat.role, index=seat.index, until_us=until_us, reason=reason, host=host)


def _event(view: View, note: Note, seat: Seat) -> TraceEvent:
    return TraceEvent(
        host=view.asker.host_of(seat),
        at_us=note.at_us,
        role=seat.role,
        index=seat.index,
        what=note.what,
        kind=note.kind,
        ids=list(note.ids),
        more_ids=note.more_ids,
        peer=note.peer,
        detail=note.detail,
        size=note.size,
        text=None if note.text is None else note.text.decode(errors="replace"),
    )


ROUTES = [trace]
