"""Adds up what the players report, second by second, with what all processes cost meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from relay.loadgen.report.histogram import Histogram
from relay.loadgen.report.record import Interval, PhaseRecord
from relay.loadgen.run.orders import IntervalReport
from relay.loadgen.run.processes import (
    OwnProcesses,
    Processes,
    Usage,
    loads_between,
    machine_busy_s,
    pss_by_role,
)
from relay.loadgen.traffic.plan import Phase
from relay.loadgen.verify.tally import Counts


class Watcher(Protocol):
    """Who is shown how a run goes."""

    def phase_begins(self, phase: Phase) -> None:
        """A phase begins."""

    def interval_ends(self, interval: Interval, unfinished: int) -> None:
        """About a second is over."""


class Look(NamedTuple):
    """A look at all processes where one phase ends and the next begins."""

    usage: dict[int, Usage]
    machine_s: float
    at_s: float


class Gathering:
    """The figures of one run; `server` tells what the server costs, if it is on this machine."""

    def __init__(self, phases: Sequence[Phase], server: Processes | None, watcher: Watcher) -> None:
        self.totals: dict[str, Histogram] = {}  # by latency, of the whole run
        self.timeline: list[Interval] = []
        self.online = 0  # at the latest report
        self.unfinished = 0
        self.trouble = ""  # the latest reason for which a connection failed, or empty
        self._phases = phases
        self._server = server
        self._watcher = watcher
        self._own: OwnProcesses | None = None
        self._counts = [Counts() for _ in phases]
        self._began_s = time.monotonic()
        self._usage: dict[int, Usage] = {}

    def begin(self, pids: list[int]) -> None:
        """Look at these processes, our own, from now on."""
        self._own = OwnProcesses(pids)

    def mark(self, *, is_first: bool = False) -> Look:
        """Look at all processes; the timeline begins with the first look."""
        mark = Look(self._look(), machine_busy_s(), time.monotonic())
        if is_first:
            self._usage, self._began_s = mark.usage, mark.at_s
        return mark

    def phase_record(self, number: int, before: Look, after: Look) -> PhaseRecord:
        """Return the record of a phase that lay between two looks."""
        loads = loads_between(before.usage, after.usage)
        everything_s = after.machine_s - before.machine_s
        return PhaseRecord(
            name=self._phases[number].name,
            seconds=after.at_s - before.at_s,
            counts=self._counts[number],
            loads=loads,
            others_cpu_s=max(0.0, everything_s - sum(load.cpu_s for load in loads)),
        )

    def add(self, reports: list[IntervalReport]) -> None:
        """Make an interval of one report of each player, which report in step."""
        counts, histograms = Counts(), dict[str, Histogram]()
        for report in reports:
            counts.add(report.counts)
            for name, encoded in report.latencies.items():
                histograms.setdefault(name, Histogram()).add(encoded)
                self.totals.setdefault(name, Histogram()).add(encoded)
        number = reports[0].phase
        self._counts[number].add(counts)
        self.online = sum(report.online for report in reports)
        self.unfinished = sum(report.unfinished for report in reports)
        self.trouble = next((report.trouble for report in reports if report.trouble), "")
        before, self._usage = self._usage, self._look()
        interval = Interval(
            phase=self._phases[number].name,
            ends_s=time.monotonic() - self._began_s,
            seconds=sum(report.seconds for report in reports) / len(reports),
            counts=counts,
            latencies={name: each.quantiles() for name, each in histograms.items()},
            loads=loads_between(before, self._usage),
            online=self.online,
            faults=sum(report.faults for report in reports),
        )
        self.timeline.append(interval)
        self._watcher.interval_ends(interval, self.unfinished)

    def pss(self) -> dict[str, int]:
        """Return the PSS of the server's processes by role, in bytes; it takes a while."""
        return pss_by_role(self._server.look(pss=True)) if self._server is not None else {}

    def _look(self) -> dict[int, Usage]:
        server = self._server.look() if self._server is not None else {}
        return server | (self._own.look() if self._own is not None else {})
