"""What these tools share as commands: their options, how they end, and what they write."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import click
import msgspec

from relay.loadgen.cli.units import parse_duration
from relay.loadgen.run.machine import this_machine

EXIT_FAULTS: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_IN_MEMORY: Final = ("tmpfs", "ramfs")
_WIDE: Final = {"max_content_width": 100, "help_option_names": ["--help", "-h"]}

Decorator = Callable[[Any], Any]


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


def tool(examples: str, *, done: str, faults: str, usage: str = "bad usage") -> Decorator:
    """Return what makes a command of a function, with examples and exit codes below its help."""
    codes = {
        0: done,
        EXIT_FAULTS: faults,
        EXIT_USAGE: usage,
        EXIT_INTERRUPTED: "interrupted by Ctrl-C; what was measured until then is shown",
    }
    lines = "".join(f"  {code:<4} {meaning}\n" for code, meaning in codes.items())
    return click.command(
        epilog=f"{examples}\n\b\nExit codes:\n{lines}", context_settings=dict(_WIDE)
    )


def rounds_option(default: int, *, of: str) -> Decorator:
    """Return the option that says how often `of`, in turns, are measured."""
    return click.option(
        "--rounds",
        type=click.IntRange(1, 20),
        default=default,
        show_default=True,
        help=f"Everything is done so often, the {of} in turns.",
    )


def seconds_option(default: float) -> Decorator:
    """Return the option that says how long a run is."""
    return click.option(
        "--seconds",
        type=click.FloatRange(0.1, 600),
        default=default,
        show_default=True,
        help="Measured in each run, after a second of warm-up.",
    )


def rate_option(default: float, *, of: str) -> Decorator:
    """Return the option that says how much an open loop sends, counted for `of`."""
    return click.option(
        "--rate",
        type=click.FloatRange(1, 1e6),
        default=default,
        show_default=True,
        help=f"Of the open loop, messages a second {of}.",
    )


def within_option(default: str, meaning: str) -> Decorator:
    """Return the option that bounds the whole."""
    return click.option(
        "--within", type=Duration(), default=default, show_default=True, help=meaning
    )


def json_option() -> Decorator:
    """Return the option that writes everything measured."""
    return click.option(
        "--json",
        "json_file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write everything measured, each run of it.",
    )


class Measurement:
    """What is measured until it is done or interrupted: in both cases what was had is shown.

    As a context manager it has the measuring in it, and bears Ctrl-C; `end` comes last.
    """

    def __init__(self) -> None:
        _end_by_signals()
        _say_where_data_go()
        self._is_interrupted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Show what comes as what was measured before Ctrl-C."""
        if not isinstance(value, KeyboardInterrupt):
            return False
        click.echo("interrupted; of what was measured:", err=True)
        self._is_interrupted = True
        return True

    def write(self, path: Path, found: Mapping[str, object]) -> None:
        """Write what was found, as JSON, and when and where."""
        written = {"written": utc(), "machine": this_machine(), **found}
        path.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=1))

    def end(self, faults: Sequence[str]) -> None:
        """Show what a server did wrong, and exit with what says how it went."""
        for fault in faults:
            click.echo(f"FAULT {fault}")
        if self._is_interrupted:
            raise SystemExit(EXIT_INTERRUPTED)
        if faults:
            raise SystemExit(EXIT_FAULTS)


def utc() -> str:
    """Return the time, to be written down."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _say_where_data_go() -> None:
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


def _end_by_signals() -> None:
    """Have SIGTERM and SIGHUP end us as an exception does: what we started is stopped."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
