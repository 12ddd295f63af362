"""What every trial stands on: a relay, pairs of others who chat, the accounts, the progress shown.

A trial is a dataclass whose fields are its options. It says what relay it wants and plays its part
on a `Stage`; the stage judges what is promised in all of them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import time
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.outside.log import Log
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay

from . import memory
from .memory import MIB, Watch
from .pairs import CALM, LOADED, REST, Pairs
from .people import Person, log_in, message_of
from .report import Bound, Findings

T = TypeVar("T")

LOGINS_AT_ONCE: Final = 64
SETTLE_S: Final = 40.0
LOOK_S: Final = 0.05
# The load stands for other machines, so it gets the CPU that the relay and the pairs leave.
LOAD_NICENESS: Final = 10
# Where the kernel shares the CPUs among sessions first, that counts within one only, and this
# counts among them.
SESSION_NICENESS: Final = Path("/proc/self/autogroup")
AUTOGROUP_S: Final = 0.1  # one user's may be written so often
# The log lines in which a process tells what it has counted.
LAST_COUNTERS: Final = ("worker.counters", "front.stopped")
ROLES: Final = ("front", "worker")
MOST_SHOWN: Final = 200  # characters of a line of the log


def option(default: T, what: str) -> T:
    """Return a field of a trial that its user may set."""
    value: T = field(default=default, metadata={"help": what})
    return value


# For a trial in which one author stands for many.
NO_QUOTAS: Final = "[quota]\nmessages_per_s = 0.0\nwaiting_messages = 0\nwaiting_bytes = 0\n"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What all trials have in common."""

    name: ClassVar[str]
    # Where the relay's own pairs chat: at this worker, or at all of them in turns.
    pairs_shard: ClassVar[int | None] = None
    # Whether the load is the same from its begin to its end, so that memory must not grow in it.
    is_steady: ClassVar[bool] = True
    # Whether its load stands back for the relay and the pairs, as the load of other machines would.
    is_nice: ClassVar[bool] = True
    # Whether it kills processes itself, so that a death says nothing.
    is_deadly: ClassVar[bool] = False

    tree: str = option(str(REPOSITORY), "checkout whose supervisor.py is started")
    workers: int = option(2, "worker processes")
    fronts: int = option(1, "front processes")
    calm_s: float = option(10.0, "seconds of each calm phase, before the load and after it")
    pairs: int = option(8, "pairs of other users, whose latency is measured; 0: none")
    every_ms: float = option(5.0, "ms between two messages of all the pairs together")
    memory_mib: float = option(64.0, "MiB that each process may take beyond what it has in calm")
    latency_ratio: float = option(3.0, "times by which the others' latencies may grow")
    limit_s: float = option(240.0, "seconds that the whole trial may take")

    @property
    def config(self) -> str:
        """The relay's settings, as TOML."""
        return ""

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """The relay's groups, by jid."""
        return {}

    @property
    def bounds(self) -> Sequence[Bound]:
        """How long the others may wait."""
        return [Bound("p50", self.latency_ratio), Bound("p99", self.latency_ratio)]

    async def play(self, stage: Stage) -> None:
        """Do what the trial is about, within `stage.loaded()`, and claim what it has shown.

        It calls `stage.finish` once, when nothing more is to be asked of the relay.
        """
        raise NotImplementedError


