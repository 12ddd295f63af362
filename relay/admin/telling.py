"""Tells all fronts that a list of whom nobody lets in has changed, be they on other hosts."""

from __future__ import annotations

import asyncio

from relay.admin.asker import Seat, Silence
from relay.admin.view import View
from relay.inquiries.leaving import ReadLists, TakeLists


async def told(view: View) -> list[Silence]:
    """Have every front look at the lists now; return who did not say that it does.

    It looks later by itself, and another host has them within seconds, or once it is back.
    """
    hosts = sorted({seat.host for seat in view.asker.everywhere("front") if seat.host})
    here, *abroad = await asyncio.gather(_told_here(view), *(_told_at(view, h) for h in hosts))
    return [*here, *view.asker.unheard(), *(each for some in abroad for each in some)]


async def _told_here(view: View) -> list[Silence]:
    _, silent = await view.asker.ask_all("front", ReadLists())
    return silent


async def _told_at(view: View, host: str) -> list[Silence]:
    answer = await view.asker.ask(Seat("admin", 0, host), TakeLists())
    if isinstance(answer, Silence):
        return [Silence("host", 0, answer.reason, host)]
    reason = "it did not say that it looks"
    return [Silence("front", index, reason, host) for index in answer.not_asked]
