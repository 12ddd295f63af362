"""Sends to a user: stored before acked, delivered once, refused with a reason."""

import pytest

from relay.bus.envelopes import (
    LOGIN,
    Acked,
    CloseSession,
    Entry,
    Page,
    Ready,
    Refused,
    RequestNumber,
    SendToGroup,
    SendToUser,
    SessionRefused,
    Stored,
)
from tests import plain
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    FRONT,
    NOW_S,
    OTHER_FRONT,
    ClusterHarness,
    Clusters,
    ack,
    frames_of,
    local_of,
    settings_with,
    to_group,
    to_user,
)
from workers.shard.shard import Shard


@pytest.fixture
def small(clusters: Clusters) -> ClusterHarness:
    """A relay whose mailboxes hold three messages."""
    return clusters(settings=settings_with(mailbox={"max_entries": 3, "author_share": 1.0}))


def frames(entries: list[Entry]) -> list[bytes]:
    return [entry.frame for entry in entries]


def codes(answer: list[object]) -> list[int]:
    return [item.code for item in answer if isinstance(item, Refused)]


# ------------------------------------------------------------------------------------ delivery


def test_a_message_to_an_absent_user_is_acked_and_waits(cluster: ClusterHarness) -> None:
    send = to_user(ALICE, BOB, "M1")

    assert cluster.feed(send) == [Stored(send.request, NOW_S)]
    assert frames(cluster.login(BOB, 1)) == [send.frame]


def test_a_message_to_a_live_session_is_acked_and_delivered_at_once(
    cluster: ClusterHarness,
) -> None:
    cluster.login(BOB, 1, front=OTHER_FRONT)
    send = to_user(ALICE, BOB, "M1")

    cluster.feed(send)

    ((seq, _),) = cluster.mail(BOB)
    assert cluster.sent == {
        FRONT: [Stored(send.request, NOW_S)],
        OTHER_FRONT: [plain.deliver(1, seq, "", send.frame)],
    }


def test_the_ack_carries_the_time_of_the_message(cluster: ClusterHarness) -> None:
    """R10."""
    send = to_user(ALICE, BOB, "M1", time_s=12345)

    assert cluster.feed(send) == [Stored(send.request, 12345)]


def test_a_message_to_oneself_is_delivered_like_any_other(cluster: ClusterHarness) -> None:
    """R30."""
    cluster.login(ALICE, 1)
    send = to_user(ALICE, ALICE, "M1")

    answer = cluster.feed(send)

    assert answer[0] == Stored(send.request, NOW_S)
    assert frames_of(answer, 1) == [send.frame]


def test_the_sends_of_one_batch_are_acked_and_delivered_in_their_order(
    cluster: ClusterHarness,
) -> None:
    cluster.login(BOB, 1, front=OTHER_FRONT)
    sends = [to_user(ALICE, BOB, f"M{number}") for number in range(20)]

    cluster.feed(*sends)

    assert cluster.sent[FRONT] == [Stored(send.request, NOW_S) for send in sends]
    assert frames_of(cluster.sent[OTHER_FRONT], 1) == [send.frame for send in sends]


def test_order_does_not_depend_on_the_clock(cluster: ClusterHarness) -> None:
    """R9; also where the worker's own clock goes back."""
    sends = [to_user(ALICE, BOB, f"M{number}", time_s=NOW_S - number) for number in range(4)]
    for send in sends:
        cluster.feed(send)
        cluster.now_ms -= 60_000
        cluster.restart()

    assert frames(cluster.login(BOB, 1)) == [send.frame for send in sends]


def test_nothing_is_sent_of_a_batch_that_is_lost_and_the_repeat_is_new(
    cluster: ClusterHarness,
) -> None:
    """I1: what was not committed was not acked."""
    cluster.login(BOB, 1)
    send = to_user(ALICE, BOB, "M1")

    assert cluster.restart(0, send, committed=False) == []
    assert cluster.mail(BOB) == []
    answer = cluster.feed(send)

    assert answer[0] == Stored(send.request, NOW_S)
    assert frames_of(answer, 1) == [send.frame]


