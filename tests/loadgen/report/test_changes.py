"""What counts as a change from one record to another."""

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from relay.loadgen.report.changes import Change, changes
from relay.loadgen.report.record import Outcome
from tests.loadgen.report.records import outcome, record


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
