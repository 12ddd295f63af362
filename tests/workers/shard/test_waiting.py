"""What of one author waits for users that have not acked: bounded, remembered, let go."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from relay.bus.envelopes import Confirmed, Refused, SendToUser, Seq, Stored, ToFront
from relay.protocol import frames
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    DAY_MS,
    HIKE,
    ClusterHarness,
    Clusters,
    ack,
    group_of,
    settings_with,
    to_group,
    to_user,
)
from workers.shard import waiting
from workers.shard.noted import Note, decode_notes
from workers.shard.purging import Purging
from workers.shard.shard import Shard
from workers.shard.waiting import MAX_NOTED, NOTED
from workers.store.orders import Order

QUOTA = 16
FEW = settings_with(quota={"waiting_messages": QUOTA})
FRAME = bytes(100)


@pytest.fixture
def cluster(clusters: Clusters) -> ClusterHarness:
    return clusters(settings=FEW)


def users(count: int) -> list[str]:
    """Users that never log in."""
    return [f"absent{number}" for number in range(count)]


def send(
    cluster: ClusterHarness, author: str, chats: Sequence[str], first: int = 0
) -> list[ToFront]:
    return cluster.feed(
        *(
            to_user(author, chat, f"M{number}", frame=FRAME)
            for number, chat in enumerate(chats, start=first)
        )
    )


def codes(answer: Sequence[ToFront]) -> list[int]:
    """How each send was answered; 1 is ack 1."""
    return [
        item.code if isinstance(item, Refused) else 1
        for item in answer
        if isinstance(item, Refused | Stored)
    ]


def waits(cluster: ClusterHarness, author: str) -> tuple[int, int]:
    """How many messages and bytes of an author count as waiting."""
    part = cluster.shards[0].shard._waiting._parts.get(author)
    return (0, 0) if part is None else (round(part.messages), round(part.size))


def test_an_author_of_whom_too_many_messages_wait_is_refused_and_counted(
    cluster: ClusterHarness,
) -> None:
    """507, to that author alone, whoever the recipients are."""
    assert codes(send(cluster, ALICE, users(QUOTA))) == [1] * QUOTA

    answer = send(cluster, ALICE, [BOB, "absent0"], first=QUOTA)

    assert codes(answer) == [507, 507]
    assert isinstance(answer[0], Refused)
    assert answer[0].reason == (
        "16 messages of this author wait for users who have not acked; at most 16 may"
    )
    assert cluster.counters()["sends_over_quota"] == 2
    assert cluster.mail(BOB) == []
    assert codes(send(cluster, CAROL, [BOB])) == [1]


def test_the_bytes_of_them_are_bounded_too(clusters: Clusters) -> None:
    cluster = clusters(settings=settings_with(quota={"waiting_bytes": 1000}))

    assert codes(send(cluster, ALICE, users(12))) == [*[1] * 10, 507, 507]


def test_no_limit_is_none(clusters: Clusters) -> None:
    off = {"waiting_messages": 0, "waiting_bytes": 0}
    cluster = clusters(settings=settings_with(quota=off))

    assert codes(send(cluster, ALICE, users(50))) == [1] * 50


def test_what_is_acked_waits_no_more(cluster: ClusterHarness) -> None:
    """Of someone who was absent, and of one who got it live."""
    cluster.login(BOB, 1)
    send(cluster, ALICE, [*users(QUOTA - 1), BOB])
    assert waits(cluster, ALICE) == (QUOTA, 100 * QUOTA)

    cluster.feed(ack(BOB, f"M{QUOTA - 1}", author=ALICE), ack("absent0", "M0", author=ALICE))
    assert waits(cluster, ALICE) == (QUOTA - 2, 100 * (QUOTA - 2))

    cluster.feed(ack(BOB, f"M{QUOTA - 1}", 3, author=ALICE), ack(BOB, "M1", author=ALICE))
    assert waits(cluster, ALICE) == (QUOTA - 2, 100 * (QUOTA - 2)), "a second ack changes nothing"
    assert codes(send(cluster, ALICE, [BOB, BOB, BOB], first=QUOTA)) == [1, 1, 507]


@pytest.mark.parametrize("order", [Order(user=BOB), Order(older_than_ms=1)])
def test_what_an_operator_throws_away_waits_no_more_even_after_a_restart(
    cluster: ClusterHarness, order: Order
) -> None:
    cluster.feed(*(message_of(ALICE, f"M{number}") for number in range(QUOTA)))
    cluster.sweep()
    cluster.now_ms += 2
    assert codes(cluster.feed(message_of(ALICE, "REFUSED"))) == [507]

    purging = Purging(order)
    while not purging.is_done:
        cluster.decide(lambda shard: shard.purge(purging, day_ms=cluster.now_ms))

    assert waits(cluster, ALICE) == (0, 0)
    assert b"waiting" not in cluster.shards[0].tree("meta")
    cluster.restart(0)
    again = (message_of(ALICE, f"N{number}") for number in range(QUOTA + 1))
    assert codes(cluster.feed(*again)) == [*[1] * QUOTA, 507]


def test_what_a_full_mailbox_evicts_waits_no_more(clusters: Clusters) -> None:
    """And a late ack of it changes nothing."""
    few = {"max_entries": 4, "author_share": 1.0}
    cluster = clusters(settings=settings_with(quota={"waiting_messages": QUOTA}, mailbox=few))
    cluster.login(BOB, 1)
    for number in range(3 * QUOTA):
        assert codes(cluster.feed(message_of(ALICE, f"M{number}"))) == [1]
        (*_, (seq, _)) = cluster.mail(BOB)
        cluster.feed(Confirmed(1, Seq(seq)))
        assert waits(cluster, ALICE)[0] == len(cluster.mail(BOB))
    assert cluster.counters()["entries_evicted"] == 3 * QUOTA - 4

    cluster.feed(ack(BOB, "M0", author=ALICE))

    assert waits(cluster, ALICE)[0] == 4


def message_of(author: str, message_id: str) -> SendToUser:
    """A send to Bob, with the frame that a front would make of it."""
    frame = frames.delivered_to_user(
        author=author, message_id=message_id, message=b"{}", time_s=1, key_extra=b"", extra=b""
    )
    return to_user(author, BOB, message_id, frame=frame)


def test_a_repeat_and_a_refusal_do_not_count(cluster: ClusterHarness) -> None:
    message = to_user(ALICE, BOB, "M1", frame=FRAME)
    cluster.feed(message, message, to_user(ALICE, BOB, "M1", "another"))

    assert waits(cluster, ALICE) == (1, 100)


def test_a_repeat_is_acked_again_however_much_waits(cluster: ClusterHarness) -> None:
    """2.3.2: an id that is known comes before the quotas."""
    send(cluster, ALICE, users(QUOTA))

    assert codes(send(cluster, ALICE, users(QUOTA))) == [1] * QUOTA


def test_messages_to_groups_do_not_count(clusters: Clusters) -> None:
    cluster = clusters(settings=FEW, groups=group_of(HIKE, ALICE, BOB))

    cluster.feed(*(to_group(ALICE, HIKE, f"M{number}") for number in range(QUOTA + 1)))
    cluster.feed(ack(BOB, "M0", author=ALICE, group=HIKE))

    assert waits(cluster, ALICE) == (0, 0)


def test_nobody_is_refused_for_ever(cluster: ClusterHarness) -> None:
    """What nobody ever acks goes off while it may wait, evenly."""
    send(cluster, ALICE, users(QUOTA))
    assert codes(send(cluster, ALICE, [BOB], first=QUOTA)) == [507]

    cluster.now_ms += 30 * DAY_MS // QUOTA
    assert codes(send(cluster, ALICE, [BOB, BOB], first=QUOTA)) == [1, 507]

    cluster.now_ms += 30 * DAY_MS
    cluster.sweep()
    assert waits(cluster, ALICE) == (0, 0)


def test_an_ack_of_an_old_message_gives_back_what_of_it_had_not_gone_off(
    cluster: ClusterHarness,
) -> None:
    """Else whoever acks what is about to expire would have room for it twice."""
    send(cluster, ALICE, users(QUOTA))
    cluster.now_ms += 15 * DAY_MS
    cluster.sweep()
    assert waits(cluster, ALICE)[0] == QUOTA // 2

    for number in range(QUOTA // 2):
        cluster.feed(ack(f"absent{number}", f"M{number}", author=ALICE))

    assert waits(cluster, ALICE)[0] == QUOTA // 4


def test_a_clock_that_goes_back_gives_nothing_and_holds_nobody_up(cluster: ClusterHarness) -> None:
    send(cluster, ALICE, users(QUOTA))

    cluster.now_ms -= 10 * DAY_MS
    assert codes(send(cluster, ALICE, [BOB], first=QUOTA)) == [507]

    cluster.now_ms += 30 * DAY_MS // QUOTA
    assert codes(send(cluster, ALICE, [BOB], first=QUOTA)) == [1]


def test_a_restart_forgets_little_of_an_author_of_whom_much_waits(cluster: ClusterHarness) -> None:
    send(cluster, ALICE, users(QUOTA))
    cluster.sweep()

    cluster.restart(0)

    assert codes(send(cluster, ALICE, [BOB], first=QUOTA)) == [507]
    cluster.feed(ack("absent0", "M0", author=ALICE))
    assert codes(send(cluster, ALICE, [BOB, BOB], first=QUOTA)) == [1, 507]


def test_what_is_noted_goes_when_it_is_little_again(cluster: ClusterHarness) -> None:
    send(cluster, ALICE, users(4))
    cluster.sweep()
    assert decode_notes(cluster.shards[0].tree("meta")[b"waiting"]) == [
        Note(ALICE, 4, 400, cluster.now_ms)
    ]

    for number in range(3):
        cluster.feed(ack(f"absent{number}", f"M{number}", author=ALICE))
    cluster.sweep()

    assert b"waiting" not in cluster.shards[0].tree("meta")


def test_nothing_is_noted_of_an_author_of_whom_little_waits(cluster: ClusterHarness) -> None:
    send(cluster, ALICE, users(int(QUOTA * NOTED) - 1))
    cluster.sweep()

    assert b"waiting" not in cluster.shards[0].tree("meta")


@pytest.mark.of_source
def test_of_many_authors_those_with_most_are_noted(
    cluster: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_NOTED", 2)
    for author, count in ((ALICE, 4), (BOB, 10), (CAROL, 7)):
        send(cluster, author, users(count))
    cluster.sweep()

    noted = decode_notes(cluster.shards[0].tree("meta")[b"waiting"])
    assert [note.author for note in noted] == [BOB, CAROL]
    assert MAX_NOTED == 1000


@pytest.mark.of_source
def test_who_has_little_waiting_is_forgotten_first(
    cluster: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I6: the table is bounded, and those it is for stay in it."""
    monkeypatch.setattr(waiting, "MAX_AUTHORS", 2)
    send(cluster, ALICE, users(QUOTA))
    send(cluster, BOB, users(1))

    send(cluster, CAROL, users(1))

    assert [waits(cluster, author)[0] for author in (ALICE, BOB, CAROL)] == [QUOTA, 0, 1]
    assert cluster.counters()["waiting_authors_forgotten"] == 1


