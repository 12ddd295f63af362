"""The arithmetic behind tables and comparisons."""

from io import StringIO
from typing import Literal

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from rich.console import Console

from relay.loadgen.faults import Faults
from relay.loadgen.figures import Change, changes, phase_figures, pss_per_connection, ratio
from relay.loadgen.histogram import Histogram, Quantiles
from relay.loadgen.machine import Machine
from relay.loadgen.page import render
from relay.loadgen.plan import MEASURE, Chat, Plan
from relay.loadgen.report import Interval, Load, Outcome, PhaseRecord, Record
from relay.loadgen.table import show, warnings
from relay.loadgen.tally import ACK, Counts

MACHINE = Machine(
    cpu="x", cores=2, memory_bytes=1, kernel="6", python="3.11", relay="0", commit="", libraries={}
)


def load(role: str, cpu_s: float, number: int = 0) -> Load:
    return Load(f"{role}", f"{role} {number}", cpu_s, 200, 20, 1)


def outcome(
    server: Literal["relay", "reference"], cpu_us: float, *, jitter: float = 0.0
) -> Outcome:
    """Ten seconds of 1,000 messages each, for `cpu_us` a message, give or take `jitter` of it."""
    histogram = Histogram()
    histogram.record([1000] * 100)
    timeline = [
        Interval(
            phase=MEASURE,
            ends_s=float(second),
            seconds=1.0,
            counts=Counts(completed=1000),
            latencies={ACK: Quantiles(1.0, 2.0, 3.0)},
            loads=[load("front", cpu_us / 1000 * (1 + jitter * (-1) ** second))],
            online=2,
            faults=0,
        )
        for second in range(10)
    ]
    phase = PhaseRecord(
        name=MEASURE,
        seconds=10.0,
        counts=Counts(completed=10_000, delivered=10_000),
        loads=[load("front", cpu_us / 200), load("front", cpu_us / 200, 1), load("generator", 1.0)],
    )
    return Outcome(
        server=server,
        url="ws://127.0.0.1:1/",
        sessions=200,
        phases=[phase],
        timeline=timeline,
        latencies={ACK: histogram.summary()},
        histograms={ACK: histogram.encode()},
        curves={ACK: histogram.curve()},
        pss_before={"front": 1_000_000},
        pss_logged_in={"front": 1_204_800},
        faults=Faults(kinds={}),
        given_up=[],
    )


def record(*outcomes: Outcome) -> Record:
    return Record(
        started="2026-01-01T00:00:00+00:00",
        command=[],
        plan=Plan(scenario=Chat()),
        machine=MACHINE,
        spawn=None,
        relay_cpus=(),
        load_cpus=(),
        outcomes=list(outcomes),
    )


def test_cost_is_cpu_over_messages_by_role_and_ours_is_not_the_servers() -> None:
    figures = phase_figures([outcome("relay", 60.0)], MEASURE, "message")

    assert figures.rate == 1000
    assert figures.server_cpu_us == pytest.approx(60.0)
    [front, generator] = figures.costs
    assert (front.processes, front.waits) == (2, 0.04)
    assert front.busy == pytest.approx(0.06)
    assert front.busiest == pytest.approx(0.03)
    assert generator.cpu_us == pytest.approx(100.0)


def test_the_ratio_is_of_the_servers_cost_in_the_same_record() -> None:
    both = record(outcome("relay", 60.0), outcome("reference", 40.0))

    assert ratio(both, MEASURE, "message") == pytest.approx(1.5)
    assert ratio(record(outcome("relay", 60.0)), MEASURE, "message") is None


def test_table_and_page_show_cost_and_ratio() -> None:
    both = record(outcome("relay", 60.0), outcome("reference", 40.0))
    out = StringIO()

    show(Console(file=out, width=120), both)

    lines = out.getvalue().splitlines()
    assert any(line.split() == ["server,", "all", "60.0"] for line in lines)
    assert any(line.split() == ["ratio", "to", "the", "reference", "1.50"] for line in lines)
    assert "<td>ratio to the reference</td><td>1.50</td>" in render(both)


def test_a_busy_generator_is_told() -> None:
    busy = outcome("relay", 60.0)
    busy.phases[0].loads[2] = load("generator", 9.5)

    assert "the generator may be the bottleneck" in warnings(record(busy))[0]
    assert warnings(record(outcome("relay", 60.0))) == []


def test_memory_a_connection_is_what_logging_in_added() -> None:
    assert pss_per_connection(outcome("relay", 60.0)) == {"front": 1024.0}


def change_of(before: Outcome, after: Outcome, name: str = "measured: server CPU") -> Change:
    return next(each for each in changes(record(before), record(after)) if each.name == name)


def test_a_change_beyond_the_noise_is_told_with_its_direction() -> None:
    worse = change_of(outcome("relay", 60.0, jitter=0.05), outcome("relay", 75.0, jitter=0.05))

    assert worse.verdict == "worse"
    assert worse.change == pytest.approx(0.25)
    assert worse.noise is not None
    assert worse.noise < 0.1
    better = change_of(outcome("relay", 60.0, jitter=0.05), outcome("relay", 45.0, jitter=0.05))
    assert better.verdict == "better"


def test_a_change_within_the_spread_of_the_seconds_is_noise() -> None:
    change = change_of(outcome("relay", 60.0, jitter=0.5), outcome("relay", 66.0, jitter=0.5))

    assert change.verdict == "noise"


def test_less_than_two_percent_is_never_a_change() -> None:
    assert change_of(outcome("relay", 60.0), outcome("relay", 60.6)).verdict == "noise"


def test_a_single_number_has_no_noise_to_compare_with() -> None:
    change = change_of(outcome("relay", 60.0), outcome("relay", 60.0), "front PSS a connection")

    assert change.verdict == "unknown"
    assert change.noise is None
