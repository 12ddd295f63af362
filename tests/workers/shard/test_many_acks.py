"""What many say of one message, or one of many: it comes to the same as if each was alone."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from msgspec.structs import replace

from relay.bus.envelopes import (
    LOGIN,
    Acked,
    AckedByMany,
    CloseSession,
    DeliverReceipts,
    Page,
    Seq,
    ToFront,
    ToWorker,
)
from relay.bus.gathering import MOST_TOGETHER
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
    acks_of_many,
    frames_of,
    group_of,
    receipt,
    settings_with,
    to_group,
    to_user,
)
from workers.shard.mailbox import receipts_of

MEMBERS = (BOB, CAROL, DAVE)
SESSIONS = {ALICE: 1, BOB: 2, CAROL: 3, DAVE: 4}
A = SESSIONS[ALICE]


def group(clusters: Clusters, **tables: dict[str, object]) -> ClusterHarness:
    cluster = clusters(
        settings=settings_with(**tables), groups=group_of(HIKE, ALICE, *MEMBERS, "eve")
    )
    for user, session in SESSIONS.items():
        cluster.login(user, session)
    return cluster


@pytest.fixture
def hike(clusters: Clusters) -> ClusterHarness:
    """A group of Alice and four others, of whom Eve is away; Alice has written M1."""
    cluster = group(clusters)
    cluster.feed(to_group(ALICE, HIKE, "M1"))
    return cluster


def receipts(*ackers: str, level: int = 2, t: int = NOW_S) -> list[bytes]:
    return [receipt(ALICE, acker, "M1", level, group=HIKE, t=t) for acker in ackers]


def waiting(cluster: ClusterHarness, user: str = ALICE) -> list[tuple[str, int]]:
    """Return of the receipts that wait who said how much."""
    return [
        (each.acker, each.level) for _, entry in cluster.mail(user) for each in receipts_of(entry)
    ]


# ---------------------------------------------------------------------------------- the author


def test_the_author_hears_of_all_at_once_and_they_wait_as_one_entry(hike: ClusterHarness) -> None:
    answer = hike.feed(acks_of_many(MEMBERS, "M1"))

    ((seq, _),) = hike.mail(ALICE)
    assert answer == [DeliverReceipts(A, Seq(seq), ["M1"], receipts(*MEMBERS))]
    assert waiting(hike) == [(member, 2) for member in MEMBERS]
    assert not any(hike.mail(member) for member in MEMBERS)


def test_each_has_a_time_of_its_own(hike: ClusterHarness) -> None:
    times_s = [NOW_S + 5, -1, NOW_S - 10**6]

    answer = hike.feed(acks_of_many(MEMBERS, "M1", times_s=times_s))

    said = [receipts(BOB, t=NOW_S + 5), receipts(CAROL), receipts(DAVE)]
    assert frames_of(answer, A) == [frame for frames in said for frame in frames]


def test_one_confirmation_ends_all_of_them(hike: ClusterHarness) -> None:
    hike.feed(acks_of_many(MEMBERS, "M1"))
    ((seq, _),) = hike.mail(ALICE)

    hike.feed(plain.confirmed(A, seq - 1))
    assert len(waiting(hike)) == 3
    hike.feed(plain.confirmed(A, seq))
    assert waiting(hike) == []


def test_they_come_in_one_page_of_the_next_login(hike: ClusterHarness) -> None:
    hike.feed(acks_of_many(MEMBERS, "M1"))
    hike.restart()

    answer = hike.feed(plain.ready(A, 0, 0))

    (page,) = [each for each in answer if isinstance(each, Page)]
    assert [entry.frame for entry in page.entries] == receipts(*MEMBERS)
    assert len({entry.seq for entry in page.entries}) == 1
    hike.feed(plain.confirmed(A, page.entries[0].seq))
    assert waiting(hike) == []


def test_a_page_has_all_of_them_or_none(clusters: Clusters) -> None:
    cluster = group(clusters, flow={"page_bytes": 1})
    for message_id in ("M1", "M2"):
        cluster.feed(to_group(ALICE, HIKE, message_id))
        cluster.feed(acks_of_many(MEMBERS, message_id))
    cluster.restart()

    answer = cluster.feed(plain.ready(A, 0, 0))

    (page,) = [each for each in answer if isinstance(each, Page)]
    assert [entry.receipt_for for entry in page.entries] == ["M1"] * 3
    assert page.more


def test_when_the_author_leaves_they_are_taken_apart(hike: ClusterHarness) -> None:
    """2.4.5: of each acker the highest level takes the place of lower ones."""
    hike.feed(acks_of_many(MEMBERS, "M1"))
    ((last, _),) = hike.mail(ALICE)
    hike.feed(CloseSession(A))

    assert [seq for seq, _ in hike.mail(ALICE)] == [last - 2, last - 1, last]
    hike.feed(acks_of_many((BOB, DAVE), "M1", 3))

    assert sorted(waiting(hike)) == sorted([(BOB, 3), (CAROL, 2), (DAVE, 3)])
    assert [entry.frame for entry in hike.login(ALICE, A)] == [
        *receipts(CAROL),
        *receipts(BOB, DAVE, level=3),
    ]


def test_an_author_who_has_too_many_gets_as_many_as_there_is_room_for(clusters: Clusters) -> None:
    cluster = group(clusters, mailbox={"max_receipts": 2})
    cluster.feed(to_group(ALICE, HIKE, "M1"))

    answer = cluster.feed(acks_of_many(MEMBERS, "M1"))

    assert frames_of(answer, A) == receipts(BOB, CAROL)
    assert cluster.counters()["receipts_dropped"] == 1
    assert not cluster.mail(DAVE)


# ------------------------------------------------------------------------------------- ackers


def test_who_has_acked_before_is_left_out(hike: ClusterHarness) -> None:
    hike.feed(ack(CAROL, "M1", 3, author=ALICE, group=HIKE))

    answer = hike.feed(acks_of_many(MEMBERS, "M1"))

    assert frames_of(answer, A) == receipts(BOB, DAVE)


def test_who_is_away_is_heard_too(hike: ClusterHarness) -> None:
    answer = hike.feed(acks_of_many((BOB, "eve"), "M1"))

    assert frames_of(answer, A) == receipts(BOB, "eve")
    assert not hike.mail("eve")


def test_r14_who_was_no_recipient_is_not_heard(hike: ClusterHarness) -> None:
    answer = hike.feed(acks_of_many((BOB, "mallory", ALICE), "M1"))

    assert frames_of(answer, A) == receipts(BOB)


def test_the_body_goes_with_the_last_of_its_holders(hike: ClusterHarness) -> None:
    hike.feed(acks_of_many(MEMBERS, "M1"))
    assert len(hike.shards[0].tree("bodies")) == 1

    hike.feed(ack("eve", "M1", author=ALICE, group=HIKE))

    assert not hike.shards[0].tree("bodies")


# ------------------------------------------------------------------------------ one, of many


def test_what_one_says_of_many_messages_is_one_entry_too(hike: ClusterHarness) -> None:
    ids = ["X1", "X2", "X3"]
    hike.feed(*(to_user(ALICE, BOB, message_id) for message_id in ids))

    answer = hike.feed(ack(BOB, ids, author=ALICE))

    ((seq, _),) = hike.mail(ALICE)
    said = [receipt(ALICE, BOB, message_id) for message_id in ids]
    assert answer == [DeliverReceipts(A, Seq(seq), ids, said)]
    hike.restart()
    answer = hike.feed(plain.ready(A, 0, 0))
    (page,) = [each for each in answer if isinstance(each, Page)]
    assert [(entry.receipt_for, entry.frame) for entry in page.entries] == [
        *zip(ids, said, strict=True)
    ]
    hike.feed(CloseSession(A))
    assert [seq - 2, seq - 1, seq] == [number for number, _ in hike.mail(ALICE)]


def test_of_many_messages_each_is_looked_for_as_if_it_was_alone(hike: ClusterHarness) -> None:
    hike.feed(to_user(ALICE, BOB, "X1"), to_user(CAROL, BOB, "X2"), to_user(ALICE, BOB, "X3"))

    answer = hike.feed(ack(BOB, ["X1", "X2", "X3", "X1"], author=ALICE))

    assert frames_of(answer, A) == [receipt(ALICE, BOB, each) for each in ("X1", "X3")]
    assert frames_of(answer, SESSIONS[CAROL]) == [receipt(CAROL, BOB, "X2")]


def test_what_a_client_acks_at_once_is_entries_of_a_bounded_size(clusters: Clusters) -> None:
    """A page has all of an entry, and its size is to be bounded."""
    cluster = group(clusters, flow={"page_bytes": 1})
    ids = [f"X{number}" for number in range(2 * MOST_TOGETHER + 1)]
    cluster.feed(*(to_user(ALICE, BOB, message_id) for message_id in ids))

    answer = cluster.feed(ack(BOB, [*ids, ids[0], ids[-1]], author=ALICE))

    assert frames_of(answer, A) == [receipt(ALICE, BOB, each) for each in ids]
    sizes = [len(receipts_of(entry)) for _, entry in cluster.mail(ALICE)]
    assert sizes == [MOST_TOGETHER, MOST_TOGETHER, 1]
    cluster.restart()
    (page,) = [each for each in cluster.feed(plain.ready(A, 0, 0)) if isinstance(each, Page)]
    assert len(page.entries) == MOST_TOGETHER


# -------------------------------------------------------------------------- against one by one

IDS = ("M1", "M2", "M3")


def may_happen(choose: Random, cluster: ClusterHarness) -> list[ToWorker]:
    """Return what fronts say next, as one of them says it."""
    some = choose.sample([*MEMBERS, "eve", "mallory"], choose.randint(1, 4))
    message_id, level = choose.choice(IDS), choose.randint(2, 4)
    user = choose.choice([ALICE, ALICE, *MEMBERS])
    session = SESSIONS[user]
    match choose.choices(range(7), [8, 3, 3, 1, 1, 3, 3])[0]:
        case 0:
            times_s = [choose.choice([-1, NOW_S, NOW_S + 10**6]) for _ in some]
            return [acks_of_many(some, message_id, level, times_s=times_s)]
        case 1:
            return [to_group(ALICE, HIKE, message_id)]
        case 2:
            there, up_to = _is_there(cluster, ALICE), cluster.shard.turn.seq
            return [plain.confirmed(A, up_to)] if there else []
        case 5:
            author = choose.choice([ALICE, CAROL])
            return [to_user(author, BOB, f"{message_id}-{part}") for part in range(3)]
        case 6:
            found = [f"{message_id}-{part}" for part in choose.sample(range(4), 3)]
            return [ack(BOB, found, level, author=ALICE)]
        case 3:
            there = _is_there(cluster, user)
            return [CloseSession(session)] if there else []
        case _:
            return [plain.open_session(session, user, LOGIN, 0)]


def _is_there(cluster: ClusterHarness, user: str) -> bool:
    return cluster.shard.readers.of_user(user) is not None


def _apart(items: list[ToWorker]) -> list[ToWorker]:
    return [each for item in items for each in _singly(item)]


def _singly(item: ToWorker) -> Iterable[ToWorker]:
    if isinstance(item, AckedByMany):
        return item.singly()
    if isinstance(item, Acked):
        return [replace(item, message_ids=[each]) for each in item.message_ids]
    return [item]


def _to_their_end(cluster: ClusterHarness, answer: list[ToFront]) -> list[ToFront]:
    """Have fronts ask for the pages that follow."""
    heard = list(answer)
    while asks := [each for each in answer if isinstance(each, Page) and each.more]:
        answer = []
        for page in asks:
            reader = cluster.shard.readers.at(b"front-0-1", page.session)
            assert reader is not None
            ready = plain.ready(page.session, reader.cursor, reader.pages)
            answer += cluster.feed(ready)
        heard += answer
    return heard


@pytest.mark.parametrize("seed", range(20))
def test_many_come_to_the_same_as_each_alone(clusters: Clusters, seed: int) -> None:
    choose = Random(seed)
    limits: dict[str, dict[str, object]] = {"flow": {"page_bytes": choose.choice([1, 400, 10**6])}}
    if seed % 2:
        limits["mailbox"] = {"max_receipts": 5}
    together, apart = group(clusters, **limits), group(clusters, **limits)
    for number in range(60):
        items = may_happen(choose, together)
        heard = [
            _to_their_end(cluster, cluster.feed(*each)) if each else []
            for cluster, each in ((together, items), (apart, _apart(items)))
        ]
        for session in SESSIONS.values():
            told = [sorted(frames_of(each, session)) for each in heard]
            assert len(told[0]) == len(told[1]), f"step {number}: {items}"
            # Where there is no room for all of them, it may be for others: of those who are away.
            assert told[0] == told[1] or "mailbox" in limits, f"step {number}: {items}"
        wait = [sorted(waiting(each)) for each in (together, apart)]
        assert len(wait[0]) == len(wait[1])
        assert wait[0] == wait[1] or "mailbox" in limits
        for member in MEMBERS:
            assert len(together.mail(member)) == len(apart.mail(member))
        assert together.counters() == apart.counters()
        if number == 30:
            together.restart()
            apart.restart()
