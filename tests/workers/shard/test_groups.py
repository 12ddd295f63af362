"""Groups: members only, one stored body a worker, one order for all."""

import pytest

from relay.bus.envelopes import (
    CloseSession,
    Refused,
    SendToGroup,
    SendToUser,
    Stored,
    ToFront,
)
from relay.settings.tables import Settings
from tests import plain
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    DAY_MS,
    FRONT,
    HIKE,
    NOW_S,
    OTHER_FRONT,
    ClusterHarness,
    Clusters,
    ack,
    frames_of,
    group_of,
    local_of,
    settings_with,
    to_group,
    to_user,
)


@pytest.fixture(params=[1, 3], ids=["1 worker", "3 workers"])
def workers(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


@pytest.fixture
def cluster(clusters: Clusters, workers: int) -> ClusterHarness:
    return clusters(workers=workers, groups=group_of(HIKE, ALICE, BOB, CAROL))


def queued(cluster: ClusterHarness, user: str, session: int = 99) -> list[bytes]:
    """What a login finds; the session is closed again."""
    frames = [entry.frame for entry in cluster.login(user, session)]
    cluster.feed(CloseSession(session))
    return frames


def bodies(cluster: ClusterHarness) -> list[int]:
    """How many bodies each worker stores."""
    return [len(shard.tree("bodies")) for shard in cluster.shards]


def members_on_every_worker(workers: int, each: int) -> list[str]:
    return [
        local_of(worker, workers=workers, prefix=f"m{number}-")
        for worker in range(workers)
        for number in range(each)
    ]


# -------------------------------------------------------------------------------------- sending


def test_a_group_message_is_acked_once_and_reaches_every_member_but_its_author(
    cluster: ClusterHarness,
) -> None:
    """2.5.2, R16."""
    send = to_group(ALICE, HIKE, "M1")

    assert cluster.feed(send) == [Stored(send.request, NOW_S)]

    assert queued(cluster, BOB) == queued(cluster, CAROL) == [send.frame]
    assert queued(cluster, ALICE) == []


def test_live_members_get_it_at_once(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 1)
    cluster.login(CAROL, 2, front=OTHER_FRONT)
    send = to_group(ALICE, HIKE, "M1")

    cluster.feed(send)

    assert frames_of(cluster.sent[FRONT], 1) == [send.frame]
    assert frames_of(cluster.sent[OTHER_FRONT], 2) == [send.frame]


def test_the_members_of_one_front_share_the_frame(clusters: Clusters) -> None:
    members = [f"member{number}" for number in range(5)]
    cluster = clusters(groups=group_of(HIKE, ALICE, *members))
    for number, member in enumerate(members):
        cluster.login(member, number)
    send = to_group(ALICE, HIKE, "M1")

    answer = cluster.feed(send)

    ((seq, _),) = cluster.mail(members[0])
    assert answer == [
        plain.deliver_to_many([0, 1, 2, 3, 4], seq, send.frame),
        Stored(send.request, NOW_S),
    ]


@pytest.mark.parametrize(
    ("author", "group", "code"), [(ALICE, "917069852821-999", 404), (DAVE, HIKE, 403)]
)
def test_only_members_send_and_only_to_groups_that_exist(
    cluster: ClusterHarness, author: str, group: str, code: int
) -> None:
    """2.5.1."""
    send = to_group(author, group, "M1")

    (refused,) = cluster.feed(send)

    assert isinstance(refused, Refused)
    assert (refused.request, refused.code) == (send.request, code)
    assert queued(cluster, BOB) == []


def test_a_group_of_one_takes_messages(clusters: Clusters) -> None:
    cluster = clusters(groups=group_of(HIKE, ALICE))
    send = to_group(ALICE, HIKE, "M1")

    assert cluster.feed(send) == [Stored(send.request, NOW_S)]
    assert bodies(cluster) == [0]


def test_a_repeat_to_a_group_is_acked_again_and_delivered_once(cluster: ClusterHarness) -> None:
    """R20."""
    cluster.feed(to_group(ALICE, HIKE, "M1"))
    for worker in range(len(cluster.shards)):
        cluster.restart(worker)
    repeat = to_group(ALICE, HIKE, "M1")
    conflict = to_group(ALICE, HIKE, "M1", "another")

    answer = cluster.feed(repeat, conflict)

    assert answer[0] == Stored(repeat.request, NOW_S)
    assert isinstance(answer[1], Refused)
    assert (answer[1].request, answer[1].code) == (conflict.request, 409)
    assert queued(cluster, BOB) == [repeat.frame]


def test_a_repeat_is_acked_also_to_one_who_is_no_member_any_more(cluster: ClusterHarness) -> None:
    """2.3.2: duplicates are told before membership is asked."""
    cluster.feed(to_group(ALICE, HIKE, "M1"))
    for shard in cluster.shards:
        shard.shard.provision({})
    repeat = to_group(ALICE, HIKE, "M1")

    assert cluster.feed(repeat) == [Stored(repeat.request, NOW_S)]


def test_one_id_may_be_used_in_the_group_and_to_a_member(cluster: ClusterHarness) -> None:
    in_group, in_person = to_group(ALICE, HIKE, "M1"), to_user(ALICE, BOB, "M1", "another")

    cluster.feed(in_group)
    assert cluster.feed(in_person) == [Stored(in_person.request, NOW_S)]

    assert queued(cluster, BOB) == [in_group.frame, in_person.frame]


# -------------------------------------------------------------------------------------- storing


def test_the_body_is_stored_once_a_worker_until_the_last_member_has_it(
    clusters: Clusters, workers: int
) -> None:
    members = members_on_every_worker(workers, 4)
    cluster = clusters(workers=workers, groups=group_of(HIKE, ALICE, *members))
    cluster.feed(to_group(ALICE, HIKE, "M1"))
    assert bodies(cluster) == [1] * workers

    for member in members[:-1]:
        cluster.feed(ack(member, "M1", author=ALICE, group=HIKE))
    assert bodies(cluster) == [0] * (workers - 1) + [1]

    cluster.feed(ack(members[-1], "M1", author=ALICE, group=HIKE))
    assert bodies(cluster) == [0] * workers


def test_a_worker_without_members_stores_nothing(clusters: Clusters) -> None:
    members = [local_of(1, workers=3, prefix=f"m{number}-") for number in range(3)]
    cluster = clusters(workers=3, groups=group_of(HIKE, *members))

    cluster.feed(to_group(members[0], HIKE, "M1"))

    assert bodies(cluster) == [0, 1, 0]


def test_members_of_a_worker_that_is_away_get_their_copies_later_and_in_order(
    clusters: Clusters,
) -> None:
    """I2: the copy is in the outbox when ack 1 leaves."""
    members = members_on_every_worker(3, 1)
    cluster = clusters(workers=3, groups=group_of(HIKE, ALICE, *members))
    owner = cluster.owner(HIKE).index
    away = (owner + 1) % 3
    sends = [to_group(ALICE, HIKE, f"M{number}") for number in range(5)]
    cluster.kill(away)

    answer = cluster.feed(*sends)
    assert answer == [Stored(send.request, NOW_S) for send in sends]
    cluster.restart(owner)
    cluster.start(away)

    for member in members:
        assert queued(cluster, member) == [send.frame for send in sends]
    assert all(shard.tree("outbox") == {} for shard in cluster.shards)


def test_a_send_that_was_stored_but_not_told_is_delivered_once(
    clusters: Clusters, workers: int
) -> None:
    members = members_on_every_worker(workers, 2)
    cluster = clusters(workers=workers, groups=group_of(HIKE, ALICE, *members))
    send = to_group(ALICE, HIKE, "M1")

    cluster.restart(cluster.owner(HIKE).index, send, committed=True)
    assert cluster.feed(send) == [Stored(send.request, NOW_S)]

    for member in members:
        assert queued(cluster, member) == [send.frame]


def test_a_send_whose_batch_was_lost_reaches_nobody_until_it_is_repeated(
    clusters: Clusters, workers: int
) -> None:
    members = members_on_every_worker(workers, 1)
    cluster = clusters(workers=workers, groups=group_of(HIKE, ALICE, *members))
    send = to_group(ALICE, HIKE, "M1")

    cluster.restart(cluster.owner(HIKE).index, send, committed=False)
    assert [queued(cluster, member) for member in members] == [[]] * workers
    cluster.feed(send)

    assert [queued(cluster, member) for member in members] == [[send.frame]] * workers


def test_a_copy_that_a_member_s_worker_still_knows_is_not_delivered_again(
    clusters: Clusters,
) -> None:
    """The group's worker may forget a message some time before the others do."""
    members = members_on_every_worker(2, 1)
    cluster = clusters(workers=2, groups=group_of(HIKE, ALICE, *members))
    owner = cluster.owner(HIKE).index
    elsewhere = members[1 - owner]
    send = to_group(ALICE, HIKE, "M1")
    cluster.feed(send)
    cluster.now_ms += 30 * DAY_MS + 1
    cluster.decide(lambda shard: shard.sweep(b"", max_boxes=0, day_ms=cluster.now_ms), worker=owner)

    assert cluster.feed(send) == [Stored(send.request, NOW_S)]

    assert queued(cluster, elsewhere) == [send.frame]


# ---------------------------------------------------------------------------------------- order


def test_all_members_see_one_order(clusters: Clusters, workers: int) -> None:
    """2.5.3, I4: whether they are present, absent, or served by a worker that was away."""
    members = members_on_every_worker(workers, 2)
    cluster = clusters(workers=workers, groups=group_of(HIKE, *members))
    owner = cluster.owner(HIKE).index
    seen: dict[str, list[bytes]] = {member: [] for member in members}
    for number, member in enumerate(members[::2]):
        cluster.login(member, number)
    for round_ in range(6):
        answer: list[ToFront] = []
        if workers > 1 and round_ == 2:
            cluster.cut(owner, (owner + 1) % workers)
        elif workers > 1 and round_ == 4:
            answer += cluster.join(owner, (owner + 1) % workers)
        answer += cluster.feed(*(to_group(each, HIKE, f"{each}/{round_}") for each in members))
        for number, member in enumerate(members[::2]):
            seen[member] += frames_of(answer, number)
    for member in members[1::2]:
        seen[member] = queued(cluster, member)

    accepted = [f"{member}/{round_}" for round_ in range(6) for member in members]
    for member in members:
        ids = [frame.split()[2].decode() for frame in seen[member]]
        assert ids == [each for each in accepted if not each.startswith(f"{member}/")]


def test_one_author_s_messages_to_the_group_and_to_a_member_keep_their_order_in_each_chat(
    cluster: ClusterHarness,
) -> None:
    cluster.login(BOB, 1)
    sends: list[SendToUser | SendToGroup] = [
        to_group(ALICE, HIKE, "G1"),
        to_user(ALICE, BOB, "U1"),
        to_group(ALICE, HIKE, "G2"),
        to_user(ALICE, BOB, "U2"),
    ]

    answer = cluster.feed(*sends)

    frames = frames_of(answer, 1)
    assert [frame for frame in frames if b" G" in frame] == [sends[0].frame, sends[2].frame]
    assert [frame for frame in frames if b" U" in frame] == [sends[1].frame, sends[3].frame]


# --------------------------------------------------------------------------------------- limits


def settings_with_room_for(messages: int) -> Settings:
    return settings_with(mailbox={"max_entries": messages, "author_share": 1.0})


def test_the_copy_of_a_member_whose_mailbox_is_full_is_skipped_and_counted(
    clusters: Clusters, workers: int
) -> None:
    """2.5.4: the send succeeds, the others get it."""
    cluster = clusters(
        workers=workers,
        settings=settings_with_room_for(2),
        groups=group_of(HIKE, ALICE, BOB, CAROL),
    )
    filling = [to_user(ALICE, BOB, f"F{number}") for number in range(2)]
    cluster.feed(*filling)
    send = to_group(ALICE, HIKE, "M1")

    assert cluster.feed(send) == [Stored(send.request, NOW_S)]

    assert cluster.counters()["group_copies_skipped"] == 1
    assert queued(cluster, BOB) == [each.frame for each in filling]
    assert queued(cluster, CAROL) == [send.frame]


def test_a_message_that_every_member_skips_leaves_no_body(clusters: Clusters) -> None:
    cluster = clusters(settings=settings_with_room_for(1), groups=group_of(HIKE, ALICE, BOB))
    cluster.feed(to_user(ALICE, BOB, "F1"))

    cluster.feed(to_group(ALICE, HIKE, "M1"))

    assert bodies(cluster) == [0]


def test_a_member_that_never_acks_gets_the_newest_and_lets_go_of_old_bodies(
    clusters: Clusters,
) -> None:
    cluster = clusters(settings=settings_with_room_for(2), groups=group_of(HIKE, ALICE, BOB, CAROL))
    cluster.login(BOB, 1)
    cluster.login(CAROL, 2)
    sends = [to_group(ALICE, HIKE, f"M{number}") for number in range(5)]

    for send in sends:
        assert frames_of(cluster.feed(send), 1) == [send.frame]
        for number, member in ((1, BOB), (2, CAROL)):
            cluster.feed(plain.confirmed(number, cluster.mail(member)[-1][0]))

    assert bodies(cluster) == [2]
    assert cluster.counters()["entries_evicted"] == 6


# --------------------------------------------------------------------------------- provisioning


def provision(cluster: ClusterHarness, *members: str) -> None:
    for shard in cluster.shards:
        shard.shard.provision(group_of(HIKE, *members))


def test_who_joins_later_does_not_get_what_was_sent_before(cluster: ClusterHarness) -> None:
    """2.5.2, R31."""
    early, late = to_group(ALICE, HIKE, "M1"), to_group(ALICE, HIKE, "M2")
    cluster.feed(early)
    provision(cluster, ALICE, BOB, CAROL, DAVE)
    cluster.feed(late)

    assert queued(cluster, DAVE) == [late.frame]
    assert queued(cluster, BOB) == [early.frame, late.frame]


def test_who_is_removed_keeps_what_was_sent_before_and_may_send_no_more(
    cluster: ClusterHarness,
) -> None:
    early = to_group(ALICE, HIKE, "M1")
    cluster.feed(early)
    provision(cluster, ALICE, CAROL)
    cluster.feed(to_group(ALICE, HIKE, "M2"))

    (refused,) = cluster.feed(to_group(BOB, HIKE, "M3"))
    assert isinstance(refused, Refused)
    assert refused.code == 403
    assert queued(cluster, BOB) == [early.frame]


def test_who_is_removed_may_still_ack_what_it_got(cluster: ClusterHarness) -> None:
    cluster.feed(to_group(ALICE, HIKE, "M1"))
    provision(cluster, ALICE, CAROL)

    cluster.feed(ack(BOB, "M1", author=ALICE, group=HIKE))

    assert queued(cluster, BOB) == []
    assert len(queued(cluster, ALICE)) == 1


def test_a_group_that_is_taken_off_the_file_is_unknown(cluster: ClusterHarness) -> None:
    for shard in cluster.shards:
        shard.shard.provision({})

    (refused,) = cluster.feed(to_group(ALICE, HIKE, "M1"))

    assert isinstance(refused, Refused)
    assert refused.code == 404


def test_2_3_2_a_store_without_room_refuses_new_sends_behind_every_other_check(
    cluster: ClusterHarness,
) -> None:
    stored = to_group(ALICE, HIKE, "M1")
    cluster.feed(stored)
    cluster.owner(HIKE).refusal = "the disk is full"
    new = to_group(ALICE, HIKE, "M2")

    assert cluster.feed(stored) == [Stored(stored.request, NOW_S)]
    (no_member,) = cluster.feed(to_group(DAVE, HIKE, "M3"))
    assert isinstance(no_member, Refused)
    assert no_member.code == 403
    assert cluster.feed(new) == [Refused(new.request, 500, "the disk is full")]
