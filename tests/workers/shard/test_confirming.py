"""A frame that confirms many receipts: they go a few a batch, so that others have their turn."""

from __future__ import annotations

import pytest

from relay.bus.envelopes import CloseSession, Confirmed, Seq
from tests.workers.shard.harness import ALICE, BOB, ClusterHarness, ack, to_user
from workers.shard import pages

IDS = [f"M{number}" for number in range(10)]


@pytest.fixture(autouse=True)
def three_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_CONFIRMED", 3)


@pytest.fixture(params=["live", "in pages"])
def heavy(cluster: ClusterHarness, request: pytest.FixtureRequest) -> ClusterHarness:
    """A relay that has sent ten receipts to Alice, none of them confirmed."""
    if request.param == "live":
        cluster.login(ALICE, 1)
    cluster.feed(*(to_user(ALICE, BOB, message_id) for message_id in IDS))
    for message_id in IDS:
        cluster.feed(ack(BOB, message_id, author=ALICE))
    if request.param == "in pages":
        cluster.login(ALICE, 1)
    return cluster


def left(cluster: ClusterHarness) -> list[Seq]:
    return [Seq(seq) for seq, _ in cluster.mail(ALICE)]


def go_on(cluster: ClusterHarness) -> int:
    """Run the batches that the loop would, until nothing is left to do; return how many."""
    batches = 0
    while cluster.shard.is_behind:
        cluster.decide(lambda _: None)
        batches += 1
        assert batches < 100
    return batches


def test_they_go_a_few_a_batch_the_oldest_first(heavy: ClusterHarness) -> None:
    seqs = left(heavy)

    heavy.feed(Confirmed(1, seqs[8]))

    assert left(heavy) == seqs[3:]
    assert go_on(heavy) == 3  # the last finds that nothing is left
    assert left(heavy) == seqs[9:]


def test_frames_of_one_batch_share_what_it_may(heavy: ClusterHarness) -> None:
    seqs = left(heavy)

    heavy.feed(*(Confirmed(1, seq) for seq in seqs))

    assert left(heavy) == seqs[3:]
    go_on(heavy)
    assert left(heavy) == []


def test_a_later_frame_counts_while_an_earlier_one_is_not_done(heavy: ClusterHarness) -> None:
    seqs = left(heavy)
    heavy.feed(Confirmed(1, seqs[8]))

    heavy.feed(Confirmed(1, seqs[4]))  # as after a redelivery
    go_on(heavy)

    assert left(heavy) == seqs[9:]


def test_what_is_left_when_the_session_ends_comes_again(heavy: ClusterHarness) -> None:
    seqs = left(heavy)
    heavy.feed(Confirmed(1, seqs[9]), CloseSession(1))
    go_on(heavy)

    assert len(heavy.login(ALICE, 2)) == len(left(heavy)) == 7
