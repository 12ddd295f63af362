"""A purge: what it counts beforehand is what goes, all else stays, and the stores are true."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.bus.envelopes import NO_SEQ, Refused, SendToUser
from relay.clock import now_ms
from relay.disk.layout import read_layout
from relay.protocol import frames
from tests.workers.shard.harness import DAY_MS, ClusterHarness, to_user
from tests.workers.tools.harness import (
    USERS,
    cluster_on,
    fill,
    lay_out,
    lose_sessions,
    mailboxes,
    problems,
    records,
    settings_for,
    snapshots_of,
)
from workers.shard import purging
from workers.shard.purging import Purging
from workers.store.keys import parse_message_key
from workers.store.meta import Mark
from workers.store.orders import Order, Purged
from workers.tools import purge
from workers.tools.progress import Progress


@pytest.fixture(params=[1, 3])
def data(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Stores with something of everybody, of 2019 as the harness has it."""
    lay_out(tmp_path / "data", request.param)
    with cluster_on(tmp_path / "data") as cluster:
        fill(cluster)
        lose_sessions(cluster)
    return tmp_path / "data"


def foreseen(data: Path, order: Order) -> Purged:
    total = Purged()
    with snapshots_of(data) as snapshots:
        for index in purge.owners(order, read_layout(data)):
            total.add(purge.foresee(snapshots[index], order, Progress("", 0)))
    return total


def purged(data: Path, order: Order) -> Purged:
    layout, total = read_layout(data), Purged()
    for index in purge.owners(order, layout):
        directory = layout.store_directory(data, index)
        mark = Mark(layout.generation, layout.workers, index)
        purge.purge(directory, mark, order, total, Progress("", 0))
    return total


def towards(data: Path, user: str) -> set[bytes]:
    return {key for key in records(data) if parse_message_key(key)[1] == user}


def test_what_is_of_a_user_goes_and_nothing_else(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "MAX_PURGED_ENTRIES", 3)
    monkeypatch.setattr(purging, "MAX_LOOKED_AT", 2)
    user, order = USERS[2], Order(user=USERS[2])
    before, known = mailboxes(data), records(data)
    of_user = towards(data, user)
    assert before[user]
    assert of_user

    count = foreseen(data, order)

    assert count.entries == len(before[user])
    assert count.messages
    assert count.group_messages
    assert count.receipts
    assert count.size > 0
    assert count.known == len(of_user)
    assert mailboxes(data) == before, "it was looked at only"
    assert purged(data, order) == count
    assert mailboxes(data) == {name: box for name, box in before.items() if name != user}
    assert records(data).keys() == known.keys() - of_user
    assert problems(data) == []
    assert foreseen(data, order) == purged(data, order) == Purged()


def test_what_waits_too_long_goes_and_repeats_of_it_are_known(data: Path) -> None:
    before, known = mailboxes(data), records(data)
    order = Order(older_than_ms=DAY_MS)
    assert foreseen(data, Order(older_than_ms=100 * 365 * DAY_MS)) == Purged()

    count = foreseen(data, order)

    assert count.entries == sum(map(len, before.values()))
    assert count.known == 0
    assert purged(data, order) == count
    assert mailboxes(data) == {}
    assert records(data) == known
    # What waits without a record, or the other way round, is no fault of a purge.
    assert problems(data) == []


@pytest.mark.parametrize("order", [Order(user=USERS[1]), Order(older_than_ms=1)])
def test_what_goes_is_in_its_author_s_way_no_more(tmp_path: Path, order: Order) -> None:
    """Whatever the quota is, which a purge does not know; of another's messages nothing changes."""
    few = settings_for(1, quota={"waiting_messages": 8})
    author, bob, other, carol = USERS[:4]
    lay_out(tmp_path, 1)
    with cluster_on(tmp_path, settings=few) as cluster:
        cluster.now_ms = now_ms() - 10_000
        assert codes(cluster, author, bob, 9) == [1] * 8 + [507]
        assert codes(cluster, other, carol, 3) == [1] * 3
        cluster.sweep()

    assert purged(tmp_path, order).messages == (8 if order.user else 11)

    with cluster_on(tmp_path, settings=few) as cluster:
        cluster.now_ms = now_ms()
        assert codes(cluster, author, bob, 9, first=8) == [1] * 8 + [507]
        left = 5 if order.user else 8
        assert codes(cluster, other, carol, 9, first=3) == [1] * left + [507] * (9 - left)


def codes(cluster: ClusterHarness, author: str, to: str, count: int, first: int = 0) -> list[int]:
    """Send messages as a front makes them of what clients send; return how each is answered."""

    def send(message_id: str) -> SendToUser:
        frame = frames.delivered_to_user(
            author=author, message_id=message_id, message=b"{}", time_s=1, key_extra=b"", extra=b""
        )
        return to_user(author, to, message_id, frame=frame)

    answers = cluster.feed(*(send(f"M{number}") for number in range(first, first + count)))
    return [answer.code if isinstance(answer, Refused) else 1 for answer in answers]


def test_only_what_is_older_goes(tmp_path: Path) -> None:
    lay_out(tmp_path, 1)
    with cluster_on(tmp_path) as cluster:
        fill(cluster)
        cluster.now_ms += 2 * DAY_MS
        cluster.feed(to_user(USERS[0], USERS[1], "LATER"))
        ordered = Purging(Order(older_than_ms=DAY_MS))
        while not ordered.is_done:
            cluster.shards[0].turn(
                lambda shard: shard.purge(ordered, day_ms=cluster.now_ms), now_ms=cluster.now_ms
            )

    assert [len(box) for box in mailboxes(tmp_path).values()] == [1]
    assert problems(tmp_path) == []


def test_what_comes_while_it_runs_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "MAX_PURGED_ENTRIES", 2)
    lay_out(tmp_path, 1)
    bob = USERS[1]
    with cluster_on(tmp_path) as cluster:
        cluster.login(bob, 1)
        for number in range(5):
            cluster.feed(to_user(USERS[0], bob, f"M{number}"))
        ordered = Purging(Order(user=bob))
        for number in range(20):
            cluster.shards[0].turn(
                lambda shard: shard.purge(ordered, day_ms=cluster.now_ms), now_ms=cluster.now_ms
            )
            if ordered.is_done:
                break
            cluster.feed(to_user(USERS[0], bob, f"L{number}"))
        assert ordered.is_done
        assert ordered.purged.messages == ordered.purged.known == 5
        assert [raw.split()[1] for _, raw in cluster.mail(bob)] == [
            b"L%d" % each for each in range(number)
        ]
        # One that went is new when it comes again, one that came is known.
        cluster.feed(to_user(USERS[0], bob, "M0"), to_user(USERS[0], bob, "L0"))
        assert [raw.split()[1] for seq, raw in cluster.mail(bob) if seq > NO_SEQ][-1] == b"M0"
        assert len(cluster.mail(bob)) == number + 1
    assert problems(tmp_path) == []
