"""The figures that a record stands for: rates, cost a message, memory a connection, ratios."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec

from relay.loadgen.report.histogram import Summary, merged
from relay.loadgen.report.record import (
    OWN,
    REFERENCE,
    RELAY,
    Interval,
    Load,
    Outcome,
    PhaseRecord,
    RunRecord,
)
from relay.loadgen.traffic.plan import (
    DRAIN,
    FILL,
    HOLD,
    LOGIN,
    MEASURE,
    STORM,
    Chat,
    Group,
    Idle,
    Mixed,
    Offline,
    Scenario,
    Storm,
)
from relay.loadgen.verify.tally import LATENCIES, Counts

# A generator that is this busy may itself be what limits a run.
BUSY: Final = 0.85
# Rounds so many are compared with each other; with fewer, the seconds within them.
_ROUNDS_ENOUGH: Final = 3
# Less a connection, or none at all, is what a role's pages happen to share with others'.
LEAST_PSS_BYTES: Final = 512


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one role's processes used in a phase, a unit of work each."""

    role: str
    processes: int
    cpu_us: float
    busy: float  # CPUs' worth, of all its processes
    busiest: float  # of the busiest of them
    waits: float
    preempted: float


class PhaseFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A phase of all rounds together. Without a `unit` only the costs' `busy` mean something."""

    name: str
    unit: str  # message, stored message, login, or empty
    count: int
    rate: float  # units a second
    seconds: float
    costs: list[Cost]
    deliveries: int  # first ones, of all members of a group
    others_busy: float  # CPUs' worth, of everything else on the machine

    @property
    def is_reached(self) -> bool:
        """Whether any round got so far; an interrupted one may not have."""
        return self.seconds > 0

    @property
    def fans_out(self) -> bool:
        """Whether a message is delivered to several."""
        return self.unit == "message" and self.deliveries > 1.5 * self.count

    @property
    def server_cpu_us(self) -> float:
        """CPU microseconds a unit, of all the server's processes."""
        return sum(cost.cpu_us for cost in self.costs if cost.role != OWN)

    @property
    def own_busiest(self) -> float:
        """How busy the busiest of our own processes was."""
        return max((cost.busiest for cost in self.costs if cost.role == OWN), default=0.0)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a record, with what it was over time, for comparing."""

    name: str
    unit: str
    value: float
    samples: list[float]
    better: Literal["lower", "higher"]


def headlines(scenario: Scenario) -> list[tuple[str, str]]:
    """Return the phases that count, and the unit of work of each."""
    match scenario:
        case Chat() | Group() | Mixed():
            return [(MEASURE, "message")]
        case Offline():
            return [(FILL, "stored message"), (DRAIN, "message")]
        case Storm():
            return [(STORM, "login")]
        case Idle():
            return [(LOGIN, "login"), (HOLD, "")]


def units_in(counts: Counts, unit: str) -> int:
    """Return how many units of work the counts are."""
    match unit:
        case "message":
            return counts.completed
        case "stored message":
            return counts.stored
        case "login":
            return counts.logins
        case _:
            return 0


def phase_figures(outcomes: Sequence[Outcome], name: str, unit: str) -> PhaseFigures:
    """Return the figures of the phase `name`, over all rounds of one server."""
    phases = [phase for outcome in outcomes for phase in outcome.phases if phase.name == name]
    count = sum(units_in(phase.counts, unit) for phase in phases)
    seconds = sum(phase.seconds for phase in phases)
    return PhaseFigures(
        name=name,
        unit=unit,
        count=count,
        rate=count / seconds if seconds else 0.0,
        seconds=seconds,
        costs=_costs(phases, count, seconds),
        deliveries=sum(phase.counts.delivered for phase in phases),
        others_busy=_each(sum(phase.others_cpu_s for phase in phases), seconds),
    )


def _costs(phases: list[PhaseRecord], count: int, seconds: float) -> list[Cost]:
    loads = [load for phase in phases for load in phase.loads]
    costs = []
    for role in dict.fromkeys(load.role for load in loads):
        mine = [load for load in loads if load.role == role]
        by_name: dict[str, float] = {}
        for load in mine:
            by_name[load.name] = by_name.get(load.name, 0.0) + load.cpu_s
        costs.append(
            Cost(
                role=role,
                processes=len(by_name),
                cpu_us=_each(sum(load.cpu_s for load in mine) * 1e6, count),
                busy=_each(sum(by_name.values()), seconds),
                busiest=_each(max(by_name.values()), seconds),
                waits=_each(sum(load.waits for load in mine), count),
                preempted=_each(sum(load.preempted for load in mine), count),
            )
        )
    return costs


def _each(total: float, count: float) -> float:
    return total / count if count else 0.0


def pss_per_connection(outcome: Outcome) -> dict[str, float]:
    """Return, by role, what a logged-in connection added to the PSS, in bytes.

    Below `LEAST_PSS_BYTES` it means nothing. It may be negative: a page that more processes share
    counts less in each.
    """
    return {
        role: (after - outcome.pss_before.get(role, 0)) / outcome.sessions
        for role, after in outcome.pss_logged_in.items()
        if outcome.sessions
    }


def ratio(record: RunRecord, phase: str, unit: str) -> float | None:
    """Return the relay's CPU a unit as a ratio to the reference's; None where either is unknown."""
    relay = phase_figures(record.of(RELAY), phase, unit).server_cpu_us
    reference = phase_figures(record.of(REFERENCE), phase, unit).server_cpu_us
    return relay / reference if relay and reference else None


def figures(record: RunRecord) -> list[Figure]:
    """Return every number of the record that can be compared with another record's."""
    found: list[Figure] = []
    relay = record.of(RELAY)
    for phase, unit in headlines(record.plan.scenario):
        if not unit:
            continue
        whole = phase_figures(relay, phase, unit)
        found.append(_rate_figure(relay, whole))
        found += (
            _cost_figure(relay, whole, roles, title)
            for roles, title in [
                (None, f"{phase}: server CPU"),
                *(((cost.role,), f"{phase}: {cost.role} CPU") for cost in whole.costs),
            ]
            if whole.count
        )
        if (times := ratio(record, phase, unit)) is not None:
            found.append(_ratio_figure(record, whole, times))
    found += _latency_figures(relay)
    for outcome in relay[:1]:
        found += (
            Figure(
                name=f"{role} PSS a connection",
                unit="KiB",
                value=size / 1024,
                samples=[],
                better="lower",
            )
            for role, size in pss_per_connection(outcome).items()
            if size >= LEAST_PSS_BYTES
        )
    return found


