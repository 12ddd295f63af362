"""`python -m tests.bench.price A B`: what B costs against A, in turns, and what is noise."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import click

from relay.errors import RelayError
from tests.bench.command import (
    EXIT_USAGE,
    Measurement,
    json_option,
    seconds_option,
    tool,
    utc,
    within_option,
)
from tests.bench.generator import RunFailed
from tests.bench.price.plan import NAMES, Row, Turn, chosen, pairs_of_turns
from tests.bench.price.report import Findings, conclusion, shown
from tests.bench.price.runs import Stage
from tests.bench.price.trees import CannotCompare, Tree, loaded_by, trees
from tests.bench.progress import steps
from tests.bench.records import Outcome, Unreadable

# What a pair takes beside the measured time: two relays and two generators started and ended.
_PAIR_S: Final = 8.0

_EXAMPLES: Final = f"""\b
Rows: {", ".join(NAMES)}
      usual (all but 8+8-rate-2000), all

\b
Examples:
  make price A=main                      the working tree against main
  make price A=v1 B=v2 ARGS="--rows window-8,rate-300 --pairs 9"
  make price A=main ARGS="--together"    on a machine with other work
  make price B=HEAD ARGS="--compiled B"  what compiled parts bring
  python -m tests.bench.price HEAD HEAD  must say: no difference
"""


def _rows(ctx: click.Context, param: click.Parameter, value: str) -> tuple[Row, ...]:
    try:
        return chosen(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@tool(
    _EXAMPLES,
    done="compared, whatever came of it",
    faults="a relay lost, doubled or misordered messages, or a run could not be done",
    usage="bad usage, no such commit, or what it needs cannot be installed",
)
@click.argument("a")
@click.argument("b", default=".")
@click.option(
    "--rows",
    callback=_rows,
    default="usual",
    show_default=True,
    help="Which loads, by name, with commas.",
)
@click.option(
    "--pairs",
    type=click.IntRange(1, 50),
    default=5,
    show_default=True,
    help="Runs of each side. Fewer than 3 tell nothing; 5 find changes of a tenth on a quiet"
    " machine.",
)
@seconds_option(2.5)
@within_option(
    "9m30s",
    "No pair begins that would not end in this time; the last rows then have one pair less.",
)
@click.option(
    "--generator",
    type=click.Choice(["A", "B"]),
    default=None,
    help="Whose generator loads both.  [default: the later commit's]",
)
@click.option(
    "--together",
    is_flag=True,
    help="Load both at once, where other work on the machine spoils turns: it then meets both."
    " Only what they use is compared, not how long anything takes.",
)
@click.option(
    "--compiled",
    type=click.Choice(["A", "B", "AB"]),
    help="Which of them run compiled parts, built first; a directory keeps them.  [default: none]",
)
@json_option()
def price(
    a: str,
    b: str,
    rows: tuple[Row, ...],
    pairs: int,
    seconds: float,
    within: float,
    generator: str | None,
    together: bool,
    compiled: str | None,
    json_file: Path | None,
) -> None:
    """Compare the price of a message in two commits, A and B.

    A and B are commits, or directories with a checkout; B left out is the working tree as it is.
    Commits are checked out into a temporary folder. Where one needs other packages than are
    installed here it gets an environment of its own.

    Relay after relay, of A and of B in turns, gets the same load by the same generator. The relay
    has core 0 and the load core 1; rows with 8 workers have all cores. Shown are, for each load,
    server CPU a message of all the relay's processes, and latencies; with the ratio B / A of every
    pair, and which differences are beyond noise.

    It wants the machine for itself: what else runs makes the pairs differ, and then less is found;
    --together minds that less. Data are in the temporary folder: TMPDIR should be on a disk.
    """
    measurement = Measurement()
    findings = Findings(rows, costs_only=together)
    told: dict[str, object] = {
        "started": utc(),
        "asked": [a, b],
        "seconds": seconds,
        "together": together,
        "compiled": compiled,
    }
    try:
        with (
            measurement,
            tempfile.TemporaryDirectory(prefix="relay-price-") as name,
            trees((a, b), Path(name), compiled or "") as two,
        ):
            loader = loaded_by(two, generator or "")
            click.echo(
                f"A {two[0].commit} ({a}), B {two[1].commit} ({b}), loaded by {loader.name};"
                f" {len(rows)} rows, {pairs} pairs, {seconds:g} s each,"
                f" compiled parts in {compiled or 'neither'}",
                err=True,
            )
            told |= {"a": two[0].commit, "b": two[1].commit, "generator": loader.name}
            stage = Stage(loader, Path(name), seconds=seconds)
            if not stage.has_cores:
                click.echo("one core: relay and load share it", err=True)
            _measure(findings, stage, two, _Task(rows, pairs, seconds, within, together))
    except CannotCompare as error:
        click.echo(f"price: {error}", err=True)
        raise SystemExit(EXIT_USAGE) from error
    lines = findings.lines()
    click.echo(shown(lines))
    click.echo(conclusion(lines))
    if json_file is not None:
        found = {"lines": [line.as_json() for line in lines], "faults": findings.wrongs}
        measurement.write(json_file, told | found)
    measurement.end(findings.wrongs)


class _Task(NamedTuple):
    """What is to be measured, and for how long."""

    rows: tuple[Row, ...]
    pairs: int
    seconds: float
    within_s: float
    together: bool


def _measure(findings: Findings, stage: Stage, two: tuple[Tree, Tree], task: _Task) -> None:
    longest: dict[str, float] = {}  # seconds of a row's pair, so far
    failed: set[str] = set()  # rows that could not be run
    total = len(task.rows) * task.pairs
    with steps(total, within_s=task.within_s) as shown_steps:
        for turns in pairs_of_turns(task.rows, task.pairs):
            row = turns[0].row
            if row.name in failed:
                shown_steps.end()  # it would fail again, and take its time
                continue
            if not shown_steps.has_time(longest.get(row.name, _PAIR_S + 2 * task.seconds), "pairs"):
                return
            shown_steps.begin(f"{row.name}, pair {turns[0].round + 1} of {task.pairs}")
            began_s = time.monotonic()
            try:
                findings.add(row, *_pair(stage, turns, two, together=task.together))
            except (RunFailed, Unreadable, RelayError) as error:
                failed.add(row.name)
                findings.wrongs.append(f"{row.name}, pair {turns[0].round + 1}: {error}")
            took_s = time.monotonic() - began_s
            longest[row.name] = max(longest.get(row.name, 0.0), took_s)
            shown_steps.end()


def _pair(
    stage: Stage, turns: tuple[Turn, Turn], two: tuple[Tree, Tree], *, together: bool
) -> list[Outcome]:
    """Return the runs of A and of B."""
    first, second = (two[turn.side] for turn in turns)
    row = turns[0].row
    if together:
        outcomes = stage.run_both(row, first, second)
    else:
        outcomes = stage.run(row, first), stage.run(row, second)
    return list(outcomes if first is two[0] else reversed(outcomes))


if __name__ == "__main__":
    price(prog_name="python -m tests.bench.price")
