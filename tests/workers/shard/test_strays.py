"""Acks of unknown messages: to their author live and once, unless a worker knows better (R19)."""

from collections.abc import Iterator

import pytest

from relay.bus.envelopes import (
    Acked,
    ToFront,
)
from tests import plain
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    HIKE,
    NOW_S,
    ClusterHarness,
    Clusters,
    ack,
    frames_of,
    group_of,
    local_of,
    receipt,
    settings_with,
    to_group,
    to_user,
)
from workers.shard.strays import MAX_STRAYS
from workers.store.batch import Batch

A, B = 1, 2  # the sessions of Alice, who writes, and Bob


@pytest.fixture(params=[1, 3], ids=["1 worker", "3 workers"])
def cluster(clusters: Clusters, request: pytest.FixtureRequest) -> ClusterHarness:
    return clusters(workers=request.param, groups=group_of(HIKE, ALICE, BOB, CAROL))


@pytest.fixture
def single(clusters: Clusters) -> ClusterHarness:
    return clusters()


def heard(answer: list[ToFront]) -> list[bytes]:
    """What Alice is told."""
    return frames_of(answer, A)


@pytest.mark.parametrize(
    ("claimed", "told"), [(0, 0), (NOW_S + 300, NOW_S + 300), (NOW_S + 301, NOW_S), (-1, NOW_S)]
)
def test_the_time_of_an_unknown_ack_has_no_lower_bound(
    single: ClusterHarness, claimed: int, told: int
) -> None:
    single.login(ALICE, A)

    answer = single.feed(ack(BOB, "unknown", author=ALICE, t=claimed))

    assert heard(answer) == [receipt(ALICE, BOB, "unknown", t=told)]


def test_an_ack_of_an_unknown_message_is_relayed_live_and_once(cluster: ClusterHarness) -> None:
    """R19 b: with the acker's own name, and not stored."""
    cluster.login(ALICE, A)

    answer = cluster.feed(ack(BOB, "unknown", 3, author=ALICE, to=CAROL))

    assert answer == [plain.deliver(A, 0, "unknown", receipt(ALICE, BOB, "unknown", 3))]
    assert cluster.mail(ALICE) == []


def test_an_ack_of_an_unknown_message_of_an_absent_author_is_dropped(
    cluster: ClusterHarness,
) -> None:
    assert cluster.feed(ack(BOB, "unknown", author=ALICE)) == []
    assert cluster.login(ALICE, A) == []
    assert cluster.counters()["stray_acks_dropped"] == 1


def test_an_ack_of_a_known_message_by_a_stranger_is_dropped(cluster: ClusterHarness) -> None:
    """R19 a: whoever of the workers knows it."""
    cluster.login(ALICE, A)
    for recipient in ("anna", "berta", "clara", "doris"):
        cluster.feed(to_user(ALICE, recipient, f"to {recipient}"))
    cluster.feed(to_group(ALICE, HIKE, "to all"))

    for recipient in ("anna", "berta", "clara", "doris"):
        assert cluster.feed(ack(DAVE, f"to {recipient}", author=ALICE)) == []
    assert cluster.feed(ack(DAVE, "to all", author=ALICE, group=HIKE)) == []
    assert cluster.feed(ack(DAVE, "to all", author=ALICE)) == []
    assert cluster.counters()["stray_acks_dropped"] == 6


def test_the_same_id_of_another_author_makes_no_message_known(cluster: ClusterHarness) -> None:
    cluster.login(ALICE, A)
    cluster.feed(to_user(CAROL, DAVE, "M1"))

    assert heard(cluster.feed(ack(BOB, "M1", author=ALICE))) == [receipt(ALICE, BOB, "M1")]


def test_an_unknown_group_ack_is_relayed_among_members(cluster: ClusterHarness) -> None:
    cluster.login(ALICE, A)

    answer = cluster.feed(ack(BOB, "unknown", author=ALICE, group=HIKE))

    assert heard(answer) == [receipt(ALICE, BOB, "unknown", group=HIKE)]


@pytest.mark.parametrize(
    ("acker", "author", "group"),
    [(DAVE, ALICE, HIKE), (BOB, DAVE, HIKE), (BOB, ALICE, "917069852821-999")],
    ids=["acker is no member", "author is no member", "unknown group"],
)
def test_an_unknown_group_ack_is_dropped_where_either_is_no_member(
    cluster: ClusterHarness, acker: str, author: str, group: str
) -> None:
    """R19 b."""
    cluster.login(author, A)

    assert cluster.feed(ack(acker, "unknown", author=author, group=group)) == []
    assert cluster.counters()["stray_acks_dropped"] == 1


