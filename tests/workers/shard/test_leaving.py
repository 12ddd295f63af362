"""The end of a session with many receipts: they are made findable a few a batch (2.4.5)."""

from __future__ import annotations

import pytest

from relay.bus.envelopes import CloseSession
from tests import plain
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    ClusterHarness,
    ack,
    receipt,
    searches,
    to_user,
)
from workers.shard import mailboxes
from workers.shard.mailbox import FINDABLE_RECEIPT, RECEIPT

IDS = [f"M{number}" for number in range(10)]


@pytest.fixture(autouse=True)
def three_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailboxes, "MAX_PREPARED", 3)


@pytest.fixture
def heavy(cluster: ClusterHarness) -> ClusterHarness:
    """A relay where ten receipts came while Alice was there, none of them confirmed."""
    cluster.login(ALICE, 1)
    cluster.feed(*(to_user(ALICE, BOB, message_id) for message_id in IDS))
    for message_id in IDS:
        cluster.feed(ack(BOB, message_id, author=ALICE))
    return cluster


def kinds(cluster: ClusterHarness) -> list[int]:
    return [entry[0] for _, entry in cluster.mail(ALICE)]


def go_on(cluster: ClusterHarness) -> int:
    """Run the batches that the loop would, until nothing is left to do; return how many."""
    batches = 0
    while cluster.shard.is_behind:
        cluster.decide(lambda _: None)
        batches += 1
        assert batches < 100
    return batches


def test_a_session_that_ends_is_left_a_few_receipts_a_batch(heavy: ClusterHarness) -> None:
    heavy.feed(CloseSession(1))

    assert kinds(heavy) == [FINDABLE_RECEIPT] * 3 + [RECEIPT] * 7
    assert go_on(heavy) == 3
    assert kinds(heavy) == [FINDABLE_RECEIPT] * 10
    assert not heavy.shard.is_behind


def test_the_end_of_a_session_searches_nothing_however_much_waits(
    heavy: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavy.feed(CloseSession(1))
    go_on(heavy)
    begun = searches(monkeypatch)

    for number in range(2, 6):
        heavy.feed(plain.open_session(number, ALICE, 0, 0))
        del begun[:]  # the page of the login
        heavy.feed(CloseSession(number))
        assert begun == []
        assert not heavy.shard.is_behind


def test_a_level_that_rises_meanwhile_takes_the_place_of_the_lower_one(
    heavy: ClusterHarness,
) -> None:
    heavy.feed(CloseSession(1))
    for message_id in (IDS[0], IDS[9]):
        heavy.feed(ack(BOB, message_id, 3, author=ALICE))
    go_on(heavy)

    entries = heavy.login(ALICE, 2)

    assert [entry.frame for entry in entries] == [
        *(receipt(ALICE, BOB, message_id) for message_id in IDS[1:9]),
        receipt(ALICE, BOB, IDS[0], 3),
        receipt(ALICE, BOB, IDS[9], 3),
    ]


def test_a_login_meanwhile_gets_every_receipt_in_rising_order(heavy: ClusterHarness) -> None:
    """One or two of a message: of those that came since, the lower one may still be there."""
    heavy.feed(CloseSession(1))
    heavy.feed(ack(BOB, IDS[9], 3, author=ALICE))

    entries = [entry.frame for entry in heavy.login(ALICE, 2)]

    assert [frame for frame in entries if frame != receipt(ALICE, BOB, IDS[9])] == [
        *(receipt(ALICE, BOB, message_id) for message_id in IDS[:9]),
        receipt(ALICE, BOB, IDS[9], 3),
    ]
    assert not heavy.shard.is_behind
    heavy.feed(plain.confirmed(2, heavy.mail(ALICE)[-1][0]))
    assert heavy.mail(ALICE) == []
    heavy.feed(CloseSession(2))
    assert not heavy.shard.is_behind


def test_a_crash_meanwhile_leaves_it_to_whoever_touches_the_mailbox_next(
    heavy: ClusterHarness,
) -> None:
    heavy.feed(CloseSession(1))
    heavy.restart()

    heavy.feed(ack(BOB, IDS[0], 3, author=ALICE))
    assert go_on(heavy) > 1

    assert kinds(heavy) == [FINDABLE_RECEIPT] * 10
    assert heavy.login(ALICE, 2)[-1].frame == receipt(ALICE, BOB, IDS[0], 3)


def test_a_batch_that_stores_nothing_leaves_what_is_left_to_do(heavy: ClusterHarness) -> None:
    heavy.feed(CloseSession(1))
    before = kinds(heavy)
    store, shard = heavy.owner(ALICE).store, heavy.shard
    with store.reading() as batch:
        shard.begin(batch, now_ms=heavy.now_ms)
        shard.end(stores=False)

    assert shard.is_behind
    assert kinds(heavy) == before
    go_on(heavy)
    assert kinds(heavy) == [FINDABLE_RECEIPT] * 10


def test_while_no_send_can_be_stored_it_waits_for_room(heavy: ClusterHarness) -> None:
    """What room is left is for acks."""
    harness = heavy.owner(ALICE)
    harness.refusal = "the disk is full"
    heavy.feed(CloseSession(1))

    assert kinds(heavy) == [RECEIPT] * 10
    assert not heavy.shard.is_behind

    harness.refusal = ""
    heavy.decide(lambda _: None)
    go_on(heavy)
    assert kinds(heavy) == [FINDABLE_RECEIPT] * 10


def test_what_is_confirmed_needs_no_preparing(heavy: ClusterHarness) -> None:
    heavy.feed(plain.confirmed(1, heavy.mail(ALICE)[7][0]))

    heavy.feed(CloseSession(1))

    assert kinds(heavy) == [FINDABLE_RECEIPT] * 2
    assert not heavy.shard.is_behind
