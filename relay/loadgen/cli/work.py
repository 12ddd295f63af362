"""What the commands do once their options are checked. Imports everything that a run needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from relay.loadgen.report.page import render
from relay.loadgen.report.record import read_record, write_file, write_record
from relay.loadgen.report.table import show, show_changes
from relay.loadgen.run.request import RunRequest
from relay.loadgen.run.runner import run
from relay.loadgen.traffic.people import all_circles, groups_file
from relay.loadgen.traffic.plan import Plan

EXIT_OK: Final = 0
EXIT_FAULTS: Final = 1
EXIT_INTERRUPTED: Final = 130
_PIPE_WIDTH: Final = 120  # of tables that no terminal limits


def measure(request: RunRequest, *, json_file: Path | None, html_file: Path | None) -> int:
    """Run, show and write; return the exit code."""
    console = _console()
    record = run(request, console, Console(stderr=True))
    show(console, record)
    if json_file is not None:
        write_record(record, json_file)
    if html_file is not None:
        write_file(html_file, render(record).encode())
    if record.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_OK if record.is_good else EXIT_FAULTS


def compare(first: Path, second: Path) -> int:
    """Show what changed from one record to another; return the exit code."""
    show_changes(_console(), read_record(first), read_record(second))
    return EXIT_OK


def write_groups(plan: Plan, path: Path) -> int:
    """Write the groups that a run needs; return the exit code."""
    write_file(path, groups_file(all_circles(plan)))
    return EXIT_OK


def _console() -> Console:
    wide = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(highlight=False, width=wide)
