"""The plots of the page, as inline SVG by pygal; colours are CSS variables of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final
from xml.etree import ElementTree

import msgspec
import pygal  # type: ignore[import-untyped]
from pygal.style import Style  # type: ignore[import-untyped]

from relay.loadgen.report.record import Interval, Outcome

_COLOURS: Final = 8  # as many as the page defines; then they begin anew
_MOST_LINES: Final = 256
_STYLE: Final = Style(
    background="transparent",
    plot_background="transparent",
    foreground="var(--text)",
    foreground_strong="var(--text)",
    foreground_subtle="var(--muted)",
    guide_stroke_color="var(--grid)",
    major_guide_stroke_color="var(--grid)",
    guide_stroke_dasharray="1,3",
    major_guide_stroke_dasharray="1,3",
    opacity="1",
    opacity_hover="1",
    font_family="inherit",
    label_font_size=12,
    major_label_font_size=12,
    legend_font_size=13,
    title_font_size=14,
    colors=tuple(f"var(--plot-{n % _COLOURS})" for n in range(_MOST_LINES)),
)
_WIDTH: Final = 760
_HEIGHT: Final = 300
# The percentiles that are named on the axis of a distribution.
_PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999)

_ROUND_TIMES_S: Final = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600, 36000)

Series = Sequence[tuple[float, float]]


class Plot(msgspec.Struct, frozen=True):
    """A plot, what it shows, and the names of its lines in the order of the colours."""

    title: str
    svg: str
    lines: list[str]


def plots(outcome: Outcome) -> list[Plot]:
    """Return the plots of one run; those without any data are left out."""
    timeline = outcome.timeline
    made = (
        _over_time("Throughput over time, a second", _rates(timeline)),
        _over_time("Latency over time, ms", _latencies(timeline), logarithmic=True),
        _distribution("Latency distribution, ms", outcome),
        _over_time("CPU by process, CPUs", _per_process(timeline, _cpu)),
        _over_time("Private memory by process, MiB", _per_process(timeline, _memory)),
    )
    return [plot for plot in made if plot is not None]


def _over_time(title: str, series: dict[str, Series], *, logarithmic: bool = False) -> Plot | None:
    series = {name: points for name, points in series.items() if len(points) > 1}
    if not series:
        return None
    last = max(points[-1][0] for points in series.values())
    x_labels = [(at, f"{at:g} s") for at in _steps(last)]
    return _plot(title, series, x_labels=x_labels, logarithmic=logarithmic)


def _distribution(title: str, outcome: Outcome) -> Plot | None:
    series: dict[str, Series] = {}
    for name, curve in outcome.curves.items():
        points: list[tuple[float, float]] = []
        for percentile, value in curve:
            # Each nine gets the same room, as in HdrHistogram's own plots. 100 % has no place on
            # such an axis: it stands where the point before it does.
            below = percentile < 100
            nines = -math.log10(1 - percentile / 100) if below else points[-1][0] if points else 0
            points.append((nines, value))
        if len(points) > 1:
            series[name] = points
    if not series:
        return None
    furthest = max(points[-1][0] for points in series.values())
    named = [(-math.log10(1 - percentile / 100), percentile) for percentile in _PERCENTILES]
    x_labels = [(nines, f"{percentile:g} %") for nines, percentile in named if nines <= furthest]
    return _plot(title, series, x_labels=x_labels, logarithmic=True)


def _plot(
    title: str, series: dict[str, Series], *, x_labels: list[tuple[float, str]], logarithmic: bool
) -> Plot:
    chart = pygal.XY(
        style=_STYLE,
        js=[],
        width=_WIDTH,
        height=_HEIGHT,
        disable_xml_declaration=True,
        dots_size=1.5,
        stroke_style={"width": 2},
        show_legend=False,
        show_x_guides=True,
        truncate_label=-1,
        max_scale=9,
        margin=8,
    )
    # The library's own logarithmic scale takes both axes.
    scale = _log10 if logarithmic else float
    values = [value for points in series.values() for _, value in points if value > 0]
    steps = _decades(values) if logarithmic else []
    if steps:
        chart.y_labels = [{"value": _log10(step), "label": f"{step:g}"} for step in steps]
        chart.range = (_log10(steps[0]), _log10(steps[-1]))
        chart.value_formatter = lambda value: f"{10**value / 1e6:.3g}"
    else:
        chart.range = (0, max(values, default=1.0) * 1.05)
        chart.value_formatter = lambda value: f"{value:,.6g}"
    chart.x_labels = [{"value": at, "label": label} for at, label in x_labels]
    for name, points in series.items():
        chart.add(name, [(x, scale(value)) for x, value in points if value > 0 or not logarithmic])
    chart.add_xml_filter(_without_scripts)
    svg: str = chart.render(is_unicode=True)
    return Plot(title, svg, list(series))


def _without_scripts(root: ElementTree.Element) -> ElementTree.Element:
    """Take out the configuration that the library leaves for its (absent) tooltips."""
    for parent in list(root.iter()):
        for child in list(parent):
            # The tag of a comment is no text.
            if isinstance(child.tag, str) and child.tag.rpartition("}")[2] == "script":
                parent.remove(child)
    return root


def _log10(value: float) -> float:
    """Return where a value stands on a logarithmic axis.

    In millionths: at 0, which would be 1 of the unit, the library draws a line of its own.
    """
    return math.log10(value * 1e6)


def _decades(values: list[float]) -> list[float]:
    """Return the steps of a logarithmic axis, 1, 2, 5 of each power of ten, around the values."""
    if not values:
        return []
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = [float(f"{digit}e{power}") for power in range(low, high + 1) for digit in (1, 2, 5)]
    first = max((n for n, step in enumerate(steps) if step <= min(values)), default=0)
    last = min((n for n, step in enumerate(steps) if step >= max(values)), default=len(steps) - 1)
    return steps[first : last + 1] if last > first else steps[first : first + 2]


def _steps(last: float) -> list[float]:
    """Return about eight round times from 0 to `last` seconds."""
    step = next((s for s in _ROUND_TIMES_S if last / s <= 9), _ROUND_TIMES_S[-1])
    return [float(at) for at in range(0, int(last) + 1, step)]


def _rates(timeline: list[Interval]) -> dict[str, Series]:
    whole = _whole(timeline)
    messages = (("sent", "sent"), ("complete", "completed"), ("delivered", "delivered"))
    has_messages = any(each.counts.sent for each in timeline)
    return {
        name: [(each.ends_s, getattr(each.counts, field) / each.seconds) for each in whole]
        for name, field in (messages if has_messages else (("logins", "logins"),))
    }


def _latencies(timeline: list[Interval]) -> dict[str, Series]:
    names = dict.fromkeys(name for each in timeline for name in each.latencies)
    return {
        f"{name} {label}": [
            (each.ends_s, getattr(each.latencies[name], label))
            for each in timeline
            if name in each.latencies and getattr(each.latencies[name], label) > 0
        ]
        for name in names
        for label in ("p50", "p99")
    }


def _per_process(
    timeline: list[Interval], measure: Callable[[Interval, int], float]
) -> dict[str, Series]:
    whole = _whole(timeline)
    names = dict.fromkeys(load.name for each in whole for load in each.loads)
    return {
        name: [
            (each.ends_s, measure(each, index))
            for each in whole
            for index, load in enumerate(each.loads)
            if load.name == name
        ]
        for name in names
    }


def _cpu(interval: Interval, index: int) -> float:
    return interval.loads[index].cpu_s / interval.seconds


def _memory(interval: Interval, index: int) -> float:
    return interval.loads[index].private_bytes / 2**20


def _whole(timeline: list[Interval]) -> list[Interval]:
    """Leave out what a phase's end cut short: rates of a few milliseconds are noise."""
    longest = max((each.seconds for each in timeline), default=0.0)
    return [each for each in timeline if each.seconds > longest / 4]
