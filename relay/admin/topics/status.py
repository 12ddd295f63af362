"""GET /api/v1/status: which processes there are, and how each is."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from relay import __version__
from relay.admin.asker import Seat, Silence
from relay.admin.growth import Outlook
from relay.admin.processes import Usage, usages
from relay.admin.routes import look
from relay.admin.view import View
from relay.errors import SettingsError
from relay.inquiries.figures import AskFigures, Distribution, Figures
from relay.settings.wanted import read_wanted


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process; what it did not tell, and what does not apply to its role, is empty.

    Over 15 fields, since it is a row of a table.
    """

    role: str
    index: int
    incarnation: int
    pid: int
    answers: bool = True  # itself; the kernel told the rest
    state: str = ""  # as the kernel has it, such as "T" for one that is stopped
    version: str = ""
    uptime_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    descriptors: int = 0
    restarts: int = 0  # since the admin came
    sessions: int | None = None
    mean_batch: float | None = None  # decisions, of a worker
    link_fill: float | None = None  # 1.0 where the worker is behind, of a front
    answered_in_ms: float | None = None  # how long the question waited, and the answer took
    standby: bool = False  # of a range of a cluster, whose owner is on another host


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, and what they hold together; in a cluster those of `host` alone."""

    version: str
    uptime_s: float
    sessions: int
    queue_entries: int
    disk: Outlook | None  # None where a worker did not say
    processes: list[ProcessStatus]
    workers_wanted: int | None = None  # from the next start on, where that is another number
    not_asked: list[Silence]  # of them the sums know nothing
    host: str = ""  # of a cluster


@look("/api/v1/status", summary="Processes and sums", tags=["status"])
async def status(view: View) -> Status:
    """Return how all is; in a cluster on this host, `/api/v1/cluster` tells of all hosts."""
    begun_s = time.perf_counter()
    told, not_asked = await view.asker.ask_all(None, AskFigures())
    took_ms = (time.perf_counter() - begun_s) * 1000
    running = usages()
    processes = [_status(view, each, told, took_ms) for each in running]
    figures = list(told.items())
    return Status(
        version=__version__,
        uptime_s=round(max((each.age_s for each in running), default=0.0), 1),
        sessions=sum(int(f.gauges["sessions"]) for s, f in figures if s.role == "front"),
        queue_entries=sum(int(f.gauges.get("queue_entries", 0)) for _, f in figures),
        disk=view.disk.outlook(told),
        processes=processes,
        workers_wanted=_workers_wanted(view),
        not_asked=not_asked,
        host=view.asker.host,
    )


def _workers_wanted(view: View) -> int | None:
    server = view.place.settings.server
    try:
        wanted = read_wanted(Path(server.data))
    except SettingsError:
        return None  # the next start says what is wrong with it
    return None if wanted is None or wanted.workers == server.workers else wanted.workers


def _status(view: View, usage: Usage, told: dict[Seat, Figures], took_ms: float) -> ProcessStatus:
    seat = Seat(usage.role, usage.index)
    figures = told.get(seat)
    if figures is not None and figures.pid != usage.pid:
        figures = None  # those of a predecessor, or of a successor
    standby = view.asker.is_standby(seat)
    asked = usage.role in ("front", "worker") and not standby
    fill = batch = sessions = None
    if figures is not None:
        sessions = int(figures.gauges["sessions"])
        if usage.role == "front":
            most = figures.gauges["link_bytes_most"]
            fill = round(figures.gauges["link_bytes_unconfirmed"] / most, 4)
        else:
            batch = _mean(figures.distributions["batch_work"])
    return ProcessStatus(
        role=usage.role,
        index=usage.index,
        incarnation=usage.incarnation,
        pid=usage.pid,
        answers=figures is not None or not asked,
        state=usage.state,
        version=figures.version if figures else ("" if asked else __version__),
        uptime_s=round(usage.age_s, 1),
        cpu_s=round(usage.cpu_s, 2),
        memory_bytes=usage.memory_bytes,
        descriptors=usage.descriptors,
        restarts=max(0, view.asker.restarts.get(seat, 0)),
        sessions=sessions,
        mean_batch=batch,
        link_fill=fill,
        answered_in_ms=round(took_ms, 1) if figures is not None else None,
        standby=standby,
    )


def _mean(distribution: Distribution) -> float | None:
    count = sum(distribution.counts)
    return round(distribution.sum / count, 2) if count else None


ROUTES = [status]
