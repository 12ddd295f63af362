"""Runs a plan against one server: starts the members, leads them through the phases, gathers."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from typing import Final, Literal, NamedTuple, Protocol, assert_never

import msgspec

from relay.loadgen.faults import Faults
from relay.loadgen.histogram import Histogram
from relay.loadgen.orders import (
    Assignment,
    Begin,
    Done,
    Finish,
    Order,
    Progress,
    Verdict,
    line,
    read_report,
)
from relay.loadgen.plan import LOGIN, STORM, Phase, Plan, phases_of, sessions_of
from relay.loadgen.processes import OwnProcesses, Processes, Usage, machine_busy_s
from relay.loadgen.report import Interval, Outcome, PhaseRecord, loads_between, pss_by_role
from relay.loadgen.servers import RunFailed
from relay.loadgen.share import Target
from relay.loadgen.tally import Counts

_MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_CONNECT_WITHIN_S: Final = 5.0
_START_WITHIN_S: Final = 60.0
_END_WITHIN_S: Final = 30.0


class Watcher(Protocol):
    """Who is shown how a run goes."""

    def phase_begins(self, phase: Phase) -> None:
        """A phase begins."""

    def interval_ends(self, interval: Interval, unfinished: int) -> None:
        """About a second is over."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What the conductor is given, besides the watcher."""

    plan: Plan
    server: Literal["relay", "reference"]
    url: str
    ca_file: str = ""
    cpus: tuple[int, ...] = ()
    tokens: dict[str, str] = {}


async def conduct(run: Run, server: Processes | None, watcher: Watcher) -> Outcome:
    """Carry out the plan; `server` tells what the server costs, if it is on this machine.

    Raises:
        RunFailed: nothing answers, not everybody could log in, or a member died.
    """
    await _knock(run)
    conductor = _Conductor(run, server, watcher)
    try:
        return await conductor.carry_out()
    finally:
        await conductor.end_members()


