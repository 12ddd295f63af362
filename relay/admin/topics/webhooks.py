"""/api/v1/webhooks: how events are posted, and what is to become of those that were not taken."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.params import Parameter

from relay.admin.asker import Seat, Silence
from relay.admin.courier.contract import Courier
from relay.admin.routes import act, acted, also, known, look
from relay.admin.view import View
from relay.inquiries.webhooks import (
    AskEvents,
    CountEvents,
    Kept,
    OrderDead,
    Ordered,
    OrderEvents,
    ResumePosting,
    Taken,
)
from relay.webhooks.bodies import Noted, told
from relay.webhooks.events import DeadLetter, Place, decode_dead, decode_event, id_of

_OFF = also({409: "no endpoint is named: webhooks.url"})


class WebhookStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How it is; times are ms since 1970, 0 for never.

    In a cluster each host posts what is of its ranges: of what waits and of dead letters this is of
    all, and the rest is how posting goes on `host`.
    """

    state: Literal["off", "posting", "failing", "gone"]
    url: str
    waiting: int  # events, of the workers that could be asked
    waiting_bytes: int
    oldest_ms: int
    dead_letters: int
    posted_ms: int  # when the endpoint has last taken something
    failed_ms: int  # and when not
    failure: str  # what it said, or what came between
    next_try_s: float  # 0.0: at once
    not_asked: list[Silence]
    host: str = ""  # of a cluster


class DeadLetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is not posted any more."""

    worker: int
    seq: int
    owner: str  # whose it is, a local part; with worker and seq it tells which
    id: str  # as the endpoint was told it
    since_ms: int
    reason: str
    event: dict[str, Any]  # what the endpoint would have been told, without texts


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of them, worker by worker; `next` is the cursor behind them, empty where none follow."""

    dead_letters: list[DeadLetterRow]
    next: str
    not_asked: list[Silence]


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter, or, where nothing is said, all of them."""

    worker: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None
    seq: Annotated[int, msgspec.Meta(ge=1, le=1 << 53)] | None = None
    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None


class LettersOrdered(msgspec.Struct, frozen=True, kw_only=True):
    """So many: it is done within a second or two. Of over 5,000 of a worker the rest stays."""

    dead_letters: int
    not_asked: list[Silence]


class TestPosted(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoint said to an event that tells nothing; status 0: no answer."""

    status: int
    taken: bool
    detail: str
    took_ms: float


@look("/api/v1/webhooks", summary="How events are posted", tags=["webhooks"])
async def webhooks(view: View) -> WebhookStatus:
    """Return what waits, and what the endpoint has said last."""
    courier = view.courier
    if courier is None:
        return WebhookStatus(
            state="off",
            url="",
            waiting=0,
            waiting_bytes=0,
            oldest_ms=0,
            dead_letters=0,
            posted_ms=0,
            failed_ms=0,
            failure="",
            next_try_s=0.0,
            not_asked=[],
            host=view.asker.host,
        )
    counts, not_asked = await view.asker.ask_all("worker", CountEvents(), everywhere=True)
    report = courier.report()
    return WebhookStatus(
        state=report.state,
        url=_shown(view.place.settings.webhooks.url),
        waiting=sum(each.waiting for each in counts.values()),
        waiting_bytes=sum(each.waiting_bytes for each in counts.values()),
        oldest_ms=min((e.oldest_ms for e in counts.values() if e.oldest_ms), default=0),
        dead_letters=sum(each.dead for each in counts.values()),
        posted_ms=report.posted_ms,
        failed_ms=report.failed_ms,
        failure=report.failure,
        next_try_s=round(report.next_try_s, 1),
        not_asked=not_asked,
        host=view.asker.host,
    )


@look(
    "/api/v1/webhooks/dead-letters",
    summary="Events that were given up",
    tags=["webhooks"],
    responses=_OFF,
)
async def dead_letters(
    view: View,
    limit: Annotated[int, Parameter(ge=1, le=250, description="how many at most")] = 100,
    cursor: Annotated[
        str,
        Parameter(
            pattern=r"^([0-9]{1,3}:[0-9]{1,16}:[^\x00-\x1f]{0,128})?$",
            description="`next` of the page before",
        ),
    ] = "",
) -> DeadLetterPage:
    """Return those of each worker in the order in which they happened."""
    _courier_of(view)
    worker, seq, owner = cursor.split(":", 2) if cursor else ("0", "0", "")
    first, behind = int(worker), Place(int(seq), owner)
    deadline_s = view.asker.deadline_s()
    found: list[DeadLetterRow] = []
    not_asked: list[Silence] = []
    seats = sorted(view.asker.everywhere("worker"), key=lambda seat: seat.index)
    workers = [seat.index for seat in seats]
    for seat in (seat for seat in seats if seat.index >= first):
        index = seat.index
        position = behind if index == first else Place(0, "")
        while True:
            inquiry = AskEvents(limit - len(found), position.seq, position.owner, dead=True)
            answer = await view.asker.ask(seat, inquiry, deadline_s=deadline_s)
            if isinstance(answer, Silence):
                not_asked.append(answer)
                break
            found += (_row(index, each) for each in answer.events)
            if answer.events:
                position = Place(answer.events[-1].seq, answer.events[-1].owner)
            if len(found) >= limit and (answer.more or index != workers[-1]):
                following = (index, *position) if answer.more else (index + 1, 0, "")
                return DeadLetterPage(
                    dead_letters=found, next=":".join(map(str, following)), not_asked=not_asked
                )
            if not answer.more:
                break
    return DeadLetterPage(dead_letters=found, next="", not_asked=not_asked)


