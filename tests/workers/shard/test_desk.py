"""What an extension reaches in a worker: other workers, fronts, its trees and its settings."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import pytest

from relay.bus.envelopes import (
    Carry,
    Deliver,
    GroupCopy,
    Tell,
)
from relay.errors import MailboxFull
from relay.extensions.contract import Extension, Incoming, WorkerHalf
from relay.extensions.registry import Registry
from tests import plain
from tests.workers.shard.diary import (
    FIRST,
    REGISTRY,
    SECOND,
    DiaryTable,
    ask,
    half_of,
    heard,
    pack,
    told,
)
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    HIKE,
    NOW_S,
    OTHER_FRONT,
    SETTINGS,
    ClusterHarness,
    Clusters,
    frames_of,
    group_of,
    settings_with,
    to_group,
    to_user,
)


@pytest.fixture
def pair(clusters: Clusters) -> ClusterHarness:
    """A relay of two workers."""
    return clusters(workers=2, registry=REGISTRY)


# ------------------------------------------------------------------------------ to other workers


def test_what_is_carried_is_done_where_its_owner_is_served(diaries: ClusterHarness) -> None:
    for whom in (ALICE, BOB, CAROL):
        diaries.feed(ask(ALICE, "leave", whom, "hi"))

    for whom in (ALICE, BOB, CAROL):
        assert told(diaries, whom) == ["hi"]
    assert diaries.counters()["diary.kept"] == 6


def test_what_is_carried_is_done_once_and_in_order_though_both_workers_die(
    pair: ClusterHarness,
) -> None:
    pair.cut(0, 1)
    pair.feed(ask(FIRST, "leave", SECOND, "one"))
    pair.restart(0)
    pair.feed(ask(FIRST, "leave", SECOND, "two"))
    pair.restart(1)
    assert told(pair, SECOND) == []

    pair.join(0, 1)
    pair.restart(1)
    pair.restart(0)

    assert told(pair, SECOND) == ["one", "two"]


def test_what_was_applied_is_not_applied_again_when_it_comes_again(pair: ClusterHarness) -> None:
    entry = plain.durable(5, Carry("diary", SECOND, pack([FIRST, "hi"])))

    for _ in range(2):
        pair.decide(lambda shard: shard.apply(b"worker-0-1", 0, entry), worker=1)
        pair.restart(1)

    assert told(pair, SECOND) == ["hi"]


def test_what_is_carried_from_an_old_outbox_is_done_here(pair: ClusterHarness) -> None:
    """As re-sharding does it, which has found its owner."""
    carry = Carry("diary", SECOND, pack([FIRST, "hi"]))

    pair.decide(lambda shard: shard.take_over(carry), worker=1)

    assert told(pair, SECOND) == ["hi"]


def test_what_is_carried_for_an_extension_that_is_not_loaded_is_an_error(
    pair: ClusterHarness,
) -> None:
    """So that nothing is lost without a word: what fails twice is set aside, and kept in a file."""
    entry = plain.durable(5, Carry("unheard_of", SECOND, b""))

    with pytest.raises(LookupError, match=f"for {SECOND} is of the extension unheard_of"):
        pair.decide(lambda shard: shard.apply(b"worker-0-1", 0, entry), worker=1)


def test_a_front_is_told_where_the_user_has_a_session(diaries: ClusterHarness) -> None:
    diaries.login(BOB, 9, front=OTHER_FRONT)

    answer = diaries.feed(ask(ALICE, "leave", BOB, "hi"))
    diaries.feed(ask(ALICE, "leave", CAROL, "hi"))

    assert Tell(9, "diary", pack("a note came")) in answer
    assert {("told", True), ("told", False)} <= set(heard(diaries, BOB, CAROL))


# ----------------------------------------------------------------------------------------- desk


def test_a_desk_shows_the_settings_as_they_are_now(diaries: ClusterHarness) -> None:
    desk = half_of(diaries, BOB).desk
    others = msgspec.structs.replace(SETTINGS)

    assert desk.settings is SETTINGS
    assert desk.table == DiaryTable()
    diaries.owner(BOB).shard.adopt(others)
    assert desk.settings is others
    assert desk.table == DiaryTable()


def test_a_table_bounds_what_an_extension_keeps(diaries: ClusterHarness) -> None:
    for text in ("one", "two", "three"):
        diaries.feed(ask(ALICE, "leave", BOB, text))

    assert told(diaries, BOB) == ["one", "two"]
    assert diaries.counters()["diary.dropped"] == 1


def test_a_desk_knows_who_is_served_here_and_the_members_of_groups_here(
    diaries: ClusterHarness,
) -> None:
    for harness in diaries.shards:
        half = harness.shard._halves._halves["diary"]
        is_here = diaries.owner(HIKE) is harness
        assert half.desk.owns(HIKE) is is_here
        assert list(half.desk.members(HIKE)) == ([ALICE, BOB, CAROL] if is_here else [])
        assert list(half.desk.members("917069852821-999")) == []


def test_a_desk_has_the_time_of_the_batch_and_numbers_that_only_grow(pair: ClusterHarness) -> None:
    desk = half_of(pair, FIRST).desk
    seqs: list[int] = []

    for _ in range(2):
        pair.decide(lambda shard: seqs.extend((desk.next_seq(), desk.next_seq())), worker=0)
        pair.now_ms -= 1000

    assert desk.now_ms() == pair.now_ms + 1000
    assert seqs == sorted(set(seqs))


def test_a_desk_has_only_the_trees_that_its_extension_has_named(pair: ClusterHarness) -> None:
    with pytest.raises(LookupError, match="diary has named no tree 'secrets'"):
        half_of(pair, FIRST).desk.tree("secrets")


def test_a_plain_message_and_a_group_s_copy_pass_through_extensions_unharmed(
    diaries: ClusterHarness,
) -> None:
    diaries.login(BOB, 1, front=OTHER_FRONT)
    send, to_all = to_user(ALICE, BOB, "M1"), to_group(ALICE, HIKE, "M2")

    answer = diaries.feed(send) + diaries.feed(to_all)

    assert frames_of(answer, 1) == [send.frame, to_all.frame]
    assert any(isinstance(item, Deliver) for item in answer)
    copy = GroupCopy(ALICE, HIKE, "M2", NOW_S, [BOB], to_all.frame)
    diaries.decide(lambda shard: shard.take_over(copy), worker=diaries.owner(BOB).index)
    assert len(diaries.mail(BOB)) == 2, "a copy that is known is not queued again"


# -------------------------------------------------------------------- what happens to messages


class Witness(WorkerHalf):
    """Hears of messages for users who are away, and of those that had no room."""

    heard: ClassVar[list[tuple[str, str, str]]] = []

    def queued(self, user: str, message: Incoming) -> None:
        self.heard.append(("queued", user, message.message_id))

    def overfull(self, user: str, message: Incoming, error: MailboxFull) -> None:
        self.heard.append(("overfull", user, message.message_id))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_half_hears_of_messages_for_who_is_away_and_of_those_without_room(
    clusters: Clusters, workers: int
) -> None:
    cluster = clusters(
        workers=workers,
        registry=Registry([Extension(name="witness", worker=Witness)]),
        groups=group_of(HIKE, ALICE, BOB, CAROL),
        settings=settings_with(mailbox={"max_entries": 1, "author_share": 1.0}),
    )
    Witness.heard.clear()
    cluster.login(CAROL, 1)
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.feed(to_user(ALICE, CAROL, "M2"))
    cluster.feed(to_group(ALICE, HIKE, "G1"))
    cluster.feed(to_user(CAROL, BOB, "M3"))

    assert sorted(Witness.heard) == [  # Carol's number is the lower one
        ("overfull", CAROL, "G1"),
        ("overfull", BOB, "G1"),
        ("overfull", BOB, "M3"),
        ("queued", BOB, "M1"),
    ]


def test_it_knows_who_is_there_what_waits_and_the_groups_of_its_worker(
    clusters: Clusters,
) -> None:
    groups = group_of(HIKE, ALICE, BOB)
    cluster = clusters(registry=REGISTRY, groups=groups)
    cluster.login(CAROL, 1)
    cluster.feed(to_user(ALICE, BOB, "M1"), to_user(ALICE, CAROL, "M2"))
    desk = half_of(cluster, BOB).desk
    seen: list[object] = []

    def look(_: object) -> None:
        seen.extend([desk.serves(BOB), desk.serves(CAROL), desk.waiting(BOB), desk.waiting(CAROL)])
        seen.append(dict(desk.groups()))

    cluster.decide(look)
    assert seen == [False, True, 1, 1, groups]
