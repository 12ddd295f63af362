"""What the command lines of these tools share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from relay.loadgen.cli.units import parse_duration

EXIT_FAULTS: Final = 1
EXIT_USAGE: Final = 2
WIDE: Final = {"max_content_width": 100, "help_option_names": ["--help", "-h"]}


class Duration(click.ParamType[float]):
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


def end_by_signals() -> None:
    """Have SIGTERM and SIGHUP end us as an exception does: what we started is stopped."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
