"""The arithmetic behind tables and pages."""

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from relay.loadgen.report.figures import phase_figures, pss_per_connection, ratio
from relay.loadgen.traffic.plan import MEASURE
from tests.loadgen.report.records import outcome, record


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


def test_memory_a_connection_is_what_logging_in_added() -> None:
    assert pss_per_connection(outcome("relay", 60.0)) == {"front": 1024.0}
