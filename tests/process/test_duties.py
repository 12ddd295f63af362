"""What a child owes its supervisor: signs of life and counters, each when it is due."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from relay.process.channel import SupervisorEnd, child_end, supervisor_end
from relay.process.control import Heartbeat
from relay.process.duties import COUNTERS_MS, Duties


class Child(NamedTuple):
    duties: Duties
    counters: Counter[str]
    supervisor: SupervisorEnd

    def beats(self) -> int:
        return self.supervisor.receive().count(Heartbeat())


@pytest.fixture
def child() -> Iterator[Child]:
    ours, theirs = socket.socketpair()
    control = child_end(theirs.detach())
    counters: Counter[str] = Counter()
    supervisor = supervisor_end(ours)
    yield Child(Duties("front", control, counters, heartbeat_s=0.5), counters, supervisor)
    control.close()
    supervisor.close()


def test_the_first_tick_is_a_sign_of_life(child: Child) -> None:
    child.duties.tick(1_000)

    assert child.beats() == 1
    assert child.duties.due_ms == 1_500


def test_no_sign_of_life_comes_before_it_is_due(child: Child) -> None:
    for clock_ms in (1_000, 1_200, 1_499):
        child.duties.tick(clock_ms)
    assert child.beats() == 1

    child.duties.tick(1_500)

    assert child.beats() == 1


def test_another_interval_holds_at_once(child: Child) -> None:
    child.duties.tick(1_000)
    child.beats()

    child.duties.adopt(heartbeat_s=30)
    child.duties.tick(1_001)

    assert child.beats() == 1
    assert child.duties.due_ms == 31_001


def test_counters_are_logged_when_they_have_changed(child: Child) -> None:
    child.duties.tick(0)
    with capture_logs() as unchanged:
        child.duties.tick(COUNTERS_MS)
    child.counters["frames_dropped"] += 2

    with capture_logs() as early:
        child.duties.tick(COUNTERS_MS + 1)
    with capture_logs() as logged:
        child.duties.tick(2 * COUNTERS_MS)

    assert unchanged == early == []
    assert [(each["event"], each["frames_dropped"]) for each in logged] == [("front.counters", 2)]


def test_a_sign_of_life_tells_what_the_child_has_to_tell() -> None:
    ours, theirs = socket.socketpair()
    control, supervisor = child_end(theirs.detach()), supervisor_end(ours)
    duties = Duties(
        "front", control, Counter(), heartbeat_s=1, heartbeat=lambda: Heartbeat(sessions=3)
    )

    duties.tick(0)

    assert supervisor.receive() == [Heartbeat(sessions=3)]
    control.close()
    supervisor.close()
