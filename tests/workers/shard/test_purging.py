"""What an operator throws away, and what it leaves."""

from __future__ import annotations

import pytest

from relay.bus.envelopes import Refused, Stored
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    HIKE,
    ClusterHarness,
    Clusters,
    ack,
    group_of,
    to_group,
    to_user,
)
from workers.shard import purging
from workers.shard.purging import Purging
from workers.store.orders import Order, Purged

DAY_MS = 86_400_000
# Batches that an order may need here, and far more.
MAX_STEPS = 100


@pytest.fixture
def single(clusters: Clusters) -> ClusterHarness:
    return clusters(groups=group_of(HIKE, ALICE, BOB))


def step(cluster: ClusterHarness, order: Purging) -> None:
    cluster.decide(lambda shard: shard.purge(order, day_ms=cluster.now_ms))


def carry_out(cluster: ClusterHarness, order: Order) -> Purging:
    """Carry an order out to its end; return how it went."""
    carried_out = Purging(order)
    for _ in range(MAX_STEPS):
        step(cluster, carried_out)
        if carried_out.is_done:
            return carried_out
    raise AssertionError(f"not done in {MAX_STEPS} steps: {carried_out.purged}")


def is_delivered_anew(cluster: ClusterHarness, chat: str, message_id: str) -> bool:
    """Send again what was sent before; tell whether it counts as new."""
    before = len(cluster.mail(chat))
    assert isinstance(cluster.feed(to_user(ALICE, chat, message_id))[0], Stored)
    return len(cluster.mail(chat)) > before


def test_what_waits_for_a_user_goes_and_nobody_else_s(single: ClusterHarness) -> None:
    for message_id in ("M1", "M2", "M3"):
        single.feed(to_user(ALICE, BOB, message_id), to_user(ALICE, CAROL, message_id))
    single.feed(to_group(ALICE, HIKE, "G1"))
    single.feed(to_user(BOB, CAROL, "OWN"), ack(CAROL, "OWN", author=BOB))
    of_carol = single.mail(CAROL)

    order = carry_out(single, Order(user=BOB))

    assert single.mail(BOB) == []
    assert single.mail(CAROL) == of_carol
    purged = order.purged
    assert (purged.messages, purged.group_messages, purged.receipts) == (3, 1, 1)
    assert purged.size > 0
    assert single.counters()["entries_purged"] == purged.entries == 5


def test_what_was_known_of_a_user_s_messages_goes_too(single: ClusterHarness) -> None:
    """So a repeat counts as new, for nobody has it."""
    single.feed(to_user(ALICE, BOB, "M1"), to_user(ALICE, CAROL, "M1"))

    order = carry_out(single, Order(user=BOB))

    assert order.purged.known == 1
    assert is_delivered_anew(single, BOB, "M1")
    assert not is_delivered_anew(single, CAROL, "M1")
    answer = single.feed(to_user(ALICE, CAROL, "M1", "another text"))[0]
    assert isinstance(answer, Refused)


def test_what_waits_too_long_goes_and_what_is_younger_stays(single: ClusterHarness) -> None:
    single.feed(to_user(ALICE, BOB, "OLD"), to_user(ALICE, CAROL, "OLD"))
    single.now_ms += 8 * DAY_MS
    single.feed(to_user(ALICE, BOB, "YOUNG"))
    (_, (young, _)) = single.mail(BOB)

    order = carry_out(single, Order(older_than_ms=7 * DAY_MS))

    assert [seq for seq, _ in single.mail(BOB)] == [young]
    assert single.mail(CAROL) == []
    assert (order.purged.messages, order.purged.known) == (2, 0)
    assert not is_delivered_anew(single, BOB, "OLD")


@pytest.mark.parametrize("order", [Order(user=BOB), Order(older_than_ms=1)])
def test_a_step_is_bounded_and_the_next_goes_on(
    single: ClusterHarness, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "MAX_PURGED_ENTRIES", 2)
    monkeypatch.setattr(purging, "MAX_LOOKED_AT", 2)
    for number in range(5):
        single.feed(to_user(ALICE, BOB, f"M{number}"))
    single.now_ms += 1000
    carried_out = Purging(order)

    left = []
    while not carried_out.is_done:
        step(single, carried_out)
        left.append(len(single.mail(BOB)))

    assert left[:3] == [3, 1, 0]
    assert carried_out.purged.messages == 5
    assert carried_out.purged.known == (5 if order.user else 0)


def test_what_comes_while_it_goes_on_stays(
    single: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "MAX_PURGED_ENTRIES", 1)
    single.feed(to_user(ALICE, BOB, "M1"), to_user(ALICE, BOB, "M2"))
    carried_out = Purging(Order(user=BOB))
    step(single, carried_out)
    single.feed(to_user(ALICE, BOB, "MEANWHILE"))
    (_, (meanwhile, _)) = single.mail(BOB)

    while not carried_out.is_done:
        step(single, carried_out)

    assert [seq for seq, _ in single.mail(BOB)] == [meanwhile]
    assert not is_delivered_anew(single, BOB, "MEANWHILE")
    assert carried_out.purged == Purged(messages=2, size=carried_out.purged.size, known=2)
