"""Runs a plan against one server: starts the players, leads them through the phases, gathers."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, assert_never

import msgspec

from relay.handshake import why
from relay.loadgen.report.record import Outcome, PhaseRecord
from relay.loadgen.run.gathering import Gathering, Watcher
from relay.loadgen.run.orders import (
    Assignment,
    Begin,
    Done,
    Finish,
    IntervalReport,
    Order,
    Unexpected,
    Verdict,
    line,
    read_report,
)
from relay.loadgen.run.processes import Processes
from relay.loadgen.run.servers import RunFailed
from relay.loadgen.traffic.plan import (
    LOGIN,
    SETTLE,
    STORM,
    Phase,
    Plan,
    parts_of,
    phases_of,
    sessions_of,
)
from relay.loadgen.traffic.signer import Signer
from relay.loadgen.traffic.socketwire import Target
from relay.loadgen.verify.faults import Faults
from relay.trust import Trust

_MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_CONNECT_WITHIN_S: Final = 5.0
_START_WITHIN_S: Final = 60.0
_END_WITHIN_S: Final = 30.0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What the conductor is given, besides the watcher."""

    plan: Plan
    server: Literal["relay", "reference"]
    url: str
    trust: Trust = Trust()
    cpus: tuple[int, ...] = ()
    tokens: dict[str, str] = {}
    token_key: bytes = b""


class Interrupts:
    """How often the operator has asked for the end. Each ends the phase that it comes in.

    The first ends the traffic: of the phases to come only the cool-down is entered, in which what
    is under way arrives. One that comes in the cool-down ends that too.
    """

    def __init__(self) -> None:
        self.count = 0
        self.heard: Callable[[], None] = lambda: None

    def add(self) -> None:
        """Ask for the end, perhaps again."""
        self.count += 1
        self.heard()


async def conduct(
    run: Run, server: Processes | None, watcher: Watcher, interrupts: Interrupts | None = None
) -> Outcome:
    """Carry out the plan; `server` tells what the server costs, if it is on this machine.

    After an interrupt the outcome has the phases that were entered, and says so.

    Raises:
        RunFailed: nothing answers, not everybody could log in, or a player died.
    """
    way = await _knock(run)
    conductor = _Conductor(run, server, watcher, interrupts or Interrupts(), way)
    try:
        return await conductor.carry_out()
    finally:
        await conductor.end_players()


async def _knock(run: Run) -> str:
    """Return the way in, as a person reads it.

    Raises:
        RunFailed: nothing listens there, or nothing that is to be trusted.
    """
    target = Target(run.url, run.trust)
    try:
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            _, writer = await asyncio.open_connection(target.host, target.port, ssl=target.tls)
    except (OSError, TimeoutError) as error:
        told = why(error, target.host) or str(error) or f"no answer within {_CONNECT_WITHIN_S:g} s"
        raise RunFailed(f"no {run.server} at {run.url}: {told}") from error
    way = ["ws"]
    if target.tls is not None:
        cipher, version, _ = writer.get_extra_info("cipher")
        way = ["wss", f"{version} {cipher}"]
        if run.trust.certificate_file:
            way.append("client certificates")
    if run.server == "relay" and (run.token_key or run.tokens):
        way.append(f"{Signer(run.token_key).algorithm} tokens" if run.token_key else "given tokens")
    writer.close()
    return ", ".join(way)


