"""Quantities as people write them."""

import pytest

from relay.loadgen.cli.units import parse_cpus, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300", 300), ("300s", 300), ("250ms", 0.25), ("20m", 1200), ("1h30m", 5400), ("1.5s", 1.5)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1d", "1s1m", "١s"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_cpu_lists_are_read() -> None:
    assert parse_cpus("3,0-1,1") == (0, 1, 3)