def _rate_figure(outcomes: list[Outcome], whole: PhaseFigures) -> Figure:
    def rate(part: Interval | PhaseRecord) -> float:
        return units_in(part.counts, whole.unit) / part.seconds

    return Figure(
        name=f"{whole.name}: {whole.unit}s",
        unit="1/s",
        value=whole.rate,
        samples=_samples(outcomes, whole.name, rate),
        better="higher",
    )


def _cost_figure(
    outcomes: list[Outcome], whole: PhaseFigures, roles: tuple[str, ...] | None, name: str
) -> Figure:
    def is_meant(role: str) -> bool:
        return role != OWN if roles is None else role in roles

    def cost(part: Interval | PhaseRecord) -> float:
        return _cpu_us(part.loads, is_meant) / (units_in(part.counts, whole.unit) or math.nan)

    return Figure(
        name=name,
        unit=f"µs/{whole.unit}",
        value=sum(cost.cpu_us for cost in whole.costs if is_meant(cost.role)),
        samples=_samples(outcomes, whole.name, cost),
        better="lower",
    )


def _ratio_figure(record: RunRecord, whole: PhaseFigures, times: float) -> Figure:
    theirs = phase_figures(record.of(REFERENCE), whole.name, whole.unit).server_cpu_us
    ours = _cost_figure(record.of(RELAY), whole, None, "")
    return Figure(
        name=f"{whole.name}: ratio to the reference",
        unit="",
        value=times,
        samples=[sample / theirs for sample in ours.samples],
        better="lower",
    )


def latency_summaries(outcomes: Sequence[Outcome]) -> dict[str, Summary]:
    """Return the percentiles of all rounds together, in the order of their names' list."""
    return {
        name: merged(o.histograms[name] for o in outcomes if name in o.histograms).summary()
        for name in LATENCIES
        if any(name in outcome.histograms for outcome in outcomes)
    }


def _latency_figures(outcomes: list[Outcome]) -> list[Figure]:
    found = []
    for name, whole in latency_summaries(outcomes).items():
        summaries = [o.latencies[name] for o in outcomes if name in o.latencies]
        quantiles = [
            interval.latencies[name]
            for outcome in outcomes
            for interval in outcome.timeline
            if name in interval.latencies
        ]
        for label in ("p50", "p99"):
            by_round = [float(getattr(summary, label)) for summary in summaries]
            by_second = [float(getattr(each, label)) for each in quantiles]
            found.append(
                Figure(
                    name=f"{name} {label}",
                    unit="ms",
                    value=float(getattr(whole, label)),
                    samples=by_round if len(by_round) >= _ROUNDS_ENOUGH else by_second,
                    better="lower",
                )
            )
    return found


def _samples(
    outcomes: list[Outcome], phase: str, measure: Callable[[Interval | PhaseRecord], float]
) -> list[float]:
    """Measure every round, or where they are few every interval of some length."""
    parts: list[Interval | PhaseRecord]
    if len(outcomes) >= _ROUNDS_ENOUGH:
        parts = [each for outcome in outcomes for each in outcome.phases if each.name == phase]
    else:
        intervals = [i for outcome in outcomes for i in outcome.timeline if i.phase == phase]
        longest = max((i.seconds for i in intervals), default=0.0)
        parts = [i for i in intervals if i.seconds > longest / 2]
    values = [measure(part) for part in parts if part.seconds]
    return [value for value in values if math.isfinite(value)]


def _cpu_us(loads: Iterable[Load], is_meant: Callable[[str], bool]) -> float:
    return sum(load.cpu_s for load in loads if is_meant(load.role)) * 1e6
