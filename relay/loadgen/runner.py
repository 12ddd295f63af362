"""Carries out a request: servers that are to be started, rounds, pinning; returns the record."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from rich.console import Console

from relay.loadgen import servers
from relay.loadgen.commandline import Request
from relay.loadgen.conductor import Run, conduct
from relay.loadgen.display import Display
from relay.loadgen.machine import this_machine
from relay.loadgen.people import all_circles, groups_file
from relay.loadgen.processes import Processes, server_root
from relay.loadgen.report import Outcome, Record
from relay.loadgen.table import banner

Name = Literal["relay", "reference"]


def run(request: Request, console: Console, progress: Console) -> Record:
    """Measure; the banner goes to `console` before anything starts, the live line to `progress`.

    Raises:
        RunFailed: a server does not start or answer, or not everybody can log in.
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
        for number in range(request.rounds):
            # Who comes first changes, so that a machine that slows down slows both.
            names: list[Name] = list(targets)
            for name in names if number % 2 else reversed(names):
                url, processes = targets[name]
                with Display(progress, plan, title=_title(name, number, request)) as display:
                    job = Run(
                        plan=plan,
                        server=name,
                        url=url,
                        ca_file=request.ca_file,
                        cpus=request.load_cpus,
                        tokens=request.tokens,
                    )
                    outcomes.append(asyncio.run(conduct(job, processes, display)))
    return Record(
        started=started,
        command=sys.argv[1:],
        plan=plan,
        machine=machine,
        spawn=request.spawn,
        relay_cpus=request.relay_cpus,
        load_cpus=request.load_cpus,
        outcomes=outcomes,
    )


def _title(name: Name, number: int, request: Request) -> str:
    return f"{name} {number + 1}/{request.rounds}" if request.rounds > 1 else name


def _root_of(url: str) -> int | None:
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return None
    return server_root(parts.port or (443 if parts.scheme == "wss" else 80))
