"""Logins, and the pairs who chat beside them."""

import asyncio

import pytest

from relay.loadgen.traffic.plan import Plan, Storm, share_of
from relay.loadgen.traffic.storm import pairs_in
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


@pytest.mark.parametrize(("logins", "pairs"), [(10, 1), (10, 3), (3, 10), (7, 7), (1000, 0)])
def test_each_pair_is_of_one_process(logins: int, pairs: int) -> None:
    storm = Storm(logins=logins, pairs=pairs)

    taken = [n for i in range(3) for n in pairs_in(share_of(logins, i, 3), storm)]

    assert taken == list(range(pairs))