def test_a_batch_that_was_committed_but_not_told_is_told_by_the_next_incarnation(
    cluster: ClusterHarness,
) -> None:
    """I9: the session is re-announced, the send repeated; each hears its news once."""
    cluster.login(BOB, 1, front=OTHER_FRONT)
    send = to_user(ALICE, BOB, "M1")

    announced = cluster.restart(0, send, committed=True)
    repeated = cluster.feed(send)

    assert frames_of(announced, 1) == [send.frame]
    assert repeated == [Stored(send.request, NOW_S)]


def test_an_acked_message_is_not_delivered_again(cluster: ClusterHarness) -> None:
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.login(BOB, 1)
    cluster.feed(ack(BOB, "M1", author=ALICE))

    assert cluster.login(BOB, 2) == []


def test_an_unacked_message_is_delivered_again_to_the_next_session(
    cluster: ClusterHarness,
) -> None:
    cluster.login(BOB, 1)
    send = to_user(ALICE, BOB, "M1")
    cluster.feed(send)
    cluster.feed(CloseSession(1))

    assert frames(cluster.login(BOB, 2)) == [send.frame]


# ------------------------------------------------------------------------------------- repeats


def test_a_repeat_is_acked_with_the_first_time_and_not_delivered(cluster: ClusterHarness) -> None:
    """R20."""
    cluster.login(BOB, 1, front=OTHER_FRONT)
    cluster.feed(to_user(ALICE, BOB, "M1", time_s=1000))
    repeat = to_user(ALICE, BOB, "M1", time_s=2000)

    assert cluster.feed(repeat) == [Stored(repeat.request, 1000)]
    assert len(cluster.mail(BOB)) == 1
    assert cluster.counters()["sends_repeated"] == 1


def test_a_repeat_within_one_batch_is_one_too(cluster: ClusterHarness) -> None:
    send, repeat = to_user(ALICE, BOB, "M1"), to_user(ALICE, BOB, "M1")

    answer = cluster.feed(send, repeat)

    assert answer == [Stored(send.request, NOW_S), Stored(repeat.request, NOW_S)]
    assert len(cluster.mail(BOB)) == 1


@pytest.mark.parametrize("level", [2, 3, 4])
def test_a_repeat_of_a_message_that_was_acked_is_not_delivered_again(
    cluster: ClusterHarness, level: int
) -> None:
    cluster.login(BOB, 1, front=OTHER_FRONT)
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.feed(ack(BOB, "M1", level, author=ALICE), front=OTHER_FRONT)
    repeat = to_user(ALICE, BOB, "M1")

    assert cluster.feed(repeat) == [Stored(repeat.request, NOW_S)]
    assert cluster.mail(BOB) == []


def test_a_repeat_is_recognised_by_the_next_incarnation(cluster: ClusterHarness) -> None:
    """I3."""
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.restart()
    repeat = to_user(ALICE, BOB, "M1")

    assert cluster.feed(repeat) == [Stored(repeat.request, NOW_S)]
    assert len(cluster.mail(BOB)) == 1


def test_the_same_id_with_another_message_is_a_conflict(cluster: ClusterHarness) -> None:
    """R20, R29: refused, and nothing but the first is ever delivered."""
    cluster.login(BOB, 1)
    send = to_user(ALICE, BOB, "M1", "hi")
    cluster.feed(send)
    other = to_user(ALICE, BOB, "M1", "ho")

    (refused,) = cluster.feed(other)

    assert isinstance(refused, Refused)
    assert (refused.request, refused.code) == (other.request, 409)
    assert [entry for _, entry in cluster.mail(BOB)] == [b"m" + send.frame]


@pytest.mark.parametrize(
    "other", [to_user(CAROL, BOB, "M1", "ho"), to_user(ALICE, CAROL, "M1", "ho")]
)
def test_an_id_is_only_taken_for_its_author_in_its_chat(
    cluster: ClusterHarness, other: SendToUser
) -> None:
    cluster.feed(to_user(ALICE, BOB, "M1", "hi"))

    assert cluster.feed(other) == [Stored(other.request, NOW_S)]


# ----------------------------------------------------------------------------------- ownership


