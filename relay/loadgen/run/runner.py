"""Carries out a request: servers that are to be started, rounds, pinning; returns the record."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import urlsplit

from rich.console import Console

from relay.loadgen.report.display import Display
from relay.loadgen.report.record import Outcome, RunRecord
from relay.loadgen.report.table import banner
from relay.loadgen.run import servers
from relay.loadgen.run.conductor import Interrupts, Run, conduct
from relay.loadgen.run.machine import this_machine
from relay.loadgen.run.processes import Processes, server_root
from relay.loadgen.run.request import RunRequest
from relay.loadgen.traffic.people import all_circles, groups_file

# What is said at the first Ctrl-C and at the second; one more throws the run away.
_AFTER_INTERRUPTS: Final = (
    "interrupted: no more traffic; once more: do not wait for what is under way",
    "interrupted: what is under way is not waited for; once more: show nothing",
)

Name = Literal["relay", "reference"]


def run(request: RunRequest, console: Console, progress: Console) -> RunRecord:
    """Measure; the banner goes to `console` before anything starts, the live line to `progress`.

    Raises:
        RunFailed: a server does not start or answer, or not everybody can log in.
        KeyboardInterrupt: it was interrupted before anything was measured.
    """
    plan = request.plan
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    machine = this_machine()
    console.print(
        banner(
            plan,
            request.url,
            machine,
            spawn=request.spawn,
            relay_cpus=request.relay_cpus,
            load_cpus=request.load_cpus,
            reference=request.reference,
            rounds=request.rounds,
        ),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    started = datetime.now(UTC).isoformat(timespec="seconds")
    circles = all_circles(plan)
    groups = groups_file(circles) if circles else b""
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        targets: dict[Name, tuple[str, Processes | None]] = {}
        if request.spawn is not None:
            relay = stack.enter_context(
                servers.relay(request.spawn, groups=groups, cpus=request.relay_cpus)
            )
            targets["relay"] = relay.url, Processes(relay.pid)
        else:
            root = _root_of(request.url)
            targets["relay"] = request.url, Processes(root) if root else None
        if request.reference:
            reference = stack.enter_context(
                servers.reference(groups=groups, cpus=request.relay_cpus)
            )
            targets["reference"] = reference.url, Processes(reference.pid)
        if request.load_cpus:
            before = os.sched_getaffinity(0)
            stack.callback(os.sched_setaffinity, 0, before)
            os.sched_setaffinity(0, request.load_cpus)
        try:
            for number, name in _turns(request.rounds, list(targets)):
                url, processes = targets[name]
                job = Run(
                    plan=plan,
                    server=name,
                    url=url,
                    trust=request.trust,
                    cpus=request.load_cpus,
                    tokens=request.tokens,
                    token_key=request.token_key,
                )
                with Display(progress, plan, title=_title(name, number, request)) as display:
                    outcomes.append(asyncio.run(_conducted(job, processes, display, progress)))
                if outcomes[-1].interrupted:
                    break
            is_interrupted = any(outcome.interrupted for outcome in outcomes)
        except KeyboardInterrupt:
            if not outcomes:
                raise
            is_interrupted = True  # what was measured before is still worth showing
    return RunRecord(
        started=started,
        command=sys.argv[1:],
        plan=plan,
        machine=machine,
        spawn=request.spawn,
        relay_cpus=request.relay_cpus,
        load_cpus=request.load_cpus,
        outcomes=outcomes,
        interrupted=is_interrupted,
    )


def _turns(rounds: int, names: list[Name]) -> Iterator[tuple[int, Name]]:
    """Yield round and server. Who comes first changes, so that a machine that slows slows both."""
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            yield number, name


async def _conducted(
    job: Run, processes: Processes | None, display: Display, progress: Console
) -> Outcome:
    """Conduct one run that Ctrl-C ends early.

    Raises:
        KeyboardInterrupt: it was asked for more often than there is to cut short.
    """
    interrupts = Interrupts()
    conducting = asyncio.ensure_future(conduct(job, processes, display, interrupts))
    is_thrown_away = False

    def interrupted() -> None:
        nonlocal is_thrown_away
        if interrupts.count == len(_AFTER_INTERRUPTS):
            is_thrown_away = True
            conducting.cancel()
            return
        told = f"relay-load: {_AFTER_INTERRUPTS[interrupts.count]}"
        progress.print(told, highlight=False, soft_wrap=True)
        interrupts.add()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        return await conducting
    except asyncio.CancelledError:
        if is_thrown_away:
            raise KeyboardInterrupt from None
        raise  # another signal ends us, which has its own exit code
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _title(name: Name, number: int, request: RunRequest) -> str:
    return f"{name} {number + 1}/{request.rounds}" if request.rounds > 1 else name


def _root_of(url: str) -> int | None:
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return None
    return server_root(parts.port or (443 if parts.scheme == "wss" else 80))
