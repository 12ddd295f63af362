"""`python -m tests.bench.scale`: how much more two, four and eight workers carry than one."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from tests.bench.command import (
    Measurement,
    rate_option,
    rounds_option,
    seconds_option,
    tool,
    within_option,
)
from tests.bench.generator import RunFailed, generate
from tests.bench.progress import steps
from tests.bench.records import Outcome, Unreadable, read_outcome
from tests.bench.scale.curve import Run, as_json, curve, plot, shown
from tests.bench.scale.plan import SIZES, Load, Size, command, sizes, too_large

ROOT: Final = Path(__file__).resolve().parents[3]
_SPARE_S: Final = 60.0  # of one run, for logins, the cool-down and the verdict
_RUN_S: Final = 8.0  # what a run is expected to take beside the measured time

_EXAMPLES: Final = """\b
On a machine without network:
  make wheelhouse            where there is one; FOR=3.12 for another Python than this one's
  make scale                 there, with the tree and its build/wheelhouse

\b
Examples:
  make scale
  python -m tests.bench.scale --sizes 1,2 --rounds 5
  python -m tests.bench.scale --out build/curve
"""


def _sizes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        wanted = tuple(int(each) for each in value.split(","))
    except ValueError:
        wanted = ()
    if not wanted or min(wanted) < 1:
        raise click.BadParameter(f"{value!r} are no whole numbers from 1, with commas")
    return wanted


@tool(
    _EXAMPLES,
    done="measured; sizes that do not fit are named",
    faults="a relay lost, doubled or misordered messages, or a run could not be done",
)
@click.option(
    "--sizes",
    "wanted",
    callback=_sizes,
    default=",".join(map(str, SIZES)),
    show_default=True,
    help="How many workers, and as many fronts.",
)
@rounds_option(3, of="sizes")
@seconds_option(5.0)
@rate_option(3000.0, of="for each worker")
@within_option("7m30s", "No run begins that would not end in this time.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("build/scale"),
    show_default=True,
    help="Where curve.json and curve.svg are written.",
)
def scale(
    wanted: tuple[int, ...],
    rounds: int,
    seconds: float,
    rate: float,
    within: float,
    out: Path,
) -> None:
    """Measure the curve of 1, 2, 4 and 8 workers and as many fronts.

    N workers and N fronts get N cores, and the load gets the rest. Where fewer than 2 N cores are
    there, nothing is pinned and the size is marked; where fewer than N are, it is left out. So a
    machine with 16 cores shows all sizes, one with 2 shows the first and, marked, the second.

    Two loads that grow with the size: 8 messages under way for each of 100 pairs a worker, which
    tells throughput; and an open loop, which tells latency with time to spare.
    """
    measurement = Measurement()
    loads = (
        Load("Window 8: as much as it carries", window=8),
        Load(f"Open loop: {rate:,.0f} messages a second for each worker", rate=rate),
    )
    cpus = sorted(os.sched_getaffinity(0))
    runs: list[Run] = []
    faults: list[str] = []
    planned = [
        (size, load) for _ in range(rounds) for size in sizes(cpus, wanted) for load in loads
    ]
    with measurement, steps(len(planned), within_s=within) as shown_steps:
        for size, load in planned:
            if not shown_steps.has_time(seconds + _RUN_S, "runs"):
                break
            what = "window 8" if load.window else f"{load.rate * size.workers:,.0f}/s"
            shown_steps.begin(f"{size.workers} + {size.workers}, {what}")
            try:
                outcome = _run(size, load, seconds)
            except (RunFailed, Unreadable) as error:
                faults.append(f"{size.workers} + {size.workers}, {load.name}: {error}")
            else:
                runs.append(Run(size, load, outcome))
                if outcome.wrongs:
                    faults.append(f"{size.workers} + {size.workers}: {outcome.wrongs}")
            shown_steps.end()
    curves = [(load, curve(runs, load)) for load in loads]
    click.echo(shown(curves, too_large(cpus, wanted)))
    out.mkdir(parents=True, exist_ok=True)
    found = {"cpus": cpus, "points": as_json(curves), "faults": faults}
    measurement.write(out / "curve.json", found)
    if points := curves[0][1]:
        (out / "curve.svg").write_bytes(plot(points))
    click.echo(f"written: {out}/curve.json{f', {out}/curve.svg' if points else ''}")
    measurement.end(faults)


def _run(size: Size, load: Load, seconds: float) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="relay-scale-") as name:
        record = Path(name) / "run.json"
        arguments = command(size, load, seconds=seconds, record=str(record))
        generate(
            arguments, python=Path(sys.executable), directory=ROOT, within_s=seconds + _SPARE_S
        )
        return read_outcome(record)


if __name__ == "__main__":
    scale(prog_name="python -m tests.bench.scale")
