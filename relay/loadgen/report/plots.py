"""The plots of the page, as inline SVG by pygal; colours are CSS variables of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final
from xml.etree import ElementTree

import msgspec
import pygal  # type: ignore[import-untyped]
from pygal.style import Style  # type: ignore[import-untyped]

from relay.loadgen.report.record import Interval, Load, Outcome
from relay.loadgen.traffic.plan import WARM_UP
from relay.loadgen.verify.tally import (
    ACK,
    DELIVERY,
    DRAIN_TIME,
    FIRST_DELIVERY,
    LAST_DELIVERY,
    LATE,
    LOGIN_TIME,
    RECEIPT,
)

# What a colour stands for, on the whole page: a kind of event and the latency that ends with it.
_COLOURS: Final = {
    "sent": "plot-0",
    ACK: "plot-0",
    "delivered": "plot-1",
    DELIVERY: "plot-1",
    LAST_DELIVERY: "plot-7",
    "complete": "plot-2",
    RECEIPT: "plot-2",
    "logins": "plot-3",
    LOGIN_TIME: "plot-3",
    LATE: "plot-4",
    FIRST_DELIVERY: "plot-5",
    DRAIN_TIME: "plot-6",
}
_PROCESS_COLOURS: Final = 8  # as many as the page defines, apart from those above
# Two of these, as far as there are any, are shown over time; the distribution has all.
_OVER_TIME: Final = (
    ACK,
    DELIVERY,
    LAST_DELIVERY,
    DRAIN_TIME,
    LOGIN_TIME,
    RECEIPT,
    FIRST_DELIVERY,
    LATE,
)
_MOST_OVER_TIME: Final = 2

_WIDTH: Final = 760
_HEIGHT: Final = 300
_DASHES: Final = "6,4"
# The percentiles that are named on the axis of a distribution.
_PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999)

_ROUND_TIMES_S: Final = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600, 36000)

Points = Sequence[tuple[float, float]]
Span = tuple[float, float]  # seconds since the run began


class Line(msgspec.Struct, frozen=True):
    """A line of a plot; `colour` is the name of a CSS variable."""

    name: str
    colour: str
    points: Points
    is_dashed: bool = False


class Plot(msgspec.Struct, frozen=True):
    """A plot, and what it shows."""

    title: str
    svg: str
    lines: list[Line]
    has_warm_up: bool = False  # which is shaded


def plots(outcome: Outcome, colours: dict[str, str]) -> list[Plot]:
    """Return the plots of one run; those without any data are left out.

    `colours` are those of the processes, by name or by role (`process_colours`).
    """
    timeline = outcome.timeline
    warm_up = _span(timeline, WARM_UP)
    made = (
        _over_time("Throughput, a second", _rates(timeline), warm_up),
        _over_time("Latency over time, ms", _latencies(timeline), warm_up, logarithmic=True),
        _distribution("Latency distribution, ms", outcome),
        _over_time("CPUs busy", _per_process(timeline, colours, _cpu), warm_up),
        _over_time("Private memory, MiB", _per_process(timeline, colours, _memory), warm_up),
    )
    return [plot for plot in made if plot is not None]


def process_colours(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Return a colour for each process by name; where they are too many, for each role."""
    loads = [load for outcome in outcomes for each in outcome.timeline for load in each.loads]
    names = list(dict.fromkeys(load.name for load in loads))
    if len(names) > _PROCESS_COLOURS:
        names = list(dict.fromkeys(load.role for load in loads))
    return {name: f"process-{n % _PROCESS_COLOURS}" for n, name in enumerate(names)}


def _span(timeline: list[Interval], phase: str) -> Span | None:
    """Return when a phase began and ended, as far as intervals tell."""
    of_it = [each for each in timeline if each.phase == phase]
    return (of_it[0].ends_s - of_it[0].seconds, of_it[-1].ends_s) if of_it else None


def _over_time(
    title: str, lines: list[Line], warm_up: Span | None, *, logarithmic: bool = False
) -> Plot | None:
    lines = [line for line in lines if len(line.points) > 1]
    if not lines:
        return None
    last = max(line.points[-1][0] for line in lines)
    x_labels = [(at, f"{at:g} s") for at in _steps(last)]
    return _plot(title, lines, x_labels, logarithmic=logarithmic, last=last, warm_up=warm_up)


def _distribution(title: str, outcome: Outcome) -> Plot | None:
    lines: list[Line] = []
    for name, curve in outcome.curves.items():
        points: list[tuple[float, float]] = []
        for percentile, value in curve:
            # Each nine gets the same room, as in HdrHistogram's own plots. 100 % has no place on
            # such an axis: it stands where the point before it does.
            below = percentile < 100
            nines = -math.log10(1 - percentile / 100) if below else points[-1][0] if points else 0
            points.append((nines, value))
        if len(points) > 1:
            lines.append(Line(name, _COLOURS[name], points))
    if not lines:
        return None
    furthest = max(line.points[-1][0] for line in lines)
    named = [(-math.log10(1 - percentile / 100), percentile) for percentile in _PERCENTILES]
    x_labels = [(nines, f"{percentile:g} %") for nines, percentile in named if nines <= furthest]
    return _plot(title, lines, x_labels, logarithmic=True, last=furthest)