class _Player:
    """The conductor's end of one load process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.progress: deque[IntervalReport] = deque()
        self.done = -2  # the latest phase whose end it reported; -1: it is ready
        self.verdict: Faults | None = None

    def order(self, order: Order | Assignment) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line(order))


class _Conductor:
    def __init__(
        self,
        run: Run,
        server: Processes | None,
        watcher: Watcher,
        interrupts: Interrupts,
        way: str,
    ) -> None:
        self._run = run
        self._way = way
        self._phases = phases_of(run.plan)
        self._watcher = watcher
        self._interrupts = interrupts
        self._gathering = Gathering(self._phases, server, watcher)
        self._players: list[_Player] = []
        self._readers: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._failure = ""
        self._active_s = time.monotonic()  # when anything last happened
        self._unexpected = ""  # the first that came instead of a login
        self._given_up: list[str] = []
        self._phase = "start-up"
        self._interrupted = (
            self._phase if interrupts.count else ""
        )  # the phase in which the first interrupt came
        interrupts.heard = self._interrupt

    async def carry_out(self) -> Outcome:
        gathering = self._gathering
        await self._start_players()
        # Memory is looked at with everybody there: what processes share counts as divided by them.
        await self._all_done(-1, _START_WITHIN_S)
        pss_before = gathering.pss()
        pss_logged_in: dict[str, int] = {}
        phases: list[PhaseRecord] = []
        is_whole = not self._interrupts.count  # whether all that was begun has come to its end
        before = gathering.mark(is_first=True)
        for number, phase in enumerate(self._phases):
            if self._interrupts.count and not (phase.name == SETTLE and len(phases) > 1):
                continue  # whoever never got past the login has nothing under way
            self._phase = phase.name
            self._watcher.phase_begins(phase)
            self._order(Begin(number))
            is_whole = await self._phase_over(number, phase)
            after = gathering.mark()
            phases.append(gathering.phase_record(number, before, after))
            if phase.name in (LOGIN, STORM) and is_whole:
                pss_logged_in = gathering.pss()
                after = gathering.mark()  # to look at PSS takes a while, and belongs to no phase
            before = after
        faults = await self._verdict(is_cut_short=not is_whole)
        totals = gathering.totals
        return Outcome(
            server=self._run.server,
            url=self._run.url,
            way=self._way,
            sessions=sessions_of(self._run.plan.scenario),
            phases=phases,
            timeline=gathering.timeline,
            latencies={name: each.summary() for name, each in totals.items()},
            histograms={name: each.encode() for name, each in totals.items()},
            curves={name: each.curve() for name, each in totals.items()},
            pss_before=pss_before,
            pss_logged_in=pss_logged_in,
            faults=faults,
            given_up=self._given_up,
            interrupted=self._interrupted,
            unjudged=0 if is_whole else gathering.unfinished,
        )

    # -- players ----------------------------------------------------------------------------------

    async def _start_players(self) -> None:
        run = secrets.token_hex(3)
        plan = self._run.plan
        for index in range(len(parts_of(plan))):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "relay.loadgen.run.player",
                stdin=PIPE,
                stdout=PIPE,
                limit=_MAX_LINE_BYTES,
                # Ctrl-C at the terminal is for us, also before it could say that it ignores it.
                start_new_session=True,
            )
            player = _Player(process)
            self._players.append(player)
            reader = asyncio.create_task(self._read(player))
            reader.add_done_callback(lambda _: self._news.set())
            self._readers.append(reader)
            player.order(
                Assignment(
                    plan=plan,
                    url=self._run.url,
                    index=index,
                    run=run,
                    cpus=self._run.cpus,
                    trust=self._run.trust,
                    tokens=self._run.tokens,
                    token_key=self._run.token_key,
                )
            )
        self._gathering.begin([os.getpid(), *(each.process.pid for each in self._players)])

    async def end_players(self) -> None:
        """Wait for those that have reported, kill the others."""
        for player in self._players:
            process = player.process
            if player.verdict is None and process.returncode is None:
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

    async def _read(self, player: _Player) -> None:
        stdout = player.process.stdout
        assert stdout is not None
        while text := await stdout.readline():
            report = read_report(text)
            match report:
                case IntervalReport():
                    player.progress.append(report)
                    if self._is_progress(report):
                        self._active_s = time.monotonic()
                    self._gather()
                case Done():
                    player.done = report.phase
                case Unexpected():
                    self._unexpected = self._unexpected or report.what
                case Verdict():
                    player.verdict = report.faults
                case _:
                    assert_never(report)
            self._news.set()
        if player.verdict is None:
            code = await player.process.wait()
            self._failure = f"a load process ended with exit code {code}"
            self._news.set()

    def _is_progress(self, report: IntervalReport) -> bool:
        # The pairs beside a storm go on, whether anybody else gets in or not.
        if self._phases[report.phase].name == STORM:
            return report.counts.logins > 0
        return report.counts.are_progress

    def _gather(self) -> None:
        while all(player.progress for player in self._players):
            self._gathering.add([player.progress.popleft() for player in self._players])

    def _order(self, order: Order) -> None:
        for player in self._players:
            player.order(order)

    def _interrupt(self) -> None:
        self._interrupted = self._interrupted or self._phase
        self._news.set()

    # -- time -------------------------------------------------------------------------------------

    async def _phase_over(self, number: int, phase: Phase) -> bool:
        """Wait for a phase's end; False: it was cut short, and something may be under way."""
        interrupts = self._interrupts.count
        self._active_s = time.monotonic()
        if phase.seconds is not None:
            ends_s = time.monotonic() + phase.seconds
            while time.monotonic() < ends_s and self._interrupts.count == interrupts:
                await self._one_news(ends_s)
            # What is under way has its cool-down yet; sockets that are held have nothing.
            return True
        if await self._all_done(number, self._run.plan.patience_s):
            return True
        if self._interrupts.count == interrupts:
            self._give_up(phase)
            return True
        return False

    async def _all_done(self, number: int, patience_s: float) -> bool:
        """Wait until every player has reported the end of a phase.

        False: nothing happens, or there was an interrupt.
        """
        interrupts = self._interrupts.count
        while any(player.done < number for player in self._players):
            gives_up_s = self._active_s + patience_s
            if time.monotonic() >= gives_up_s or self._interrupts.count > interrupts:
                return False
            await self._one_news(gives_up_s)
        return True

    def _give_up(self, phase: Phase) -> None:
        patience = f"{self._run.plan.patience_s:g} s"
        trouble = self._gathering.trouble
        if phase.name in (LOGIN, STORM):
            in_all = sessions_of(self._run.plan.scenario)
            because = trouble or f"no answer in {patience}"
            if self._unexpected:
                because = f"first of all, {self._unexpected}"
            raise RunFailed(
                f"only {self._gathering.online} of {in_all} users could log in at "
                f"{self._run.url}: {because}"
            )
        because = f": {trouble}" if trouble else ""
        self._given_up.append(f"{phase.name} given up after {patience} without progress{because}")

    async def _one_news(self, at_s: float) -> None:
        """Wait for a report or an interrupt, or until `at_s`."""
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
                reader.result()  # a reader that broke would leave us waiting for its player

    async def _verdict(self, *, is_cut_short: bool) -> Faults:
        self._order(Finish(is_cut_short))
        deadline_s = time.monotonic() + _END_WITHIN_S
        while any(player.verdict is None for player in self._players):
            if time.monotonic() > deadline_s:
                raise RunFailed("a load process does not end")
            await self._one_news(deadline_s)
        faults = Faults(kinds={})
        for player in self._players:
            faults.merge(player.verdict or Faults(kinds={}))
        return faults