async def _knock(run: Run) -> None:
    """Fail early, with a plain word, where nothing listens."""
    target = Target(run.url, run.ca_file)
    try:
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            _, writer = await asyncio.open_connection(target.host, target.port, ssl=target.tls)
    except (OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {_CONNECT_WITHIN_S:g} s"
        raise RunFailed(f"no {run.server} at {run.url}: {why}") from error
    writer.close()


class _Member:
    """The conductor's end of one load process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.progress: deque[Progress] = deque()
        self.done = -2  # the latest phase whose end it reported; -1: it is ready
        self.verdict: Faults | None = None

    def order(self, order: Order | Assignment) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line(order))


class _Mark(NamedTuple):
    """A look at all processes where one phase ends and the next begins."""

    usage: dict[int, Usage]
    machine_s: float
    at_s: float


class _Conductor:
    def __init__(self, run: Run, server: Processes | None, watcher: Watcher) -> None:
        self._run = run
        self._plan = run.plan
        self._phases = phases_of(run.plan)
        self._server = server
        self._watcher = watcher
        self._members: list[_Member] = []
        self._readers: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._failure: str = ""
        self._began_s = time.monotonic()
        self._active_s = self._began_s  # when anything last happened
        self._totals: dict[str, Histogram] = {}
        self._counts = [Counts() for _ in self._phases]
        self._timeline: list[Interval] = []
        self._usage: dict[int, Usage] = {}
        self._online = 0
        self._trouble = ""
        self._given_up: list[str] = []

    async def carry_out(self) -> Outcome:
        await self._start_members()
        # Memory is looked at with everybody there: what processes share counts as divided by them.
        await self._all_done(-1, _START_WITHIN_S)
        pss_before = self._pss()
        pss_logged_in: dict[str, int] = {}
        phases: list[PhaseRecord] = []
        before = self._mark()
        self._usage, self._began_s = before.usage, before.at_s
        for number, phase in enumerate(self._phases):
            self._watcher.phase_begins(phase)
            self._order(Begin(number))
            await self._phase_over(number, phase)
            after = self._mark()
            phases.append(self._record(number, before, after))
            if phase.name in (LOGIN, STORM):
                pss_logged_in = self._pss()
                after = self._mark()  # to look at PSS takes a while, and belongs to no phase
            before = after
        faults = await self._verdict()
        return Outcome(
            server=self._run.server,
            url=self._run.url,
            sessions=sessions_of(self._plan.scenario),
            phases=phases,
            timeline=self._timeline,
            latencies={name: each.summary() for name, each in self._totals.items()},
            histograms={name: each.encode() for name, each in self._totals.items()},
            curves={name: each.curve() for name, each in self._totals.items()},
            pss_before=pss_before,
            pss_logged_in=pss_logged_in,
            faults=faults,
            given_up=self._given_up,
        )

    def _mark(self) -> _Mark:
        return _Mark(self._look(), machine_busy_s(), time.monotonic())

    def _record(self, number: int, before: _Mark, after: _Mark) -> PhaseRecord:
        loads = loads_between(before.usage, after.usage)
        everything_s = after.machine_s - before.machine_s
        return PhaseRecord(
            name=self._phases[number].name,
            seconds=after.at_s - before.at_s,
            counts=self._counts[number],
            loads=loads,
            others_cpu_s=max(0.0, everything_s - sum(load.cpu_s for load in loads)),
        )

    # -- members ----------------------------------------------------------------------------------

    async def _start_members(self) -> None:
        run = secrets.token_hex(3)
        for index in range(self._plan.procs):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "relay.loadgen.member",
                stdin=PIPE,
                stdout=PIPE,
                limit=_MAX_LINE_BYTES,
            )
            member = _Member(process)
            self._members.append(member)
            reader = asyncio.create_task(self._read(member))
            reader.add_done_callback(lambda _: self._news.set())
            self._readers.append(reader)
            member.order(
                Assignment(
                    plan=self._plan,
                    url=self._run.url,
                    index=index,
                    run=run,
                    cpus=self._run.cpus,
                    ca_file=self._run.ca_file,
                    tokens=self._run.tokens,
                )
            )
        self._own = OwnProcesses([os.getpid(), *(each.process.pid for each in self._members)])

    async def end_members(self) -> None:
        """Wait for those that have reported, kill the others."""
        for member in self._members:
            process = member.process
            if member.verdict is None and process.returncode is None:
                process.kill()
            try:
                async with asyncio.timeout(_END_WITHIN_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _read(self, member: _Member) -> None:
        stdout = member.process.stdout
        assert stdout is not None
        while text := await stdout.readline():
            report = read_report(text)
            match report:
                case Progress():
                    member.progress.append(report)
                    if report.counts.are_progress:
                        self._active_s = time.monotonic()
                    self._gather()
                case Done():
                    member.done = report.phase
                case Verdict():
                    member.verdict = report.faults
                case _:
                    assert_never(report)
            self._news.set()
        if member.verdict is None:
            code = await member.process.wait()
            self._failure = f"a load process ended with exit code {code}"
            self._news.set()

    def _order(self, order: Order) -> None:
        for member in self._members:
            member.order(order)

    # -- time -------------------------------------------------------------------------------------

    async def _phase_over(self, number: int, phase: Phase) -> None:
        self._active_s = time.monotonic()
        if phase.seconds is not None:
            await self._news_until(time.monotonic() + phase.seconds)
            return
        if not await self._all_done(number, self._plan.patience_s):
            self._give_up(phase)

    async def _all_done(self, number: int, patience_s: float) -> bool:
        """Wait until every member has reported the end of a phase; False: nothing happens."""
        while any(member.done < number for member in self._members):
            gives_up_s = self._active_s + patience_s
            if time.monotonic() >= gives_up_s:
                return False
            await self._one_news(gives_up_s)
        return True

    def _give_up(self, phase: Phase) -> None:
        because = f": {self._trouble}" if self._trouble else ""
        if phase.name in (LOGIN, STORM):
            in_all = sessions_of(self._plan.scenario)
            raise RunFailed(
                f"only {self._online} of {in_all} users could log in at {self._run.url}{because}"
            )
        patience = f"{self._plan.patience_s:g} s without progress"
        self._given_up.append(f"{phase.name} given up after {patience}{because}")

    async def _news_until(self, at_s: float) -> None:
        while time.monotonic() < at_s:
            await self._one_news(at_s)

    async def _one_news(self, at_s: float) -> None:
        """Wait for a report, or until `at_s`."""
        self._news.clear()
        try:
            async with asyncio.timeout(max(0.0, at_s - time.monotonic())):
                await self._news.wait()
        except TimeoutError:
            pass
        if self._failure:
            raise RunFailed(self._failure)
        for reader in self._readers:
            if reader.done():
                reader.result()  # a reader that broke would leave us waiting for its member

    async def _verdict(self) -> Faults:
        self._order(Finish())
        deadline_s = time.monotonic() + _END_WITHIN_S
        while any(member.verdict is None for member in self._members):
            if time.monotonic() > deadline_s:
                raise RunFailed("a load process does not end")
            await self._one_news(deadline_s)
        faults = Faults(kinds={})
        for member in self._members:
            faults.merge(member.verdict or Faults(kinds={}))
        return faults

    # -- figures ----------------------------------------------------------------------------------

    def _gather(self) -> None:
        """Make an interval of one report of each member, which report in step."""
        while all(member.progress for member in self._members):
            self._interval([member.progress.popleft() for member in self._members])

    def _interval(self, reports: list[Progress]) -> None:
        counts, histograms = Counts(), dict[str, Histogram]()
        for report in reports:
            counts.add(report.counts)
            for name, encoded in report.latencies.items():
                histograms.setdefault(name, Histogram()).add(encoded)
                self._totals.setdefault(name, Histogram()).add(encoded)
        number = reports[0].phase
        self._counts[number].add(counts)
        self._online = sum(report.online for report in reports)
        self._trouble = next((report.trouble for report in reports if report.trouble), "")
        before, self._usage = self._usage, self._look()
        interval = Interval(
            phase=self._phases[number].name,
            ends_s=time.monotonic() - self._began_s,
            seconds=sum(report.seconds for report in reports) / len(reports),
            counts=counts,
            latencies={name: each.quantiles() for name, each in histograms.items()},
            loads=loads_between(before, self._usage),
            online=self._online,
            faults=sum(report.faults for report in reports),
        )
        self._timeline.append(interval)
        self._watcher.interval_ends(interval, sum(report.unfinished for report in reports))

    def _look(self) -> dict[int, Usage]:
        server = self._server.look() if self._server is not None else {}
        return server | self._own.look()

    def _pss(self) -> dict[str, int]:
        return pss_by_role(self._server.look(pss=True)) if self._server is not None else {}