def test_i8_what_is_for_a_slot_of_another_worker_is_refused_counted_and_answered(
    clusters: Clusters,
) -> None:
    cluster = clusters(workers=2)
    elsewhere = local_of(1, workers=2)
    send = to_user(ALICE, elsewhere, "M1")
    to_a_group = SendToGroup(
        RequestNumber(77), ALICE, elsewhere, "M2", NOW_S, b"12345678", b"frame"
    )

    def misrouted(shard: Shard) -> None:
        shard.handle(FRONT, send)
        shard.handle(FRONT, to_a_group)
        shard.handle(FRONT, plain.open_session(5, elsewhere, LOGIN, 0))
        shard.handle(FRONT, Acked(elsewhere, ["M1"], 2, ALICE, False, elsewhere, False, -1))

    first, second, login = cluster.decide(misrouted, worker=0)

    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    assert isinstance(login, SessionRefused)
    assert [first.request, second.request, login.session] == [send.request, 77, 5]
    assert [first.code, second.code, login.code] == [503, 503, 503]
    assert cluster.counters()["sends_refused_503"] == 2
    assert cluster.counters()["acks_misrouted"] == 1
    assert cluster.mail(elsewhere) == []


# -------------------------------------------------------------------------------------- limits


def test_a_full_mailbox_refuses_what_nobody_ever_took(small: ClusterHarness) -> None:
    """2.7: an entry that was never sent is never dropped."""
    sends = [to_user(ALICE, BOB, f"M{number}") for number in range(4)]

    answer = small.feed(*sends)

    assert answer[:3] == [Stored(send.request, NOW_S) for send in sends[:3]]
    assert isinstance(answer[3], Refused)
    assert (answer[3].request, answer[3].code) == (sends[3].request, 507)
    assert frames(small.login(BOB, 1)) == [send.frame for send in sends[:3]]


def test_a_refused_send_may_be_repeated_once_there_is_room(small: ClusterHarness) -> None:
    small.feed(*(to_user(ALICE, BOB, f"M{number}") for number in range(4)))
    small.login(BOB, 1)
    small.feed(ack(BOB, "M0", author=ALICE))
    repeat = to_user(ALICE, BOB, "M3")

    answer = small.feed(repeat)

    assert answer[0] == Stored(repeat.request, NOW_S)
    assert frames_of(answer, 1) == [repeat.frame]


def test_2_3_2_a_store_without_room_refuses_new_sends_behind_every_other_check(
    small: ClusterHarness,
) -> None:
    stored = [to_user(ALICE, BOB, f"M{number}") for number in range(3)]
    small.feed(*stored)
    before = small.mail(BOB)
    for shard in small.shards:
        shard.refusal = "the disk is full"

    sends = [
        to_user(ALICE, CAROL, "NEW"),
        to_user(ALICE, BOB, "M3"),
        to_user(ALICE, BOB, "M0", "another text"),
        stored[0],
    ]
    answers = [small.feed(send)[0] for send in sends]

    assert codes(list(answers)) == [500, 507, 409]
    assert answers[-1] == Stored(stored[0].request, NOW_S)
    assert small.mail(BOB) == before
    assert small.mail(CAROL) == []


def test_another_mailbox_is_not_affected(small: ClusterHarness) -> None:
    """I7."""
    small.feed(*(to_user(ALICE, BOB, f"M{number}") for number in range(4)))
    send = to_user(ALICE, CAROL, "M3")

    assert small.feed(send) == [Stored(send.request, NOW_S)]


def test_the_bytes_of_a_mailbox_are_bounded(clusters: Clusters) -> None:
    cluster = clusters(settings=settings_with(mailbox={"max_bytes": 2500, "author_share": 1.0}))
    sends = [to_user(ALICE, BOB, f"M{number}", frame=bytes(1000)) for number in range(3)]

    answer = cluster.feed(*sends)

    assert codes(list(answer)) == [507]
    assert len(cluster.mail(BOB)) == 2


def confirm_all(cluster: ClusterHarness, session: int = 1) -> None:
    """Have Bob's client be known to have all that waits for him (R7)."""
    cluster.feed(plain.confirmed(session, cluster.mail(BOB)[-1][0]))


