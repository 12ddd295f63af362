"""Expiry: entries past their TTL and messages past retention go, in bounded steps."""

import pytest

from relay.bus.envelopes import Refused
from tests import plain
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    DAY_MS,
    HIKE,
    ClusterHarness,
    Clusters,
    ack,
    frames_of,
    group_of,
    to_group,
    to_user,
)
from workers.shard import expiry
from workers.shard.shard import Shard

TTL_MS = RETENTION_MS = 30 * DAY_MS


@pytest.fixture
def cluster(clusters: Clusters) -> ClusterHarness:
    return clusters(groups=group_of(HIKE, ALICE, BOB, "carol"))


def sweep_once(cluster: ClusterHarness, after: bytes = b"", *, max_boxes: int = 100) -> bytes:
    swept: list[bytes] = []

    def decide(shard: Shard) -> None:
        swept.append(shard.sweep(after, max_boxes=max_boxes, day_ms=cluster.now_ms))

    for each in cluster.shards:
        each.fold_in()
    cluster.decide(decide)
    return swept[0]


def test_what_is_not_old_enough_stays(cluster: ClusterHarness) -> None:
    cluster.feed(to_user(ALICE, BOB, "M1"), to_group(ALICE, HIKE, "M2"))

    cluster.now_ms += TTL_MS
    cluster.sweep()

    assert len(cluster.login(BOB, 1)) == 2


def test_entries_past_their_time_go_with_all_that_belongs_to_them(
    cluster: ClusterHarness,
) -> None:
    """2.7; the harness checks totals, bodies and the index of receipts."""
    cluster.feed(to_user(ALICE, BOB, "M1"), to_group(ALICE, HIKE, "M2"))
    cluster.feed(ack(BOB, "M1", author=ALICE))
    cluster.now_ms += 1000
    late = to_user(ALICE, BOB, "M3")
    cluster.feed(late)

    cluster.now_ms += TTL_MS - 999
    cluster.sweep()

    assert [entry.frame for entry in cluster.login(BOB, 1)] == [late.frame]
    assert cluster.login("carol", 2) == cluster.login(ALICE, 3) == []
    assert cluster.shards[0].tree("bodies") == {}
    assert cluster.counters()["entries_expired"] == 3


def test_entries_of_a_present_user_go_too_and_the_session_lives_on(
    cluster: ClusterHarness,
) -> None:
    cluster.login(BOB, 1)
    cluster.login(ALICE, 2)
    cluster.feed(to_user(ALICE, BOB, "M1"), to_user(BOB, ALICE, "M2"))
    cluster.feed(ack(ALICE, "M2", author=BOB))
    ((receipt_seq, _),) = [each for each in cluster.mail(BOB) if each[1][:1] == b"r"]
    cluster.now_ms += TTL_MS + 1
    cluster.sweep()

    assert cluster.mail(BOB) == []
    assert cluster.feed(plain.confirmed(1, receipt_seq)) == []
    send = to_user(ALICE, BOB, "M4")
    assert frames_of(cluster.feed(send), 1) == [send.frame]


def test_an_expired_message_may_still_be_acked(cluster: ClusterHarness) -> None:
    """It had been delivered: what is known of it lives as long as the entry or longer."""
    cluster.login(BOB, 1)
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.now_ms += TTL_MS - 1
    cluster.feed(to_user(ALICE, BOB, "M2"))
    cluster.now_ms += TTL_MS - 1
    cluster.sweep()
    assert len(cluster.mail(BOB)) == 1

    cluster.feed(ack(BOB, "M2", author=ALICE))

    assert [entry.receipt_for for entry in cluster.login(ALICE, 2)] == ["M2"]


def test_a_repeat_is_recognised_until_retention_ends(cluster: ClusterHarness) -> None:
    """R20, section 5."""
    cluster.feed(to_user(ALICE, BOB, "M1"), to_group(ALICE, HIKE, "M2"))
    cluster.feed(ack(BOB, "M1", author=ALICE))

    cluster.now_ms += RETENTION_MS
    cluster.sweep()
    conflicts = cluster.feed(to_user(ALICE, BOB, "M1", "x"), to_group(ALICE, HIKE, "M2", "x"))
    assert [item.code for item in conflicts if isinstance(item, Refused)] == [409, 409]

    cluster.now_ms += 1
    cluster.sweep()
    answer = cluster.feed(to_user(ALICE, BOB, "M1", "x"), to_group(ALICE, HIKE, "M2", "x"))
    assert not any(isinstance(item, Refused) for item in answer)
    assert cluster.counters()["messages_forgotten"] == 4, "two sends and two group copies"


