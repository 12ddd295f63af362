"""The plots of the page, as inline SVG by pygal; colours are CSS variables of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import pygal  # type: ignore[import-untyped]
from pygal.style import Style  # type: ignore[import-untyped]

from relay.loadgen.report import Interval, Outcome

_COLOURS: Final = 8
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
    colors=tuple(f"var(--plot-{n})" for n in range(_COLOURS)),
)
_WIDTH: Final = 760
_HEIGHT: Final = 300
# The percentiles that are named on the axis of a distribution.
_PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999)

Series = Sequence[tuple[float, float]]


class Plot(msgspec.Struct, frozen=True):
    """A plot and what it shows."""

    title: str
    svg: str


def plots(outcome: Outcome) -> list[Plot]:
    """Return the plots of one run; those without any data are left out."""
    timeline = outcome.timeline
    made = [
        Plot("Throughput over time (a second)", _over_time(_rates(timeline))),
        Plot("Latency over time (ms, log)", _over_time(_latencies(timeline), logarithmic=True)),
        Plot("Latency distribution (ms, log)", _distribution(outcome)),
        Plot("CPU by process (CPUs)", _over_time(_per_process(timeline, _cpu))),
        Plot("Private memory by process (MiB)", _over_time(_per_process(timeline, _memory))),
    ]
    return [plot for plot in made if plot.svg]


def _over_time(series: dict[str, Series], *, logarithmic: bool = False) -> str:
    series = {name: points for name, points in series.items() if len(points) > 1}
    if not series:
        return ""
    chart = _chart(logarithmic=logarithmic)
    last = max(points[-1][0] for points in series.values())
    chart.x_labels = [{"value": at, "label": f"{at:g} s"} for at in _steps(last)]
    if not logarithmic:
        chart.range = (0, max(y for points in series.values() for _, y in points) * 1.05 or 1)
    for name, points in series.items():
        chart.add(name, list(points))
    return _svg(chart)


def _distribution(outcome: Outcome) -> str:
    curves = {name: curve for name, curve in outcome.curves.items() if len(curve) > 1}
    if not curves:
        return ""
    chart = _chart(logarithmic=True)
    # Each nine gets the same room, as in HdrHistogram's own plots. The last point, 100 %, goes
    # where the one before it stands.
    for name, curve in curves.items():
        points: list[tuple[float, float]] = []
        for percentile, value in curve:
            nines = -math.log10(1 - percentile / 100) if percentile < 100 else points[-1][0]
            if nines > 0 and value > 0:
                points.append((nines, value))
        chart.add(name, points)
    furthest = max(-math.log10(1 - p / 100) for c in curves.values() for p, _ in c if p < 100)
    named = [(p, -math.log10(1 - p / 100)) for p in _PERCENTILES]
    chart.x_labels = [
        {"value": nines, "label": f"{p:g} %"} for p, nines in named if nines <= furthest + 0.3
    ]
    return _svg(chart)


def _chart(*, logarithmic: bool) -> Any:
    return pygal.XY(
        style=_STYLE,
        js=[],
        width=_WIDTH,
        height=_HEIGHT,
        disable_xml_declaration=True,
        logarithmic=logarithmic,
        dots_size=1.5,
        stroke_style={"width": 1.6},
        legend_at_bottom=True,
        legend_at_bottom_columns=3,
        legend_box_size=10,
        show_x_guides=True,
        truncate_legend=-1,
        truncate_label=-1,
        x_label_rotation=0,
        margin=8,
    )


def _svg(chart: Any) -> str:
    text: str = chart.render(is_unicode=True)
    return text


def _steps(last: float) -> list[float]:
    """Return about eight round times from 0 to `last` seconds."""
    step = next(s for s in (1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600, 36000) if last / s <= 9)
    return [float(at) for at in range(0, int(last) + 1, step)]


def _rates(timeline: list[Interval]) -> dict[str, Series]:
    whole = _whole(timeline)
    return {
        name: [(each.ends_s, getattr(each.counts, field) / each.seconds) for each in whole]
        for name, field in (
            ("sent", "sent"),
            ("complete", "completed"),
            ("delivered", "delivered"),
            ("logins", "logins"),
        )
        if any(getattr(each.counts, field) for each in timeline)
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