def test_a_client_that_never_acks_gets_the_newest(small: ClusterHarness) -> None:
    """2.7 (a): what it is known to have makes room, and that is counted."""
    small.login(BOB, 1)
    sends = [to_user(ALICE, BOB, f"M{number}") for number in range(10)]

    answers = []
    for send in sends:
        answers.append(small.feed(send))
        confirm_all(small)

    assert [frames_of(answer, 1) for answer in answers] == [[send.frame] for send in sends]
    assert frames(small.login(BOB, 2)) == [send.frame for send in sends[-3:]]
    assert small.counters()["entries_evicted"] == 7


def test_a_client_that_never_acks_gets_the_newest_while_it_is_away(small: ClusterHarness) -> None:
    small.login(BOB, 1)
    small.feed(*(to_user(ALICE, BOB, f"M{number}") for number in range(3)))
    confirm_all(small)
    small.feed(CloseSession(1))
    late = [to_user(ALICE, BOB, f"L{number}") for number in range(4)]

    answer = small.feed(*late)

    assert codes(list(answer)) == [507]
    assert frames(small.login(BOB, 2)) == [send.frame for send in late[:3]]


def test_what_the_client_is_not_known_to_have_is_not_dropped_for_room(
    small: ClusterHarness,
) -> None:
    """2.7: its front had it, its socket too, but its program perhaps not."""
    small.login(BOB, 1)
    sends = [to_user(ALICE, BOB, f"M{number}") for number in range(3)]
    small.feed(sends[0])
    confirm_all(small)
    small.feed(*sends[1:])
    small.feed(CloseSession(1))
    late = [to_user(ALICE, BOB, f"L{number}") for number in range(2)]

    answer = small.feed(*late)

    assert codes(list(answer)) == [507]
    assert frames(small.login(BOB, 2)) == [sends[1].frame, sends[2].frame, late[0].frame]


def test_what_a_front_took_with_it_in_its_death_was_never_sent(small: ClusterHarness) -> None:
    """2.7: nothing says that a socket ever saw it, so it may not be evicted."""
    small.login(BOB, 1)
    sends = [to_user(ALICE, BOB, f"M{number}") for number in range(3)]
    small.feed(*sends)
    small.lose_front()

    answer = small.feed(to_user(ALICE, BOB, "L"))

    assert codes(list(answer)) == [507]
    assert frames(small.login(BOB, 2)) == [send.frame for send in sends]


def test_a_queue_that_was_being_packed_when_the_connection_went_is_not_dropped_for_room(
    clusters: Clusters,
) -> None:
    """Its front had taken a page of it, and announced that to the worker's next incarnation."""
    cluster = clusters(
        settings=settings_with(
            flow={"page_bytes": 1}, mailbox={"max_entries": 3, "author_share": 1.0}
        )
    )
    sends = [to_user(ALICE, BOB, f"M{number}") for number in range(3)]
    cluster.feed(*sends)
    cluster.feed(plain.open_session(1, BOB, LOGIN, 0))
    cluster.restart()
    cluster.feed(CloseSession(1))

    assert codes(list(cluster.feed(to_user(ALICE, BOB, "L")))) == [507]
    assert frames(cluster.login(BOB, 2)) == [send.frame for send in sends]


def test_a_client_that_never_acks_stays_usable_when_its_worker_is_restarted(
    small: ClusterHarness,
) -> None:
    small.login(BOB, 1)
    small.feed(*(to_user(ALICE, BOB, f"M{number}") for number in range(3)))
    small.restart()
    confirm_all(small)  # its front says so again
    send = to_user(ALICE, BOB, "M3")

    answer = small.feed(send)

    assert answer[0] == Stored(send.request, NOW_S)
    assert frames_of(answer, 1) == [send.frame]


def test_nothing_is_dropped_where_a_crash_took_the_knowledge_of_what_was_sent(
    small: ClusterHarness,
) -> None:
    small.login(BOB, 1)
    small.feed(*(to_user(ALICE, BOB, f"M{number}") for number in range(3)))
    small.restart(announce=False)

    assert codes(list(small.feed(to_user(ALICE, BOB, "M3")))) == [507]
    assert len(small.login(BOB, 2)) == 3