def test_unknown_acks_can_be_turned_off(clusters: Clusters) -> None:
    cluster = clusters(workers=3, settings=settings_with(acks={"relay_unknown_acks": False}))
    cluster.login(ALICE, A)

    assert cluster.feed(ack(BOB, "unknown", author=ALICE)) == []
    assert cluster.counters()["stray_acks_dropped"] == 1


def test_an_unknown_ack_does_not_jump_a_slow_author_s_queue(single: ClusterHarness) -> None:
    single.login(ALICE, A)
    single.feed(plain.pause(A, 0))

    assert single.feed(ack(BOB, "unknown", author=ALICE)) == []


def test_an_unknown_ack_waits_for_no_worker(clusters: Clusters) -> None:
    """Best effort: a worker on its way that is away loses it."""
    cluster = clusters(workers=3)
    acker, author = local_of(0, workers=3), local_of(1, workers=3)
    cluster.login(author, A)
    cluster.kill(2)

    assert cluster.feed(ack(acker, "unknown", author=author)) == []

    assert cluster.start(2) == []
    assert heard(cluster.feed(ack(acker, "unknown", author=author))) != []


def test_acks_that_match_nothing_do_not_pile_up_between_workers(clusters: Clusters) -> None:
    """I6: they are best effort and no credit bounds them, so a batch passes on only so many."""
    cluster = clusters(workers=2, settings=settings_with(acks={"unknown_acks_per_s": 0.0}))
    acker, author = local_of(0, workers=2), local_of(1, workers=2)
    ids = [f"unknown{number}" for number in range(MAX_STRAYS)]

    cluster.feed(*(Acked(acker, ids, 2, author, False, acker, False, -1) for _ in range(3)))

    assert cluster.counters()["stray_acks_dropped"] >= 2 * MAX_STRAYS


SLOW = settings_with(acks={"unknown_acks_per_s": 2.0, "unknown_acks_burst": 3})


def test_an_acker_that_is_too_fast_is_dropped_and_counted(clusters: Clusters) -> None:
    """I6: it gets a burst through, and then so many a second, however it sends them."""
    cluster = clusters(workers=3, settings=SLOW)
    cluster.login(ALICE, A)
    ids = [f"unknown{number}" for number in range(10)]

    told = heard(cluster.feed(ack(BOB, ids, author=ALICE)))
    assert told == [receipt(ALICE, BOB, message_id) for message_id in ids[:3]]
    assert cluster.counters()["stray_acks_too_fast"] == 7

    cluster.now_ms += 1000
    assert (
        len(heard(cluster.feed(*(ack(BOB, message_id, author=ALICE) for message_id in ids)))) == 2
    )

    assert len(heard(cluster.feed(ack(CAROL, ids, author=ALICE)))) == 3, "another has its own"


def test_an_acker_that_is_too_fast_is_heard_on_what_is_known(clusters: Clusters) -> None:
    cluster = clusters(settings=SLOW)
    cluster.login(ALICE, A)
    cluster.feed(ack(BOB, [f"unknown{number}" for number in range(10)], author=ALICE))
    cluster.feed(to_user(ALICE, BOB, "M1"))

    assert heard(cluster.feed(ack(BOB, "M1", author=ALICE))) == [receipt(ALICE, BOB, "M1")]


def test_an_acker_that_is_too_fast_costs_no_look_at_the_store_beyond_the_first(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = clusters(settings=SLOW)
    cluster.feed(ack(BOB, ["one", "two", "three"], author=ALICE))
    looks: list[bytes] = []
    scan = Batch.scan_messages

    def watched(batch: Batch, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        looks.append(prefix)
        return scan(batch, prefix)

    monkeypatch.setattr(Batch, "scan_messages", watched)

    cluster.feed(ack(BOB, ["four", "five"], author=ALICE))

    assert len(looks) == 2


def test_an_unknown_group_ack_in_the_swapped_form_reaches_the_author(
    cluster: ClusterHarness,
) -> None:
    """R13: `from` is the group, `to` the author."""
    cluster.login(ALICE, A)

    answer = cluster.feed(Acked(BOB, ["unknown"], 2, HIKE, True, ALICE, False, -1))

    assert heard(answer) == [receipt(ALICE, BOB, "unknown", group=HIKE)]