def _style(lines: list[Line]) -> Style:
    return Style(
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
        colors=tuple(f"var(--{line.colour})" for line in lines),
    )


def _plot(
    title: str,
    lines: list[Line],
    x_labels: list[tuple[float, str]],
    *,
    logarithmic: bool,
    last: float,
    warm_up: Span | None = None,
) -> Plot:
    chart = pygal.XY(
        style=_style(lines),
        js=[],
        width=_WIDTH,
        height=_HEIGHT,
        disable_xml_declaration=True,
        dots_size=1.5,
        show_legend=False,
        show_x_guides=True,
        truncate_label=-1,
        max_scale=9,
        margin=8,
        xrange=(0, last),
    )
    # The library's own logarithmic scale takes both axes.
    scale = _log10 if logarithmic else float
    values = [value for line in lines for _, value in line.points if value > 0]
    steps = _decades(values) if logarithmic else []
    if steps:
        chart.y_labels = [{"value": _log10(step), "label": f"{step:g}"} for step in steps]
        chart.range = (_log10(steps[0]), _log10(steps[-1]))
        chart.value_formatter = lambda value: f"{10**value / 1e6:.3g}"
    else:
        chart.range = (0, max(values, default=1.0) * 1.05)
        chart.value_formatter = lambda value: f"{value:,.6g}"
    chart.x_labels = [{"value": at, "label": label} for at, label in x_labels]
    for line in lines:
        points = [(x, scale(value)) for x, value in line.points if value > 0 or not logarithmic]
        stroke = {"dasharray": _DASHES} if line.is_dashed else {}  # the page says how wide
        chart.add(line.name, points, stroke_style=stroke)
    chart.add_xml_filter(_without_scripts)
    if warm_up is not None:
        chart.add_xml_filter(lambda root: _shaded(root, chart, warm_up))
    svg: str = chart.render(is_unicode=True)
    return Plot(title, svg, lines, warm_up is not None)


def _shaded(root: ElementTree.Element, chart: pygal.XY, span: Span) -> ElementTree.Element:
    """Lay a shade behind the lines, from one time to another."""
    [plot] = [each for each in root.iter() if each.get("class") == "plot"]
    left, right = (chart.view.x(at) for at in span)
    bottom = chart.view.y(chart.range[0])
    shade = ElementTree.Element(
        "rect",
        {
            "class": "shade",
            "x": f"{left:.1f}",
            "y": "0",
            "width": f"{right - left:.1f}",
            "height": f"{bottom:.1f}",
            "style": "fill: var(--shade); stroke: none",
        },
    )
    plot.insert(1, shade)  # the first is the background
    return root


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


def _rates(timeline: list[Interval]) -> list[Line]:
    whole = _whole(timeline)
    messages = (("sent", "sent"), ("complete", "completed"), ("delivered", "delivered"))
    has_messages = any(each.counts.sent for each in timeline)
    return [
        Line(
            name,
            _COLOURS[name],
            [(each.ends_s, getattr(each.counts, field) / each.seconds) for each in whole],
        )
        for name, field in (messages if has_messages else (("logins", "logins"),))
    ]


def _latencies(timeline: list[Interval]) -> list[Line]:
    """Return p50 and p99 of two latencies, as more lines are hard to read."""
    lines: list[Line] = []
    for name in _OVER_TIME:
        quantiles = [(each.ends_s, q) for each in timeline if (q := each.latencies.get(name))]
        if len(quantiles) > 1:
            colour = _COLOURS[name]
            p50 = [(at, each.p50) for at, each in quantiles if each.p50 > 0]
            p99 = [(at, each.p99) for at, each in quantiles if each.p99 > 0]
            lines += Line(f"{name} p50", colour, p50), Line(f"{name} p99", colour, p99, True)
        if len(lines) == 2 * _MOST_OVER_TIME:
            break
    return lines


def _per_process(
    timeline: list[Interval], colours: dict[str, str], measure: Callable[[Interval, Load], float]
) -> list[Line]:
    """Return a line for each process, or for all of a role together."""
    whole = _whole(timeline)
    roles = {load.role for each in whole for load in each.loads}
    lines = []
    for name, colour in colours.items():
        points = [
            (each.ends_s, sum(measure(each, load) for load in loads))
            for each in whole
            if (loads := [load for load in each.loads if name in (load.name, load.role)])
        ]
        lines.append(Line(f"{name}, all" if name in roles else name, colour, points))
    return lines


def _cpu(interval: Interval, load: Load) -> float:
    return load.cpu_s / interval.seconds


def _memory(interval: Interval, load: Load) -> float:
    return load.private_bytes / 2**20


def _whole(timeline: list[Interval]) -> list[Interval]:
    """Leave out what a phase's end cut short: rates of a few milliseconds are noise."""
    longest = max((each.seconds for each in timeline), default=0.0)
    return [each for each in timeline if each.seconds > longest / 4]