def test_what_many_small_batches_brought_is_forgotten_as_fast_as_it_came(
    cluster: ClusterHarness,
) -> None:
    """Under light load each message is a batch of its own; memory of them must not pile up."""
    for number in range(30):
        cluster.feed(to_user(ALICE, BOB, f"M{number}"))
    cluster.feed(ack(BOB, [f"M{number}" for number in range(30)], author=ALICE))

    cluster.now_ms += RETENTION_MS + 1
    sweep_once(cluster)

    assert cluster.shards[0].tree("messages") == {}
    assert cluster.shards[0].tree("expiry") == {}


def test_a_sweep_forgets_a_bounded_number_of_messages(
    cluster: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "MAX_FORGOTTEN", 5)
    for first in range(0, 12, 2):
        cluster.feed(*(to_user(ALICE, BOB, f"M{number}") for number in (first, first + 1)))
    cluster.now_ms += RETENTION_MS + 1

    left = []
    for _ in range(3):
        sweep_once(cluster)
        left.append(len(cluster.shards[0].tree("messages")))

    assert left == [6, 0, 0]


def test_a_sweep_looks_at_a_bounded_number_of_mailboxes_and_goes_on_there(
    cluster: ClusterHarness,
) -> None:
    users = [f"user{number}" for number in range(5)]
    cluster.feed(*(to_user(ALICE, user, "M1") for user in users))
    cluster.now_ms += TTL_MS + 1

    left = []
    after = b""
    for _ in range(3):
        after = sweep_once(cluster, after, max_boxes=2)
        left.append(len(cluster.shards[0].tree("mail")))

    assert left == [3, 1, 0]
    assert after == b"", "it came round"


def test_a_large_mailbox_is_swept_in_steps(
    cluster: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "MAX_SWEPT_ENTRIES", 2)
    cluster.feed(*(to_user(ALICE, BOB, f"M{number}") for number in range(5)))
    cluster.now_ms += TTL_MS + 1

    left = []
    after = b""
    for _ in range(3):
        after = sweep_once(cluster, after)
        left.append(len(cluster.mail(BOB)))

    assert left == [3, 1, 0]


def test_a_sweep_of_an_empty_store_comes_round_at_once(cluster: ClusterHarness) -> None:
    assert sweep_once(cluster) == b""


def sweep_by(cluster: ClusterHarness, day_ms: int, *, moved_ms: int = 0) -> None:
    for each in cluster.shards:
        each.fold_in()

    def decide(shard: Shard) -> None:
        shard.sweep(b"", max_boxes=100, day_ms=day_ms, moved_ms=moved_ms)

    cluster.decide(decide)


def test_what_was_stored_while_the_clock_was_ahead_expires_in_its_time(
    cluster: ClusterHarness,
) -> None:
    """The numbers say 730 days later, and go on from there."""
    began_ms = cluster.now_ms
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.now_ms += 730 * DAY_MS
    cluster.feed(to_user(ALICE, BOB, "M2"))
    sweep_by(cluster, began_ms + 1000)
    cluster.now_ms = began_ms + 2000
    cluster.feed(to_user(ALICE, BOB, "M3"))
    assert len(cluster.mail(BOB)) == 3

    cluster.now_ms = began_ms + 3 * DAY_MS
    cluster.feed(to_user(ALICE, BOB, "M4"))
    sweep_by(cluster, cluster.now_ms)
    sweep_by(cluster, began_ms + TTL_MS + 1)
    assert len(cluster.mail(BOB)) == 3, "M1 had its time"
    again = cluster.feed(to_user(ALICE, BOB, "M1", "x"), to_user(ALICE, BOB, "M2", "x"))
    assert [item.code for item in again if isinstance(item, Refused)] == [409], "M2 is known"

    # Noted a second after it came, then three days later with M3 and M4.
    sweep_by(cluster, began_ms + TTL_MS + 2000)
    assert [entry[1].split()[1] for entry in cluster.mail(BOB)] == [b"M3", b"M4", b"M1"]
    sweep_by(cluster, began_ms + TTL_MS + 3 * DAY_MS)
    assert [entry[1].split()[1] for entry in cluster.mail(BOB)] == [b"M1"]


def test_what_it_knows_of_the_day_outlives_the_worker(cluster: ClusterHarness) -> None:
    began_ms = cluster.now_ms
    cluster.now_ms += 730 * DAY_MS
    cluster.feed(to_user(ALICE, BOB, "M1"))
    sweep_by(cluster, began_ms)
    cluster.now_ms = began_ms
    cluster.kill(0)
    cluster.start(0)

    with cluster.shards[0].store.reading() as batch:
        assert batch.day_us() == began_ms * 1000
    sweep_by(cluster, began_ms + TTL_MS - 1)
    assert len(cluster.mail(BOB)) == 1
    sweep_by(cluster, began_ms + TTL_MS + 1)
    assert len(cluster.mail(BOB)) == 0
