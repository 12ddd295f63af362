"""Logins, and the pairs who chat beside them."""

import asyncio

import pytest

from relay.loadgen.traffic.plan import Plan, Storm, parts_of
from relay.loadgen.verify.tally import ACK, DELIVERY, LOGIN_TIME, RECEIPT
from tests.loadgen.fakes import fake_relay, play


def test_pairs_who_came_before_chat_meanwhile_and_both_are_measured() -> None:
    plan = Plan(scenario=Storm(logins=40, rate=100, pairs=2, pair_rate=100))

    async def body() -> None:
        async with fake_relay(plan) as url:
            outcome = await play(plan, url)
        assert outcome.faults.kinds == {}
        assert outcome.counts.logins == 44
        assert len(outcome.latencies[LOGIN_TIME]) == 40, "the pairs' own are no part of the storm"
        for name in (ACK, DELIVERY, RECEIPT):
            assert len(outcome.latencies[name]) > 20
        assert outcome.counts.completed == outcome.counts.sent

    asyncio.run(body())


def test_a_storm_without_pairs_is_logins_alone() -> None:
    plan = Plan(scenario=Storm(logins=40, pairs=0))

    async def body() -> None:
        async with fake_relay(plan) as url:
            outcome = await play(plan, url)
        assert outcome.counts.logins == 40
        assert outcome.counts.sent == 0

    asyncio.run(body())


@pytest.mark.parametrize(("logins", "pairs", "procs"), [(10, 1, 1), (10, 3, 4), (7, 0, 3)])
def test_pairs_have_a_process_to_themselves(logins: int, pairs: int, procs: int) -> None:
    """Where others log in they would wait for those, and their latency would be ours."""
    storm = Storm(logins=logins, pairs=pairs)

    parts = parts_of(Plan(scenario=storm, procs=procs))

    assert len(parts) == procs + (pairs > 0)
    assert [unit for part in parts[:procs] for unit in part] == list(range(logins))
    assert [unit for part in parts[procs:] for unit in part] == [logins + n for n in range(pairs)]
