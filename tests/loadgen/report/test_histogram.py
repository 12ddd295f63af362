"""What is kept of latencies, and that processes can be added up."""

from random import Random

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

from relay.loadgen.report.histogram import Histogram, Summary, merged


def values() -> list[int]:
    random = Random(3)
    return [int(random.lognormvariate(8, 2)) for _ in range(5000)] + [0, 1, 2047, 2048, 10**10]


def recorded(micros: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record(micros)
    return histogram


def test_percentiles_are_within_a_thousandth() -> None:
    micros = sorted(values())
    summary = recorded(micros).summary()

    assert summary.count == len(micros)
    for value, share in ((summary.p50, 0.5), (summary.p90, 0.9), (summary.p99, 0.99)):
        assert value * 1000 == pytest.approx(micros[int(share * len(micros))], rel=0.01)
    assert summary.max == pytest.approx(3_600_000, rel=0.001)  # an hour: more is not told apart


def test_values_are_counted_as_the_library_counts_them() -> None:
    expected = HdrHistogram(1, 3_600_000_000, 3)
    for value in values():
        expected.record_value(min(value, 3_600_000_000))

    assert recorded(values()).summary().p99 * 1000 == expected.get_value_at_percentile(99)
    assert recorded(values()).count == expected.get_total_count()


def test_parts_add_up_to_the_whole() -> None:
    micros = values()
    parts = [recorded(micros[at::3]).encode() for at in range(3)]

    assert merged(parts).summary() == recorded(micros).summary()


def test_nothing_has_no_percentiles() -> None:
    assert Histogram().summary() == Summary()
    assert Histogram().curve() == []
