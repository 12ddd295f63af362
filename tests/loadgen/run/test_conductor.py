"""What the conductor does when its own side breaks."""

import asyncio

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from relay.loadgen.report.record import Interval
from relay.loadgen.run.conductor import Run, conduct
from relay.loadgen.traffic.plan import Chat, Phase, Plan
from tests.loadgen.fakes import fake_relay


class Broken:
    """A watcher with a bug."""

    def phase_begins(self, phase: Phase) -> None:
        pass

    def interval_ends(self, interval: Interval, unfinished: int) -> None:
        raise ZeroDivisionError("a bug")


def test_a_bug_while_a_report_is_read_ends_the_run_with_that_error() -> None:
    plan = Plan(scenario=Chat(pairs=1), warm_up_s=0.05, measure_s=0.2)

    async def body() -> None:
        async with fake_relay(plan) as url:
            await conduct(Run(plan=plan, server="relay", url=url), None, Broken())

    with pytest.raises(ZeroDivisionError, match="a bug"):
        asyncio.run(body())