class Stage:
    """The world of one trial."""

    def __init__(self, trial: Trial, relay: Relay, pairs: Pairs | None, progress: Progress) -> None:
        self.trial = trial
        self.relay = relay
        self.findings = Findings()
        self.people: list[Person] = []
        self.closed: set[Person] = set()  # whose connection the relay ended, once all is over
        self._left: set[Person] = set()  # who ended it themselves
        self._pairs = pairs
        self._progress = progress
        self._watch = Watch(self.seats)

    # -- people -----------------------------------------------------------------------------------

    async def log_in(
        self, user: str, *, acks: bool = True, receive_buffer_bytes: int | None = None
    ) -> Person:
        """Return `user` with a new connection, which counts among the trial's."""
        person = await log_in(
            self.relay.url, user, acks=acks, receive_buffer_bytes=receive_buffer_bytes
        )
        self.people.append(person)
        return person

    async def log_in_all(self, users: Iterable[str], *, acks: bool = True) -> list[Person]:
        """Return many, in the order of `users`."""
        gate = asyncio.Semaphore(LOGINS_AT_ONCE)

        async def one(user: str) -> Person:
            async with gate:
                return await self.log_in(user, acks=acks)

        return list(await asyncio.gather(*map(one, users)))

    def leave(self, person: Person) -> None:
        """Cut a connection on our own account."""
        self._left.add(person)
        person.leave(goodbye=False)

    async def leave_all(self) -> None:
        """Cut every connection that there still is."""
        for person in self.people:
            self.leave(person)
        while any(person.transport is not None for person in self.people):
            await asyncio.sleep(0)

    async def drain(self, reader: Person, sender: Person) -> None:
        """Wait until `reader` has got all that was stored for it before: `sender` sends the last.

        A full mailbox takes it as soon as some of it was read.
        """
        for attempt in itertools.count():
            marker = f"MARKER-{reader.user}-{attempt}"
            if await self._is_stored(sender, reader.user, marker):
                await self.until(partial(reader.got.__contains__, marker), "the queue's end")
                return
            await asyncio.sleep(LOOK_S)

    async def _is_stored(self, sender: Person, user: str, message_id: str) -> bool:
        sender.send(user, message_id, message_of(1))
        sender.flush()
        await self.until(lambda: message_id not in sender.unanswered, f"the answer to {message_id}")
        return message_id in sender.stored

    # -- phases -----------------------------------------------------------------------------------

    async def calm(self) -> None:
        """Let only the pairs chat, for as long as the trial has it."""
        if self._pairs is not None:
            self._pairs.enter(CALM)
            await self.spend(self.trial.calm_s, "calm")
            self._pairs.enter(REST)

    @asynccontextmanager
    async def loaded(self, load: str = LOADED) -> AsyncIterator[None]:
        """What happens in here is the load, during which memory and the pairs are watched.

        Each of several loads has its own name, and its own latencies.
        """
        if self._pairs is not None:
            self._pairs.enter(load)
        async with self._watch:
            yield
        if self._pairs is not None:
            self._pairs.enter(REST)

    async def spend(self, seconds: float, what: str) -> None:
        """Wait, with progress."""
        began = time.monotonic()
        with self.progress(what, seconds) as done:
            while (passed := time.monotonic() - began) < seconds:
                done(passed)
                await asyncio.sleep(min(0.1, seconds - passed))

    async def until(
        self, condition: Callable[[], bool], what: str, *, within_s: float = SETTLE_S
    ) -> None:
        """Wait until `condition()` holds.

        Raises:
            AssertionError: it does not within its time.
        """
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within_s:g} s: {what}")
            await asyncio.sleep(LOOK_S)

    @contextmanager
    def progress(self, what: str, total: float) -> Iterator[Callable[[float], None]]:
        """Show a bar; the function that is yielded moves it."""
        if not self._progress.console.is_terminal:
            self._progress.console.print(f"{self.trial.name}: {what}")
        task = self._progress.add_task(f"{self.trial.name}: {what}", total=total)
        try:
            yield lambda done: self._progress.update(task, completed=done)
        finally:
            self._progress.remove_task(task)

    # -- processes --------------------------------------------------------------------------------

    def seats(self) -> dict[str, Any]:
        """Return the relay's living processes by role and index."""
        seats = {f"{each.role} {each.index}": each.process for each in self.relay.children()}
        return {"supervisor": psutil.Process(self.relay.process.pid), **seats}

    @property
    def is_harmed(self) -> bool:
        """Whether the load so far broke what a further one would be measured by."""
        return bool(self.findings.failed or self._told_of("exited"))

    # -- the end ----------------------------------------------------------------------------------

    def count(self, people: Iterable[Person]) -> None:
        """Add the answers that these got to the trial's."""
        for person in people:
            self.findings.answers.update(person.answers)
        self.findings.sent = self.findings.answers.total() + sum(
            len(person.unanswered) for person in people
        )

    async def hear(self) -> None:
        """Be calm again, hear the pairs, and look at what memory is left.

        What a trial does from then on, to see what became of its messages, disturbs no measurement.
        """
        await self.calm()  # a shared machine is not the same a minute later
        if self._pairs is not None:
            self.findings.told = await self._pairs.end()
        self.findings.memory = dict(self._watch.uses(memory.now(self.seats())))

    async def finish(self) -> Findings:
        """Hear the pairs, unless that was done, stop the relay and judge."""
        findings, trial = self.findings, self.trial
        if not findings.memory:
            await self.hear()
        for person in self.people:
            if person.close_code is not None and person not in self._left:
                self.closed.add(person)
                findings.closes[str(person.close_code)] += 1
        await self.leave_all()
        await self._stop()
        findings.counters = _last_counters(self.relay.log)
        self._claim_processes()
        self._claim_memory(findings)
        self._claim_of_pairs(findings, trial.bounds)
        return findings

    async def _stop(self) -> None:
        try:
            await asyncio.to_thread(self.relay.stop)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            self.findings.claim("the relay stops in order", False, str(error).partition("\n")[0])

    def _told_of(self, what: str) -> list[str]:
        """Return the children of which the supervisor's log says that, and not as of no matter."""
        return [
            f"{role} {event['index']}"
            for role in ROLES
            for event in self.relay.log.events(f"{role}.{what}")
            if event["level"] != "info"
        ]

    def _claim_processes(self) -> None:
        hung, died = self._told_of("hung"), self._told_of("exited")
        faults = self.relay.log.faults()
        self.findings.claim(
            "no process hangs, dies or reports a fault",
            not hung and not faults and (self.trial.is_deadly or not died),
            f"hung {', '.join(hung) or 0}, died {', '.join(died) or 0}, {len(faults)} lines of the"
            f" log at error{': ' + faults[0][:MOST_SHOWN] if faults else ''}",
        )

    def _claim_memory(self, findings: Findings) -> None:
        bound_mib = self.trial.memory_mib
        seat, use = max(findings.memory.items(), key=lambda item: item[1].growth)
        findings.claim(
            "memory is bounded",
            use.growth <= bound_mib * MIB,
            f"{seat} grew most, by {use.growth / MIB:.1f} MiB of at most {bound_mib:g}",
        )
        if self.trial.is_steady:
            bound_mib /= 4
            seat, use = max(findings.memory.items(), key=lambda item: item[1].late_growth)
            findings.claim(
                "memory does not grow with what is sent",
                use.late_growth <= bound_mib * MIB,
                f"{seat}'s peak rose most from the first half of the load to the second, by"
                f" {use.late_growth / MIB:.1f} MiB of at most {bound_mib:g}",
            )

    def _claim_of_pairs(self, findings: Findings, bounds: Iterable[Bound]) -> None:
        told = findings.told
        if told is None:
            return
        other = {code: n for code, n in told.answers.items() if code != "ack 1"}
        findings.claim(
            "the others are served",
            not (told.lost or told.unanswered or other or told.closes),
            f"{told.sent:,} sent, lost {told.lost}, unanswered {told.unanswered},"
            f" refused {other or 0}, closed {told.closes or 0}",
        )
        for bound in bounds:
            findings.claim_waits(bound)


