"""The points of the curve, made of runs, and the table and plot of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import pygal  # type: ignore[import-untyped]
from pygal.style import Style  # type: ignore[import-untyped]

from tests.bench.records import Outcome, Phase
from tests.bench.scale.plan import Load, Size
from tests.bench.tables import number, table

_MEASURED: Final = "measured"
_ACK: Final = "send → ack 1"
# A load process that is this busy may itself be what limits a run.
_BUSY: Final = 0.85
HEAD: Final = (
    "workers + fronts",
    "messages/s",
    "efficiency",
    "CPU a message, µs",
    "cores used",
    "waits a message",
    "ack 1 p50 / p99, ms",
    "all rounds, messages/s",
)
_NOTES: Final = """\
efficiency: messages/s for each worker, against those of the smallest size; 1 is twice for twice.
In the open loop it is the share of the messages that were due.
CPU: of all the relay's processes. Medians of the rounds.
"""
_CROWDED: Final = "*: more workers than half the cores; the load takes cores from the relay.\n"
_LIMITED: Final = "!: a load process was busy most of the time; the relay may carry more.\n"


class Run(NamedTuple):
    """One run of one size."""

    size: Size
    load: Load
    outcome: Outcome

    @property
    def phase(self) -> Phase:
        """What was measured."""
        return self.outcome.phase(_MEASURED)


class Point(NamedTuple):
    """A size under a load: the medians of its runs."""

    size: Size
    rates: tuple[float, ...]  # messages a second, of every run
    rate: float
    efficiency: float
    cpu_us: float
    cores: float
    waits: float
    p50_ms: float
    p99_ms: float
    load_busy: float  # of its busiest process


def curve(runs: Sequence[Run], load: Load) -> list[Point]:
    """Return the points of one load, smallest size first."""
    of_load = [run for run in runs if run.load == load]
    points: list[Point] = []
    for size in sorted({run.size for run in of_load}):
        mine = [run for run in of_load if run.size == size]
        rates = tuple(run.phase.rate("completed") for run in mine)
        rate = statistics.median(rates)
        each = rate / size.workers
        first = points[0].rate / points[0].size.workers if points else each
        due = load.rate or first  # of each worker
        points.append(
            Point(
                size=size,
                rates=rates,
                rate=rate,
                efficiency=each / due if due else 0.0,
                cpu_us=_median(mine, lambda run: run.phase.cpu_us("completed")),
                cores=_median(mine, lambda run: run.phase.cores_of_server()),
                waits=_median(mine, lambda run: run.phase.waits("completed")),
                p50_ms=_median(mine, lambda run: run.outcome.latency_ms(_ACK, "p50")),
                p99_ms=_median(mine, lambda run: run.outcome.latency_ms(_ACK, "p99")),
                load_busy=_median(mine, lambda run: run.phase.busiest_of_load()),
            )
        )
    return points


def shown(curves: Sequence[tuple[Load, Sequence[Point]]], skipped: Sequence[int]) -> str:
    """Return a table a load, and what the marks mean."""
    parts = [
        f"{load.name}\n\n{table(HEAD, [_cells(load, point) for point in points])}"
        for load, points in curves
        if points
    ]
    points = [point for _, of_load in curves for point in of_load]
    notes = _NOTES if points else ""
    if any(not point.size.is_clean for point in points):
        notes += _CROWDED
    if any(_is_limited(load, point) for load, of_load in curves for point in of_load):
        notes += _LIMITED
    for workers in skipped:
        notes += f"skipped {workers} + {workers}: there are fewer cores than workers\n"
    return "\n".join([*parts, notes])


def as_json(curves: Sequence[tuple[Load, Sequence[Point]]]) -> list[dict[str, Any]]:
    """Return the points as they are written."""
    return [
        {
            "load": load._asdict(),
            **point._asdict(),
            "size": {**point.size._asdict(), "is_clean": point.size.is_clean},
        }
        for load, points in curves
        for point in points
    ]


def plot(points: Sequence[Point]) -> bytes:
    """Return the curve as SVG: messages a second over workers, beside "twice for twice"."""
    style = Style(
        background="white",
        plot_background="white",
        font_family="sans-serif",
        guide_stroke_color="#e0e0e0",
        major_guide_stroke_color="#e0e0e0",
        colors=("#1b6ca8", "#999999"),
        label_font_size=12,
        legend_font_size=13,
        title_font_size=15,
    )
    most = max(point.size.workers for point in points)
    first = points[0].rate / points[0].size.workers
    chart = pygal.XY(
        style=style,
        js=[],
        width=640,
        height=360,
        title="Messages a second, by workers + fronts",
        x_title="workers, and as many fronts",
        legend_at_bottom=True,
        include_x_axis=True,
        dots_size=4,
        xrange=(0, most),
    )
    chart.x_labels = [
        {"value": point.size.workers, "label": str(point.size.workers)} for point in points
    ]
    chart.value_formatter = lambda value: f"{value:,.0f}"
    chart.add("measured", [(point.size.workers, point.rate) for point in points])
    ideal = [(0, 0.0), (most, first * most)]
    chart.add("in proportion", ideal, stroke_style={"dasharray": "6,4"}, show_dots=False)
    drawn: bytes = chart.render()
    return drawn


def _cells(load: Load, point: Point) -> list[str]:
    marks = ("" if point.size.is_clean else "*") + ("!" if _is_limited(load, point) else "")
    return [
        f"{point.size.workers} + {point.size.workers}{marks}",
        f"{point.rate:,.0f}",
        f"{point.efficiency:.2f}",
        number(point.cpu_us),
        number(point.cores),
        number(point.waits),
        f"{number(point.p50_ms)} / {number(point.p99_ms)}",
        " ".join(f"{rate:,.0f}" for rate in point.rates),
    ]


def _is_limited(load: Load, point: Point) -> bool:
    return not load.rate and point.load_busy > _BUSY


def _median(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return statistics.median(value(run) for run in runs)
