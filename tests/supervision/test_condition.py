"""The line that tells how the relay is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from relay.process.control import Heartbeat
from relay.supervision.condition import Condition, Phase, Places, Summary

SERVING = Condition(
    phase=Phase.SERVING,
    fronts=Places(2, 2),
    workers=Places(1, 1),
    told={3: Heartbeat(10, 12, 100), 4: Heartbeat(5, 5, 50)},
)


def test_the_first_line_has_who_is_there_and_no_rates_yet() -> None:
    assert Summary().line(SERVING, now_s=50) == "serving: 2 fronts, 1 worker, 15 sessions"


def test_rates_are_of_the_time_since_the_last_line() -> None:
    summary = Summary()
    summary.line(SERVING, now_s=50)
    later = replace(SERVING, told={3: Heartbeat(11, 13, 160), 4: Heartbeat(5, 5, 50)})

    assert summary.line(later, now_s=54) == (
        "serving: 2 fronts, 1 worker, 16 sessions, 0.2 logins/s, 15 messages/s"
    )
    assert summary.line(later, now_s=58).endswith("16 sessions, 0.0 logins/s, 0.0 messages/s")


def test_a_front_that_died_takes_its_figures_along_and_its_successor_begins_anew() -> None:
    summary = Summary()
    summary.line(SERVING, now_s=50)
    renewed = replace(SERVING, told={3: Heartbeat(10, 12, 100), 5: Heartbeat(4, 4, 8)})

    assert summary.line(renewed, now_s=52) == (
        "serving: 2 fronts, 1 worker, 14 sessions, 2.0 logins/s, 4.0 messages/s"
    )


@pytest.mark.parametrize(
    ("phase", "fronts", "line"),
    [
        (Phase.LAYING_OUT, Places(0, 2), "laying out the data anew"),
        (Phase.STARTING, Places(0, 1), "starting: 0 of 1 front, 1 worker"),
        (Phase.STARTING, Places(1, 2), "starting: 1 of 2 fronts, 1 worker"),
        (Phase.RENEWING, Places(2, 2), "renewing every process: 2 fronts, 1 worker"),
        (Phase.STOPPING, Places(1, 2), "stopping: 1 of 2 fronts, 1 worker"),
    ],
)
def test_each_phase_says_who_is_missing(phase: Phase, fronts: Places, line: str) -> None:
    condition = replace(SERVING, phase=phase, fronts=fronts, told={})

    assert Summary().line(condition, now_s=1) == line


def test_who_hangs_and_cannot_be_ended_is_named() -> None:
    condition = replace(SERVING, stuck=("worker 0",))

    assert not condition.gets_on
    assert SERVING.gets_on
    assert Summary().line(condition, now_s=1).endswith("; hangs and cannot be ended: worker 0")