@act(
    "/api/v1/webhooks/dead-letters/retry",
    summary="Have dead letters posted",
    tags=["webhooks"],
    responses=_OFF,
)
async def retry(request: Request[Any, Any, Any], view: View, data: Which) -> LettersOrdered:
    """Have them wait again, under the ids that they had."""
    return await _order(request, view, data, "retry")


@act(
    "/api/v1/webhooks/dead-letters/drop",
    summary="Throw dead letters away",
    tags=["webhooks"],
    responses=_OFF,
)
async def drop(request: Request[Any, Any, Any], view: View, data: Which) -> LettersOrdered:
    """Throw them away, for good."""
    return await _order(request, view, data, "drop")


@act("/api/v1/webhooks/resume", summary="Try again now", tags=["webhooks"], responses=_OFF)
async def resume(request: Request[Any, Any, Any], view: View) -> WebhookStatus:
    """Have everything that failed tried at once; of an endpoint that has answered 410, too.

    In a cluster by all hosts.
    """
    _courier_of(view).resume()
    hosts = sorted({seat.host for seat in view.asker.everywhere("front") if seat.host})
    silent = await asyncio.gather(*(_resumed_at(view, host) for host in hosts))
    acted(request, "resume webhooks")
    status: WebhookStatus = await webhooks.fn(view)
    return msgspec.structs.replace(status, not_asked=[*status.not_asked, *filter(None, silent)])


async def _resumed_at(view: View, host: str) -> Silence | None:
    """Have another host try now what failed there; return why it may not."""
    said = await view.asker.ask(Seat("admin", 0, host), ResumePosting())
    return Silence("host", 0, said.reason, host) if isinstance(said, Silence) else None


@act("/api/v1/webhooks/test", summary="Post an event to try it", tags=["webhooks"], responses=_OFF)
async def test(request: Request[Any, Any, Any], view: View) -> TestPosted:
    """Post an event of type webhook.test, once, and tell what the endpoint says."""
    courier = _courier_of(view)
    acted(request, "test webhooks")
    begun_s = time.monotonic()
    answer = await courier.test()
    took_ms = round((time.monotonic() - begun_s) * 1000, 1)
    return TestPosted(
        status=answer.status, taken=answer.is_good, detail=answer.detail, took_ms=took_ms
    )


def _courier_of(view: View) -> Courier:
    if view.courier is None:
        raise HTTPException("events are posted nowhere: webhooks.url is not set", status_code=409)
    return view.courier


async def _order(
    request: Request[Any, Any, Any], view: View, which: Which, what: Literal["retry", "drop"]
) -> LettersOrdered:
    _courier_of(view)
    if which == Which():
        taken, not_asked = await view.asker.ask_all("worker", OrderDead(what), everywhere=True)
        count = sum(each.events for each in taken.values())
    elif which.worker is None or which.seq is None or which.owner is None:
        raise HTTPException("worker, seq and owner tell which one it is", status_code=400)
    elif all(seat.index != which.worker for seat in view.asker.everywhere("worker")):
        raise HTTPException(f"there is no worker {which.worker}", status_code=404)
    else:
        order = OrderEvents([Ordered(which.seq, which.owner, what)])
        seat = view.asker.owner_of_range(which.worker)
        one: Taken = known(await view.asker.ask(seat, order))
        count, not_asked = one.events, []
    acted(request, f"{what} dead letters", dead_letters=count, not_asked=len(not_asked))
    return LettersOrdered(dead_letters=count, not_asked=not_asked)


def _row(worker: int, kept: Kept) -> DeadLetterRow:
    place = Place(kept.seq, kept.owner)
    said: dict[str, Any] = {}
    letter = DeadLetter(0, "it cannot be read", msgspec.Raw())
    try:
        letter = decode_dead(kept.body)
        said = told(Noted(place, decode_event(letter.event)))
        said["data"].pop("message", None)
    except msgspec.MsgspecError:
        pass  # which is why it is dead
    return DeadLetterRow(
        worker=worker,
        seq=place.seq,
        owner=place.owner,
        id=id_of(place),
        since_ms=letter.since_ms,
        reason=letter.reason,
        event=said,
    )


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it."""
    before, _, _ = url.partition("?")
    scheme, mark, rest = before.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


ROUTES = [webhooks, dead_letters, retry, drop, resume, test]
