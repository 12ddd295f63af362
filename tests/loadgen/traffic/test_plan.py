"""What a run is, by its plan."""

import pytest

from relay.loadgen.traffic.plan import Offline, Plan, phases_of, sessions_of, share_of


@pytest.mark.parametrize("procs", [1, 3, 7])
def test_processes_share_everything_once(procs: int) -> None:
    shares = [share_of(100, index, procs) for index in range(procs)]

    assert [unit for share in shares for unit in share] == list(range(100))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_an_offline_run_fills_before_it_drains() -> None:
    plan = Plan(scenario=Offline(users=3))

    assert [phase.name for phase in phases_of(plan)] == ["login", "fill", "drain"]
    assert sessions_of(plan.scenario) == 6
