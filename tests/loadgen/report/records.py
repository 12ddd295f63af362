"""Records of runs that never were, to show and to compare."""

from typing import Literal

from relay.loadgen.report.histogram import Histogram, Quantiles
from relay.loadgen.report.record import Interval, Load, Machine, Outcome, PhaseRecord, RunRecord
from relay.loadgen.traffic.plan import MEASURE, Chat, Plan
from relay.loadgen.verify.faults import Faults
from relay.loadgen.verify.tally import ACK, Counts

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


def record(*outcomes: Outcome) -> RunRecord:
    return RunRecord(
        started="2026-01-01T00:00:00+00:00",
        command=[],
        plan=Plan(scenario=Chat()),
        machine=MACHINE,
        spawn=None,
        relay_cpus=(),
        load_cpus=(),
        outcomes=list(outcomes),
    )
