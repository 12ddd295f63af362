"""What the command lines of these tools share."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from relay.loadgen.cli.units import parse_duration

EXIT_FAULTS: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_IN_MEMORY: Final = ("tmpfs", "ramfs")
WIDE: Final = {"max_content_width": 100, "help_option_names": ["--help", "-h"]}


# Of one type, which older versions do not know at run time.
if TYPE_CHECKING:
    _ParamType = click.ParamType[float]
else:
    _ParamType = click.ParamType


class Duration(_ParamType):
    """A time above 0 as the load generator reads it: 4s, 10m, 1h30m; as seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it."""
        if isinstance(value, int | float):
            return float(value)
        try:
            seconds = parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds <= 0:
            self.fail(f"{value!r} is no time above 0", param, ctx)
        return seconds


def json_option() -> Callable[[Any], Any]:
    """Return the option that writes everything measured."""
    return click.option(
        "--json",
        "json_file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write everything measured, each run of it.",
    )


def say_where_data_go() -> None:
    """Say on stderr if temporary data are in memory, where a sync costs nothing."""
    place = Path(tempfile.gettempdir()).resolve()
    try:
        kind = file_system_of(place, Path("/proc/mounts").read_text())
    except OSError:
        return
    if kind in _IN_MEMORY:
        click.echo(
            f"{place} is {kind}: what is synced there costs nothing, and durability looks cheap;"
            " set TMPDIR to a directory on a disk",
            err=True,
        )


def file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that has `path`, by the lines of /proc/mounts."""
    found = Path("/"), ""
    for line in mounts.splitlines():
        _, where, kind, *_ = line.split(" ")
        mounted = Path(where.replace("\\040", " "))
        if path.is_relative_to(mounted) and len(mounted.parts) >= len(found[0].parts):
            found = mounted, kind
    return found[1]


def end_by_signals() -> None:
    """Have SIGTERM and SIGHUP end us as an exception does: what we started is stopped."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
