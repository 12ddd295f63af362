"""What a worker notes of what happens in it, and that none of it is lost with a process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from relay.bus.envelopes import CloseSession
from relay.disk.groupfile import Group
from relay.extensions.registry import Registry, of_worker
from relay.webhooks.events import (
    Event,
    GroupChanged,
    MailboxFull,
    MessageQueued,
    Place,
    UserOffline,
    UserOnline,
    What,
    decode_dead,
    decode_event,
    place_of,
)
from relay.webhooks.half import (
    EXTENSION,
    GRACE_SWEEPS,
    MAX_COMPARED,
    MAX_FOUND_GONE,
    MAX_MOVED_BYTES,
    MAX_ORDERED,
    Notes,
    Order,
)
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    HIKE,
    SETTINGS,
    ClusterHarness,
    Clusters,
    ShardHarness,
    ack,
    group_of,
    settings_with,
    to_group,
    to_user,
)
from workers.store.keys import split_owned

ALL = ("message.queued", "user.online", "user.offline", "group.changed", "mailbox.full")


def noting(clusters: Clusters, *events: str, **options: Any) -> ClusterHarness:
    hooks = options.pop("hooks", {})
    tables = options.pop("tables", {})
    settings = settings_with(webhooks={"events": events or ALL, **hooks}, **tables)
    return clusters(settings=settings, registry=Registry([EXTENSION]), **options)


def _kept(cluster: ClusterHarness, tree: str) -> Iterator[tuple[Place, bytes]]:
    for shard in cluster.shards:
        for key, value in shard.tree(f"webhooks.{tree}").items():
            yield place_of(*split_owned(key)), value


def events(cluster: ClusterHarness) -> list[tuple[str, What]]:
    """Return whose and what events wait, in order; each shelf must be true to its tree."""
    for shard in cluster.shards:
        _check(shard)
    found = sorted(_kept(cluster, "waiting"))
    return [(place.owner, decode_event(value).what) for place, value in found]


def dead(cluster: ClusterHarness) -> list[tuple[str, str, Event]]:
    found = [(place.owner, decode_dead(value)) for place, value in sorted(_kept(cluster, "dead"))]
    return [(owner, letter.reason, decode_event(letter.event)) for owner, letter in found]


def notes_of(shard: ShardHarness) -> Notes:
    half = shard.shard.half("webhooks")
    assert isinstance(half, Notes)
    return half


def _check(shard: ShardHarness) -> None:
    notes = notes_of(shard)
    if not notes.is_filled:
        return
    for name, shelf in (("waiting", notes.waiting), ("dead", notes.dead)):
        tree = shard.tree(f"webhooks.{name}")
        assert list(shelf.behind(None)) == sorted(place_of(*split_owned(key)) for key in tree)
        assert shelf.size == sum(map(len, tree.values()))


def order(cluster: ClusterHarness, *orders: Order) -> None:
    for each in orders:
        assert notes_of(cluster.owner(each.place.owner)).take([each])
    cluster.sweep()


def places(cluster: ClusterHarness) -> list[Place]:
    return sorted(place for place, _ in _kept(cluster, "waiting"))


def log_out(cluster: ClusterHarness, session: int) -> None:
    cluster.feed(CloseSession(session))


# --- what is told ---


def test_a_message_for_one_who_is_away_is_told_and_for_one_who_is_there_not(
    clusters: Clusters,
) -> None:
    cluster = noting(clusters, "message.queued")
    cluster.login(CAROL, 1)
    cluster.feed(to_user(ALICE, BOB, "M1", "hello"), to_user(ALICE, CAROL, "M2"))

    ((user, what),) = events(cluster)
    assert user == BOB
    assert isinstance(what, MessageQueued)
    assert (what.author, what.group, what.message_id, what.frame) == (ALICE, "", "M1", b"")


def test_a_repeat_is_not_told_again(clusters: Clusters) -> None:
    cluster = noting(clusters, "message.queued")
    send = to_user(ALICE, BOB, "M1")
    cluster.feed(send)
    cluster.feed(send)

    assert len(events(cluster)) == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_a_groups_message_is_told_of_each_member_who_is_away(
    clusters: Clusters, workers: int
) -> None:
    groups = group_of(HIKE, ALICE, BOB, CAROL)
    cluster = noting(clusters, "message.queued", groups=groups, workers=workers)
    cluster.login(CAROL, 1)
    cluster.feed(to_group(ALICE, HIKE, "G1"))

    ((user, what),) = events(cluster)
    assert user == BOB
    assert isinstance(what, MessageQueued)
    assert (what.group, what.message_id) == (HIKE, "G1")


def test_a_text_is_told_only_where_that_was_asked_for_and_is_not_too_long(
    clusters: Clusters,
) -> None:
    cluster = noting(clusters, "message.queued", hooks={"texts": True, "max_event_bytes": 1024})
    cluster.feed(to_user(ALICE, BOB, "M1", frame=b"short"))
    cluster.feed(to_user(ALICE, BOB, "M2", frame=b"l" * 129))

    (_, first), (_, second) = events(cluster)
    assert isinstance(first, MessageQueued)
    assert isinstance(second, MessageQueued)
    assert (first.frame, second.frame, second.size) == (b"short", b"", 129)


def test_who_comes_and_goes_is_told_once_whatever_takes_over(clusters: Clusters) -> None:
    cluster = noting(clusters, "user.online", "user.offline")
    cluster.login(BOB, 1)
    cluster.login(BOB, 2)  # takes the first one's place
    cluster.feed(to_user(ALICE, BOB, "M1"))
    log_out(cluster, 2)

    assert events(cluster) == [(BOB, UserOnline()), (BOB, UserOffline(1))]


def test_a_worker_that_comes_back_tells_nobody_to_have_come(clusters: Clusters) -> None:
    cluster = noting(clusters, "user.online", "user.offline")
    cluster.login(BOB, 1)
    cluster.kill(0)
    cluster.start(0)
    for _ in range(GRACE_SWEEPS + 2):
        cluster.sweep()

    assert events(cluster) == [(BOB, UserOnline())]


def test_who_went_while_the_worker_was_dead_is_found(clusters: Clusters) -> None:
    cluster = noting(clusters, "user.online", "user.offline")
    cluster.login(BOB, 1)
    cluster.login(CAROL, 2)
    cluster.kill(0)
    cluster.start(0, announce=False)
    for _ in range(GRACE_SWEEPS):
        cluster.sweep()
    assert len(events(cluster)) == 2
    cluster.login(CAROL, 3)
    cluster.sweep()

    assert events(cluster)[2:] == [(BOB, UserOffline(0))]


def test_many_who_went_are_found_a_few_at_a_time(clusters: Clusters) -> None:
    cluster = noting(clusters, "user.offline")
    count = 2 * MAX_FOUND_GONE + 5
    for n in range(count):
        cluster.login(f"u{n}", n + 1)
    cluster.kill(0)
    cluster.start(0, announce=False)
    for _ in range(GRACE_SWEEPS):
        cluster.sweep()
    found = []
    for _ in range(4):
        cluster.sweep()
        found.append(len(events(cluster)))

    assert found == [MAX_FOUND_GONE, 2 * MAX_FOUND_GONE, count, count]


def test_a_full_mailbox_is_told_once_in_a_while(clusters: Clusters) -> None:
    mailbox = {"max_entries": 4, "author_share": 1.0}
    cluster = noting(clusters, "mailbox.full", tables={"mailbox": mailbox})
    for n in range(9):
        cluster.feed(to_user(ALICE, BOB, f"M{n}"))

    assert events(cluster) == [(BOB, MailboxFull(ALICE, "", "M4", is_share=False))]
    cluster.now_ms += 3_600_000
    cluster.feed(to_user(CAROL, BOB, "M9"))
    assert len(events(cluster)) == 2


def test_a_copy_that_had_no_room_is_told_with_its_group(clusters: Clusters) -> None:
    mailbox = {"max_entries": 1, "author_share": 1.0}
    groups = group_of(HIKE, ALICE, BOB)
    cluster = noting(clusters, "mailbox.full", tables={"mailbox": mailbox}, groups=groups)
    cluster.feed(to_group(ALICE, HIKE, "G1"))
    cluster.feed(to_group(ALICE, HIKE, "G2"))

    ((user, what),) = events(cluster)
    assert (user, what) == (BOB, MailboxFull(ALICE, HIKE, "G2", what.is_share))  # type: ignore[union-attr]


def test_groups_are_told_when_they_change_and_not_when_they_are_first_seen(
    clusters: Clusters,
) -> None:
    cluster = noting(clusters, "group.changed", groups=group_of(HIKE, ALICE, BOB))
    cluster.sweep()
    assert events(cluster) == []

    cluster.shard.provision(group_of(HIKE, ALICE, BOB, CAROL) | group_of("1-2", ALICE))
    cluster.sweep()
    cluster.shard.provision(group_of("1-2", ALICE))
    cluster.sweep()
    cluster.sweep()

    assert sorted(events(cluster)[:2]) == [
        ("1-2", GroupChanged("created", "Hike", 1)),
        (HIKE, GroupChanged("changed", "Hike", 3)),
    ]
    assert events(cluster)[2:] == [(HIKE, GroupChanged("deleted", "", 0))]


def test_many_groups_are_compared_a_part_at_a_time(clusters: Clusters) -> None:
    def named(*numbers: int) -> dict[str, Group]:
        return {local: each for n in numbers for local, each in group_of(f"{n}-1", ALICE).items()}

    count = MAX_COMPARED + 20
    cluster = noting(clusters, "group.changed", groups=named(*range(count)))
    for _ in range(6):
        cluster.sweep()
    assert events(cluster) == []
    cluster.shard.provision(named(*range(1, count + 1)))
    for _ in range(6):
        cluster.sweep()

    assert sorted(events(cluster)) == [
        ("0-1", GroupChanged("deleted", "", 0)),
        (f"{count}-1", GroupChanged("created", "Hike", 1)),
    ]


def test_a_group_that_changed_while_the_worker_was_down_is_told(clusters: Clusters) -> None:
    cluster = noting(clusters, "group.changed", groups=group_of(HIKE, ALICE, BOB))
    cluster.sweep()
    cluster.kill(0)
    cluster.shards[0].groups = group_of(HIKE, ALICE)
    cluster.start(0)
    cluster.sweep()

    assert events(cluster) == [(HIKE, GroupChanged("changed", "Hike", 1))]


def test_what_nobody_wants_to_hear_is_not_noted(clusters: Clusters) -> None:
    cluster = noting(clusters, "mailbox.full", groups=group_of(HIKE, ALICE, BOB))
    cluster.login(BOB, 1)
    cluster.feed(to_user(ALICE, CAROL, "M1"), to_group(ALICE, HIKE, "G1"))
    log_out(cluster, 1)
    cluster.sweep()

    assert events(cluster) == []
    assert list(_kept(cluster, "online")) == []


def test_without_an_endpoint_no_hook_has_anybody_to_call() -> None:
    off = of_worker(SETTINGS)

    assert "webhooks" not in off.extensions
    on = of_worker(settings_with(webhooks={"url": "https://example.org"}))
    assert "webhooks" in on.extensions


# --- what becomes of it ---


def test_an_event_is_as_durable_as_its_message(clusters: Clusters) -> None:
    cluster = noting(clusters, "message.queued")
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.kill(0)
    cluster.start(0)
    cluster.feed(to_user(ALICE, BOB, "M2"))

    assert [what.message_id for _, what in events(cluster)] == ["M1", "M2"]  # type: ignore[union-attr]


def test_an_event_outlives_the_ack_of_its_message(clusters: Clusters) -> None:
    cluster = noting(clusters, "message.queued")
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.login(BOB, 1)
    cluster.feed(ack(BOB, "M1", author=ALICE))

    assert len(events(cluster)) == 1


def test_what_was_posted_goes_and_what_was_given_up_is_a_dead_letter(clusters: Clusters) -> None:
    cluster = noting(clusters, "message.queued")
    cluster.feed(*(to_user(ALICE, BOB, f"M{n}") for n in range(3)))
    first, second, _ = places(cluster)
    order(cluster, Order(first, "settle"), Order(second, "bury", "HTTP 500"))

    assert [what.message_id for _, what in events(cluster)] == ["M2"]  # type: ignore[union-attr]
    ((user, reason, event),) = dead(cluster)
    assert (user, reason) == (BOB, "HTTP 500")
    assert isinstance(event.what, MessageQueued)
    assert event.what.message_id == "M1"


def test_a_dead_letter_waits_again_in_its_place_or_goes(clusters: Clusters) -> None:
    cluster = noting(clusters, "message.queued")
    cluster.feed(*(to_user(ALICE, BOB, f"M{n}") for n in range(3)))
    all_places = places(cluster)
    order(cluster, *(Order(place, "bury", "x") for place in all_places[:2]))
    rounds = notes_of(cluster.shards[0]).rounds
    order(cluster, Order(all_places[0], "retry"), Order(all_places[1], "drop"))

    assert places(cluster) == [all_places[0], all_places[2]]
    assert dead(cluster) == []
    assert notes_of(cluster.shards[0]).rounds == rounds + 1
    cluster.kill(0)
    cluster.start(0)
    cluster.sweep()
    assert len(events(cluster)) == 2


def test_an_order_that_comes_again_or_of_what_is_not_there_does_nothing(
    clusters: Clusters,
) -> None:
    cluster = noting(clusters, "message.queued")
    cluster.feed(to_user(ALICE, BOB, "M1"))
    (place,) = places(cluster)
    strange = Place(place.seq + 1, BOB)
    for what in ("settle", "bury", "retry", "drop"):
        order(cluster, Order(strange, what))
    order(cluster, Order(place, "bury", "x"), Order(place, "bury", "y"), Order(place, "drop"))
    order(cluster, Order(place, "settle"), Order(place, "retry"))

    assert events(cluster) == []
    assert dead(cluster) == []


def test_over_the_bound_the_oldest_is_a_dead_letter_and_over_that_it_goes_counted(
    clusters: Clusters,
) -> None:
    cluster = noting(clusters, "message.queued", hooks={"max_events": 3, "max_dead_letters": 2})
    cluster.feed(*(to_user(ALICE, BOB, f"M{n}") for n in range(8)))

    assert [w.message_id for _, w in events(cluster)] == ["M5", "M6", "M7"]  # type: ignore[union-attr]
    assert [event.what.message_id for _, _, event in dead(cluster)] == ["M3", "M4"]  # type: ignore[union-attr]
    counters = cluster.counters()
    assert counters["webhooks.events_noted"] == 8
    assert counters["webhooks.events_crowded_out"] == 5
    assert counters["webhooks.dead_letters_dropped"] == 3


def test_bytes_are_bounded_too(clusters: Clusters) -> None:
    cluster = noting(clusters, "message.queued", hooks={"max_event_bytes": 300})
    cluster.feed(*(to_user(ALICE, BOB, f"M{n}") for n in range(20)))

    assert notes_of(cluster.shards[0]).waiting.size <= 300
    assert events(cluster)[-1][1].message_id == "M19"  # type: ignore[union-attr]
    events(cluster)


def test_one_that_was_crowded_out_while_it_was_posted_is_no_dead_letter(
    clusters: Clusters,
) -> None:
    cluster = noting(clusters, "message.queued", hooks={"max_events": 1})
    cluster.feed(to_user(ALICE, BOB, "M1"))
    (place,) = places(cluster)
    cluster.feed(to_user(ALICE, BOB, "M2"))
    assert len(dead(cluster)) == 1
    order(cluster, Order(place, "settle"))

    assert dead(cluster) == []


def test_more_orders_than_there_is_room_for_are_not_taken(clusters: Clusters) -> None:
    notes = notes_of(noting(clusters).shards[0])
    orders = [Order(Place(1, BOB), "settle")] * MAX_ORDERED

    assert notes.take(orders)
    assert not notes.take(orders[:1])


def test_while_the_store_is_full_messages_are_told_and_the_rest_is_counted(
    clusters: Clusters,
) -> None:
    groups = group_of(HIKE, ALICE, BOB)
    cluster = noting(clusters, groups=groups)
    cluster.sweep()
    cluster.shards[0].refusal = "the disk is full"
    cluster.login(CAROL, 1)
    log_out(cluster, 1)
    cluster.sweep()

    assert events(cluster) == []
    assert cluster.counters()["webhooks.events_unstored"] == 1
    cluster.shards[0].refusal = ""
    cluster.login(CAROL, 2)
    cluster.shards[0].refusal = "the disk is full"
    log_out(cluster, 2)
    cluster.shards[0].refusal = ""
    for _ in range(GRACE_SWEEPS + 1):
        cluster.sweep()
    assert events(cluster) == [(CAROL, UserOnline()), (CAROL, UserOffline(0))]


def test_what_moves_in_one_sweep_is_bounded_in_bytes(clusters: Clusters) -> None:
    cluster = noting(clusters, "message.queued", hooks={"texts": True})
    sends = [to_user(ALICE, BOB, f"M{n}", frame=b"t" * 60_000) for n in range(20)]
    cluster.feed(*sends)
    notes = notes_of(cluster.shards[0])
    assert notes.take([Order(place, "bury", "x") for place in places(cluster)])
    cluster.sweep()
    assert len(dead(cluster)) == MAX_MOVED_BYTES // 60_000 + 1
    for _ in range(4):
        cluster.sweep()

    assert (len(events(cluster)), len(dead(cluster))) == (0, 20)


def test_on_a_full_disk_events_go_and_none_is_moved(clusters: Clusters) -> None:
    cluster = noting(clusters, "message.queued", hooks={"max_events": 2})
    cluster.feed(to_user(ALICE, BOB, "M1"), to_user(ALICE, BOB, "M2"))
    first, second = places(cluster)
    cluster.shards[0].refusal = "the disk is full"
    order(cluster, Order(first, "bury", "x"), Order(second, "settle"))

    assert places(cluster) == [first]
    assert dead(cluster) == []
    cluster.shards[0].refusal = ""
    cluster.sweep()
    assert (places(cluster), len(dead(cluster))) == ([], 1)


def test_a_lower_limit_holds_from_the_next_sweep_on(clusters: Clusters) -> None:
    cluster = noting(clusters, "message.queued")
    cluster.feed(*(to_user(ALICE, BOB, f"M{n}") for n in range(9)))
    changed = settings_with(webhooks={"max_events": 2, "events": ("message.queued",)})
    cluster.shard.adopt(changed)
    cluster.sweep()

    assert (len(events(cluster)), len(dead(cluster))) == (2, 7)


def test_events_are_the_same_whatever_is_killed(clusters: Clusters) -> None:
    """Each message that was stored is told once, whether or not a batch was committed."""
    cluster = noting(clusters, "message.queued")
    lost = to_user(ALICE, BOB, "M2")
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.restart(0, lost, committed=False)
    cluster.feed(lost)
    again = to_user(ALICE, BOB, "M3")
    cluster.restart(0, again, committed=True)
    cluster.feed(again)

    assert [what.message_id for _, what in events(cluster)] == ["M1", "M2", "M3"]  # type: ignore[union-attr]