def _last_counters(log: Log) -> Counter[str]:
    """Return the sums of what the processes counted, each at its last word."""
    last: dict[str, dict[str, int]] = {}
    for name in LAST_COUNTERS:
        for event in log.events(name):
            process = f"{name} {event.get('pid')} {event.get('process')}"
            last[process] = {
                name: value
                for name, value in event.items()
                if isinstance(value, int) and name not in NOT_COUNTERS
            }
    counters: Counter[str] = Counter()
    for each in last.values():
        counters.update(each)
    return counters


NOT_COUNTERS: Final = ("pid", "index", "incarnation", "worker", "front")


def _step_back() -> None:
    """Leave the CPUs to the relay and the pairs."""
    os.nice(LOAD_NICENESS)
    assert os.getsid(0) == os.getpid(), "not the niceness of somebody's terminal"
    deadline = time.monotonic() + SETTLE_S
    while SESSION_NICENESS.exists():
        try:
            SESSION_NICENESS.write_text(str(LOAD_NICENESS))
        except BlockingIOError:  # somebody was faster
            if time.monotonic() > deadline:
                raise
            time.sleep(AUTOGROUP_S)
        else:
            break


async def run(trial: Trial, console: Console, *, nice: bool = False) -> Findings:
    """Run `trial`; whatever happens, nothing is left running.

    `nice` lowers this process's priority for good, and that of its session, which must be its own,
    once the relay and the pairs run; not so with a trial that is not.

    Raises:
        AssertionError: the relay did something else than what the trial can go on with.
        TimeoutError: the trial takes longer than it may.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        relay = Relay(
            workers=trial.workers,
            fronts=trial.fronts,
            config=trial.config,
            groups=trial.groups,
            own_session=True,
            tree=Path(trial.tree).resolve(),
        )
        stack.callback(relay.clean_up)
        relay.start()
        pairs = None
        if trial.pairs:
            pairs = stack.enter_context(
                Pairs(
                    relay.url,
                    pairs=trial.pairs,
                    every_ms=trial.every_ms,
                    shard=trial.pairs_shard,
                    workers=trial.workers,
                )
            )
        if nice and trial.is_nice:
            _step_back()
        progress = Progress(*columns, console=console, transient=True)
        if console.is_terminal:
            stack.enter_context(progress)
        stage = Stage(trial, relay, pairs, progress)
        try:
            async with asyncio.timeout(trial.limit_s):
                if pairs is not None:
                    await pairs.started()
                await trial.play(stage)
        finally:
            await stage.leave_all()
        return stage.findings
