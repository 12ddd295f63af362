"""While a commit waits for a majority the worker lives, and hears when it has to end."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from relay.bus.topology import Topology
from relay.errors import NotConfirmed
from relay.process.channel import ChildEnd, SupervisorEnd, child_end, supervisor_end
from relay.process.control import Heartbeat, PeerGone, Stop, TopologyChanged
from relay.process.duties import Duties
from workers import patience
from workers.patience import Patience


class Ends(NamedTuple):
    supervisor: SupervisorEnd
    control: ChildEnd
    patience: Patience


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    supervisor, control = supervisor_end(ours), child_end(theirs.detach())
    duties = Duties("worker", control, Counter(), heartbeat_s=0.0)
    yield Ends(supervisor, control, Patience(control, duties))
    supervisor.close()
    control.close()


def test_it_shows_signs_of_life(ends: Ends) -> None:
    ends.patience.live_on()

    assert ends.supervisor.receive() == [Heartbeat()]


def test_what_comes_meanwhile_is_heard_once_in_its_order(ends: Ends) -> None:
    first, second = (TopologyChanged(Topology(epoch=number)) for number in (1, 2))
    ends.supervisor.send(first)
    ends.patience.live_on()
    assert ends.patience.came
    ends.supervisor.send(second)

    assert ends.patience.take() == [first, second]
    assert not ends.patience.came
    assert ends.patience.take() == []


def test_it_waits_for_most_of_the_time_that_a_stop_leaves(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000
    monkeypatch.setattr(patience, "clock_ms", lambda: now)
    ends.supervisor.send(Stop(10.0))
    ends.patience.live_on()
    now += 6_900
    ends.patience.live_on()
    now += 200

    with pytest.raises(NotConfirmed):
        ends.patience.live_on()
    assert ends.patience.take() == [Stop(10.0)]


def test_a_stop_that_was_taken_before_the_commit_ends_it_too(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000
    monkeypatch.setattr(patience, "clock_ms", lambda: now)
    ends.supervisor.send(Stop(1.0))
    ends.patience.take()
    now += 1_000

    with pytest.raises(NotConfirmed):
        ends.patience.live_on()


def test_without_a_supervisor_nothing_is_waited_for(ends: Ends) -> None:
    ends.supervisor.close()

    with pytest.raises(NotConfirmed):
        ends.patience.live_on()
    assert ends.patience.take()[-1] == PeerGone()