def test_other_limits_hold_at_once(cluster: ClusterHarness) -> None:
    send(cluster, ALICE, users(4))

    def adopt(shard: Shard) -> None:
        shard.adopt(settings_with(quota={"waiting_messages": 4}))

    cluster.decide(adopt)

    assert codes(send(cluster, ALICE, [DAVE], first=4)) == [507]


@pytest.mark.of_source
def test_a_sweep_looks_at_some_authors(
    cluster: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_SWEPT", 1)
    for author in (ALICE, BOB, CAROL):
        send(cluster, author, users(1))
        cluster.feed(ack("absent0", "M0", author=author))

    left = []
    for _ in range(3):
        cluster.sweep()
        left.append(len(cluster.shards[0].shard._waiting._parts))

    assert left == [2, 1, 0]


def test_a_note_that_cannot_be_read_keeps_nobody_from_serving(cluster: ClusterHarness) -> None:
    def spoil(shard: Shard) -> None:
        shard.turn.batch.put_waiting(b"\xc1")

    cluster.decide(spoil)

    cluster.restart(0)

    assert codes(send(cluster, ALICE, [BOB])) == [1]
    assert cluster.counters()["waiting_notes_unreadable"] == 1


@pytest.mark.parametrize("raw", [b"\xc1", msgspec.msgpack.encode([["alice", 1]])])
def test_notes_that_are_none_are_told(raw: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_notes(raw)
