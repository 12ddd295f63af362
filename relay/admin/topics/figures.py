"""GET /api/v1/figures: what each process counts, for whoever draws it: `relay top`, the console."""

from __future__ import annotations

import time

import msgspec

from relay import __version__
from relay.admin.asker import Seat, Silence
from relay.admin.processes import Usage, usages
from relay.admin.routes import look
from relay.admin.view import View
from relay.inquiries.figures import AskFigures, Distribution, Figures


class ProcessFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of one process, since its start; empty where it did not answer, or has none."""

    role: str
    index: int
    incarnation: int
    pid: int
    state: str  # as in proc(5): "T" is stopped
    uptime_s: float
    cpu_s: float
    memory_bytes: int
    restarts: int  # since the admin came
    counters: dict[str, int]
    gauges: dict[str, float]
    distributions: dict[str, Distribution]
    standby: bool = False  # of a range of a cluster, whose owner is on another host


class AllFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Those of all at one time: rates are what has grown between two answers.

    In a cluster they are those of `host` alone.
    """

    at_s: float  # of a clock that only grows, of the admin
    version: str
    answered_in_ms: float
    processes: list[ProcessFigures]
    not_asked: list[Silence]
    host: str = ""  # of a cluster


@look("/api/v1/figures", summary="What each process counts", tags=["status"])
async def figures(view: View) -> AllFigures:
    """Return the figures of whoever has told them in time."""
    begun_s = time.monotonic()
    told, not_asked = await view.asker.ask_all(None, AskFigures())
    at_s = time.monotonic()
    return AllFigures(
        at_s=at_s,
        version=__version__,
        answered_in_ms=round((at_s - begun_s) * 1000, 1),
        processes=[_of(view, each, told) for each in usages()],
        not_asked=not_asked,
        host=view.asker.host,
    )


def _of(view: View, usage: Usage, told: dict[Seat, Figures]) -> ProcessFigures:
    seat = Seat(usage.role, usage.index)
    found = told.get(seat)
    if found is not None and found.pid != usage.pid:
        found = None  # those of a predecessor, or of a successor
    return ProcessFigures(
        role=usage.role,
        index=usage.index,
        incarnation=usage.incarnation,
        pid=usage.pid,
        state=usage.state,
        uptime_s=round(usage.age_s, 1),
        cpu_s=round(usage.cpu_s, 2),
        memory_bytes=usage.memory_bytes,
        restarts=max(0, view.asker.restarts.get(seat, 0)),
        counters=found.counters if found is not None else {},
        gauges=found.gauges if found is not None else {},
        distributions=found.distributions if found is not None else {},
        standby=view.asker.is_standby(seat),
    )


ROUTES = [figures]
