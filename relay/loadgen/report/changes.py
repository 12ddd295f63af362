"""What changed from one record to another, and what is noise."""

import math
import statistics
from typing import Final, Literal

import msgspec

from relay.loadgen.report.figures import Figure, figures
from relay.loadgen.report.record import RunRecord
from relay.loadgen.traffic.plan import describe

# Nothing smaller is worth telling from noise, however steady two runs were in themselves.
_LEAST_CHANGE: Final = 0.02


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How a figure differs between two records; fractions of the first's."""

    name: str
    unit: str
    before: float
    after: float
    change: float
    noise: float | None  # None where nothing tells it
    verdict: Literal["better", "worse", "noise", "unknown"]


def changes(first: RunRecord, second: RunRecord) -> list[Change]:
    """Compare the figures that both records have.

    The noise is twice the standard error of the difference, told from rounds or seconds, and at
    least 2 %: machines drift between two runs in ways that no run shows in itself.
    """
    later = {figure.name: figure for figure in figures(second)}
    return [
        _change(figure, later[figure.name])
        for figure in figures(first)
        if figure.name in later and figure.value
    ]


def _change(before: Figure, after: Figure) -> Change:
    change = after.value / before.value - 1
    errors = [_standard_error(figure.samples) for figure in (before, after)]
    noise = None
    if all(error is not None for error in errors):
        both = math.hypot(*(error or 0.0 for error in errors))
        noise = max(2 * both / before.value, _LEAST_CHANGE)
    verdict: Literal["better", "worse", "noise", "unknown"]
    if noise is None:
        verdict = "unknown"
    elif abs(change) <= noise:
        verdict = "noise"
    else:
        verdict = "better" if (change < 0) == (before.better == "lower") else "worse"
    return Change(
        name=before.name,
        unit=before.unit,
        before=before.value,
        after=after.value,
        change=change,
        noise=noise,
        verdict=verdict,
    )


def _standard_error(samples: list[float]) -> float | None:
    if len(samples) < 2:
        return None
    return statistics.stdev(samples) / math.sqrt(len(samples))


def unlike(first: RunRecord, second: RunRecord) -> list[str]:
    """Return why two records can hardly be compared."""
    names = [name for name, each in (("A", first), ("B", second)) if each.interrupted]
    lines = [f"{name} was interrupted" for name in names]
    if describe(first.plan) != describe(second.plan):
        other = dict(describe(second.plan))
        mine = dict(describe(first.plan))
        names = [name for name in mine | other if mine.get(name) != other.get(name)]
        differ = ", ".join(f"{name} {mine.get(name)} / {other.get(name)}" for name in names)
        lines.append(f"not the same load: {differ}")
    if first.way != second.way:
        lines.append(f"not the same way in: {first.way} / {second.way}")
    if (first.machine.cpu, first.machine.cores) != (second.machine.cpu, second.machine.cores):
        lines.append("not the same machine")
    if (first.relay_cpus, first.load_cpus) != (second.relay_cpus, second.load_cpus):
        lines.append("not the same CPUs")
    return lines
