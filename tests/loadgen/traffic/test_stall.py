"""Latency counts from the intended time, also while the server stands still."""

import asyncio
from collections.abc import Callable

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from relay.loadgen.traffic.plan import MEASURE, SETTLE, Chat, Plan
from relay.loadgen.verify.tally import ACK, DELIVERY, LATE
from tests.loadgen.fakes import Outcome, StallingConnection, fake_relay, play

pytestmark = pytest.mark.slow

RATE = 200.0
STALL_S = 1.0
BEFORE_S = 0.2
AFTER_S = 0.25  # how long a machine may take for what piled up, besides what it lets others run
TICK_S = 0.01


class Machine:
    """How long the machine let this process wait for its turn, at most."""

    late_s = 0.0

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(TICK_S)
            self.late_s = max(self.late_s, loop.time() - began - TICK_S)


def test_a_stall_shows_in_every_message_that_was_meant_to_leave_in_it() -> None:
    # given: 200 messages a second for 1.5 s, and a server that does nothing for one of them
    plan = Plan(scenario=Chat(pairs=5, rate=RATE), warm_up_s=0.1, measure_s=1.5)

    # What a busy machine puts off: when each phase began, and when the stall began and ended.
    phases: dict[str, float] = {}
    turns: list[float] = []
    machine = Machine()

    async def body() -> Outcome:
        loop = asyncio.get_running_loop()

        def turn(change: Callable[[], None]) -> None:
            turns.append(loop.time())
            change()

        def stall(phase: str) -> None:
            phases[phase] = loop.time()
            if phase == MEASURE:
                loop.call_later(BEFORE_S, turn, StallingConnection.stall)
                loop.call_later(BEFORE_S + STALL_S, turn, StallingConnection.go_on)

        watching = loop.create_task(machine.watch())
        try:
            async with fake_relay(plan, connection=StallingConnection) as url:
                return await play(plan, url, on_phase=stall)
        finally:
            watching.cancel()

    # when
    outcome = asyncio.run(body())

    # then: one that was meant to leave x seconds before the end of the stall took x seconds; a
    # generator that waits for answers before it sends on would have seen a handful of them
    assert not outcome.faults
    stalled_s = turns[1] - turns[0]
    measured_s = phases[SETTLE] - phases[MEASURE]
    after_s = AFTER_S + 2 * machine.late_s
    for name in (ACK, DELIVERY):
        millis = [micros / 1000 for micros in outcome.latencies[name]]
        assert len(millis) == pytest.approx(RATE * measured_s, rel=0.05)
        assert stalled_s * 800 <= max(millis) <= (stalled_s + after_s) * 1000
        for threshold in (250, 500, 750):
            slower = sum(each > threshold for each in millis)
            least = RATE * (stalled_s - threshold / 1000)
            assert least * 0.75 <= slower <= least * 1.25 + RATE * after_s
    # and: the messages did leave when they were meant to
    assert max(outcome.latencies[LATE]) < (STALL_S / 2 + machine.late_s) * 1e6