# ------------------------------------------------------------------------------------- routing


def test_what_another_worker_owns_is_refused_for_a_retry(clusters: Clusters) -> None:
    """I8: a front with an old topology."""
    cluster = clusters(workers=2)
    local = local_of(1, workers=2)
    strays: list[SendToUser | SendToGroup] = [
        to_user(ALICE, local, "M1"),
        to_group(ALICE, local, "M2"),
    ]

    def decide(shard: Shard) -> None:
        for send in strays:
            shard.handle(FRONT, send)

    answer = cluster.decide(decide, worker=0)

    assert [(item.request, item.code) for item in answer if isinstance(item, Refused)] == [
        (send.request, 503) for send in strays
    ]
    assert cluster.mail(local) == []


def test_an_ack_for_another_worker_is_counted_and_does_nothing(clusters: Clusters) -> None:
    cluster = clusters(workers=2)
    acker = local_of(1, workers=2)
    misrouted: Acked = ack(acker, "M1", author=ALICE)

    answer = cluster.decide(lambda shard: shard.handle(FRONT, misrouted), worker=0)

    assert answer == []
    assert cluster.counters()["acks_misrouted"] == 1


# ----------------------------------------------------------------------------- other settings


def test_a_lower_limit_holds_for_a_mailbox_that_is_over_it_and_takes_nothing_away(
    cluster: ClusterHarness,
) -> None:
    sends = [to_user(ALICE, BOB, f"M{number}") for number in range(4)]
    cluster.feed(*sends)

    cluster.shard.adopt(settings_with(mailbox={"max_entries": 2, "author_share": 1.0}))

    assert codes(list(cluster.feed(to_user(ALICE, BOB, "M4")))) == [507]
    assert frames(cluster.login(BOB, 1)) == [send.frame for send in sends]


def test_a_mailbox_over_a_lower_limit_gives_up_what_was_sent_until_it_fits(
    cluster: ClusterHarness,
) -> None:
    cluster.feed(*[to_user(ALICE, BOB, f"M{number}") for number in range(4)])
    cluster.login(BOB, 1)
    confirm_all(cluster)

    cluster.shard.adopt(settings_with(mailbox={"max_entries": 2, "author_share": 1.0}))

    last = to_user(ALICE, BOB, "M4")
    assert codes(list(cluster.feed(last))) == []
    assert len(cluster.mail(BOB)) == 2
    assert cluster.counters()["entries_evicted"] == 3


def test_a_higher_limit_holds_for_a_mailbox_that_was_full(small: ClusterHarness) -> None:
    small.feed(*[to_user(ALICE, BOB, f"M{number}") for number in range(3)])
    assert codes(list(small.feed(to_user(ALICE, BOB, "M3")))) == [507]

    small.shard.adopt(settings_with(mailbox={"max_entries": 4, "author_share": 1.0}))

    assert codes(list(small.feed(to_user(ALICE, BOB, "M4")))) == []


# ------------------------------------------------------------------------- queue and live order


def test_a_live_message_does_not_overtake_the_queue(clusters: Clusters) -> None:
    """I4: while pages are being read what comes stays in the mailbox."""
    cluster = clusters(settings=settings_with(flow={"page_bytes": 1}))
    queued = [to_user(ALICE, BOB, f"Q{number}") for number in range(3)]
    cluster.feed(*queued)
    first = cluster.feed(plain.open_session(1, BOB, LOGIN, 0))
    live = to_user(ALICE, BOB, "L1")

    assert frames_of(cluster.feed(live), 1) == []

    pages = [item for item in first if isinstance(item, Page)]
    while pages[-1].more:
        answer = cluster.feed(Ready(1, pages[-1].entries[-1].seq, len(pages)))
        pages += [item for item in answer if isinstance(item, Page)]
    assert frames_of(list(pages), 1) == [send.frame for send in [*queued, live]]
    assert [(page.queue, page.last) for page in pages] == [
        (True, False),
        (True, False),
        (True, True),
        (False, False),
    ]
