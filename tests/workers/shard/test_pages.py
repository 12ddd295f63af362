"""Pages: the queue up to a barrier, then live; clients that are slow, and fronts that are."""

from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    Page,
    Ready,
    Refused,
    SessionOpened,
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
    pages_of,
    receipt,
    sends_to_bob,
    settings_with,
    to_user,
)
from workers.shard.shard import Shard

EMPTY_QUEUE = Page(1, [], queue=True, last=True, more=False)
LOG_IN = plain.open_session(1, BOB, LOGIN, 0)


def seqs(cluster: ClusterHarness, user: str = BOB) -> list[int]:
    return [seq for seq, _ in cluster.mail(user)]


# ------------------------------------------------------------------------------------ the queue


def test_the_queue_is_read_page_by_page(paged: ClusterHarness) -> None:
    sends = sends_to_bob("M1", "M2", "M3")
    paged.feed(*sends)
    first, second, third = seqs(paged)

    pages = pages_of(paged.feed(LOG_IN))
    pages += pages_of(paged.feed(plain.ready(1, first, 1)))
    pages += pages_of(paged.feed(plain.ready(1, second, 2)))

    assert frames_of(list(pages), 1) == [send.frame for send in sends]
    assert [(page.queue, page.last, page.more) for page in pages] == [
        (True, False, True),
        (True, False, True),
        (True, True, False),
    ]
    assert third == pages[-1].entries[-1].seq


def test_what_comes_while_the_queue_is_read_follows_behind_its_end(paged: ClusterHarness) -> None:
    """2.2.2: after the last `q`, and not in it."""
    paged.feed(*sends_to_bob("M1", "M2"))
    first, second = seqs(paged)
    paged.feed(LOG_IN)
    (late,) = sends_to_bob("M3")

    assert paged.feed(late) == [Stored(late.request, NOW_S)]
    (last,) = paged.feed(plain.ready(1, first, 1))
    (behind,) = paged.feed(plain.ready(1, second, 2))

    assert isinstance(last, Page)
    assert (last.queue, last.last, last.more) == (True, True, True)
    assert isinstance(behind, Page)
    assert (behind.queue, behind.last, behind.more) == (False, False, False)
    assert frames_of([behind], 1) == [late.frame]


def test_what_is_acked_while_the_queue_is_read_does_not_come(paged: ClusterHarness) -> None:
    paged.feed(*sends_to_bob("M1", "M2", "M3"))
    first, _, third = seqs(paged)
    paged.feed(LOG_IN)
    paged.feed(ack(BOB, "M2", author=ALICE))

    (page,) = pages_of(paged.feed(plain.ready(1, first, 1)))

    assert [entry.seq for entry in page.entries] == [third]


def test_a_queue_that_is_acked_before_it_is_read_still_ends(paged: ClusterHarness) -> None:
    paged.feed(*sends_to_bob("M1", "M2"))
    first, _ = seqs(paged)
    paged.feed(LOG_IN)
    paged.feed(ack(BOB, ["M1", "M2"], author=ALICE))

    assert paged.feed(plain.ready(1, first, 1)) == [EMPTY_QUEUE]


def test_live_frames_name_their_entry(cluster: ClusterHarness) -> None:
    """So that a front can announce how far its session is."""
    cluster.login(BOB, 1)
    (send,) = sends_to_bob("M1")

    answer = cluster.feed(send)

    assert answer[1] == plain.deliver(1, seqs(cluster)[0], "", send.frame)


# -------------------------------------------------------------------------------- slow readers


def test_a_paused_session_gets_nothing_until_it_is_ready(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 1)
    cluster.feed(plain.pause(1, 0))
    sends = sends_to_bob("M1", "M2")

    answer = cluster.feed(*sends)
    assert frames_of(answer, 1) == []

    (page,) = cluster.feed(plain.ready(1, 0, 1))
    assert frames_of([page], 1) == [send.frame for send in sends]


def test_what_crossed_with_the_pause_comes_again(cluster: ClusterHarness) -> None:
    """The front drops it, and says how far it got."""
    cluster.login(BOB, 1)
    written, crossed, waiting = sends_to_bob("M1", "M2", "M3")
    cluster.feed(written)
    (cursor,) = seqs(cluster)
    cluster.feed(crossed)
    cluster.feed(plain.pause(1, 0))
    cluster.feed(waiting)

    (page,) = pages_of(cluster.feed(plain.ready(1, cursor, 1)))

    assert frames_of([page], 1) == [crossed.frame, waiting.frame]
    assert (page.queue, page.more) == (False, False)


def test_a_session_that_is_ready_is_live_again(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 1)
    cluster.feed(plain.pause(1, 0))

    assert cluster.feed(plain.ready(1, 0, 1)) == [Page(1, [], queue=False, last=False, more=False)]
    (send,) = sends_to_bob("M1")
    assert frames_of(cluster.feed(send), 1) == [send.frame]


def test_a_slow_session_reads_its_backlog_page_by_page(paged: ClusterHarness) -> None:
    paged.login(BOB, 1)
    paged.feed(plain.pause(1, 0))
    sends = sends_to_bob("M1", "M2")
    paged.feed(*sends)
    first, _ = seqs(paged)

    pages = pages_of(paged.feed(plain.ready(1, 0, 1)))
    (late,) = sends_to_bob("M3")
    paged.feed(late)
    pages += pages_of(paged.feed(plain.ready(1, first, 2)))
    pages += pages_of(paged.feed(plain.ready(1, seqs(paged)[1], 3)))

    assert frames_of(list(pages), 1) == [send.frame for send in [*sends, late]]
    assert [page.more for page in pages] == [True, True, False]


def test_a_slow_session_slows_nobody_else(cluster: ClusterHarness) -> None:
    """I7."""
    cluster.login(BOB, 1)
    cluster.login(CAROL, 2)
    cluster.feed(plain.pause(1, 0))
    send = to_user(ALICE, CAROL, "M1")

    assert frames_of(cluster.feed(send), 2) == [send.frame]


def test_receipts_that_crossed_with_the_pause_are_not_confirmed_by_an_earlier_pong(
    cluster: ClusterHarness,
) -> None:
    cluster.feed(*(to_user(BOB, ALICE, f"M{number}") for number in range(2)))
    cluster.login(BOB, 1)
    cluster.feed(ack(ALICE, "M0", author=BOB))
    cluster.feed(ack(ALICE, "M1", author=BOB))
    written, crossed = seqs(cluster)
    cluster.feed(plain.pause(1, written))

    cluster.feed(plain.confirmed(1, written))
    assert seqs(cluster) == [crossed]
    (page,) = pages_of(cluster.feed(plain.ready(1, written, 1)))

    assert frames_of([page], 1) == [receipt(BOB, ALICE, "M1")]


def test_what_a_slow_reader_was_not_written_is_never_evicted(clusters: Clusters) -> None:
    """What was sent behind the pause's cursor the front has dropped (2.7)."""
    cluster = clusters(settings=settings_with(mailbox={"max_entries": 3, "author_share": 1.0}))
    cluster.login(BOB, 1)
    sends = sends_to_bob("M1", "M2", "M3")
    cluster.feed(*sends)
    written = seqs(cluster)[0]
    cluster.feed(plain.pause(1, written), plain.confirmed(1, written))

    evicting, refused = sends_to_bob("M4", "M5")
    assert cluster.feed(evicting) == [Stored(evicting.request, NOW_S)]  # in place of M1
    (answer,) = cluster.feed(refused)

    assert isinstance(answer, Refused)
    assert answer.code == 507
    (page,) = pages_of(cluster.feed(plain.ready(1, written, 1)))
    assert frames_of([page], 1) == [send.frame for send in (*sends[1:], evicting)]


def test_a_pause_that_crosses_with_a_page_of_more_waits_for_the_ready(
    paged: ClusterHarness,
) -> None:
    """Such a page is answered with `Ready` in any case, as soon as its reader has room."""
    sends = sends_to_bob("M1", "M2")
    paged.feed(*sends)
    first, second = seqs(paged)
    (page,) = pages_of(paged.feed(plain.open_session(1, BOB, LIVE, 0)))
    assert page.more

    paged.feed(plain.pause(1, 0))
    (next_page,) = pages_of(paged.feed(plain.ready(1, first, 1)))

    assert [entry.seq for entry in next_page.entries] == [second]


def test_an_outdated_ready_is_not_answered_where_a_new_one_follows(
    paged: ClusterHarness,
) -> None:
    """The page that crossed with it asks for the next itself; two answers would be one too many."""
    paged.feed(*sends_to_bob("M1", "M2", "M3"))
    first, second, _ = seqs(paged)
    paged.feed(plain.open_session(1, BOB, LIVE, 0))

    assert paged.feed(plain.ready(1, 0, 0)) == []
    (page,) = pages_of(paged.feed(plain.ready(1, first, 1)))

    assert [entry.seq for entry in page.entries] == [second]


def test_an_outdated_ready_is_left_to_the_page_that_crossed_it(cluster: ClusterHarness) -> None:
    """A paused session is announced, and drained before the page reaches its front.

    That page asks for another `Ready`, so that nothing the front dropped meanwhile is skipped.
    """
    sends = sends_to_bob("M1", "M2")
    cluster.feed(sends[0])
    (page,) = pages_of(cluster.feed(plain.open_session(1, BOB, LIVE, 0), plain.pause(1, 0)))
    assert page.more
    cluster.feed(sends[1])

    assert pages_of(cluster.feed(plain.ready(1, 0, 0))) == []

    answer = cluster.feed(Ready(1, page.entries[-1].seq, 1))
    assert frames_of(answer, 1) == [sends[1].frame]


# --------------------------------------------------------------------------------- slow fronts


def full(shard: Shard) -> None:
    shard.front_full(FRONT)


def has_room(shard: Shard) -> None:
    shard.front_has_room(FRONT)


def test_a_full_front_gets_no_entries_until_it_has_room(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 1)
    cluster.decide(full)
    sends = sends_to_bob("M1", "M2")

    answer = cluster.feed(*sends)
    assert answer == [
        Stored(sends[0].request, NOW_S),
        Page(1, [], queue=False, last=False, more=True),  # asks where the session stands
        Stored(sends[1].request, NOW_S),
    ]
    assert cluster.feed(plain.ready(1, 0, 2)) == []

    answer = cluster.decide(has_room)
    assert answer == [Page(1, [], queue=False, last=False, more=True)]
    assert cluster.decide(has_room) == []

    answer = cluster.feed(plain.ready(1, 0, 3))
    assert frames_of(answer, 1) == [send.frame for send in sends]


def test_a_login_through_a_full_front_gets_its_queue_when_there_is_room(
    cluster: ClusterHarness,
) -> None:
    (send,) = sends_to_bob("M1")
    cluster.feed(send)
    cluster.decide(full)

    assert cluster.feed(LOG_IN) == [SessionOpened(1)]
    (page,) = pages_of(cluster.decide(has_room))

    assert frames_of([page], 1) == [send.frame]
    assert (page.queue, page.last) == (True, True)


def test_a_session_that_nothing_waits_for_is_not_disturbed_by_a_full_front(
    cluster: ClusterHarness,
) -> None:
    cluster.login(BOB, 1)

    assert cluster.decide(full) == []
    assert cluster.decide(has_room) == []
    (send,) = sends_to_bob("M1")
    assert frames_of(cluster.feed(send), 1) == [send.frame]


def test_other_fronts_are_not_affected_by_a_full_one(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 1, front=OTHER_FRONT)
    cluster.decide(full)
    (send,) = sends_to_bob("M1")

    assert frames_of(cluster.feed(send), 1) == [send.frame]


def test_what_a_pause_made_the_front_drop_comes_again_though_the_front_was_full_meanwhile(
    cluster: ClusterHarness,
) -> None:
    """The front is full before the pause arrives, and has room before the session is ready."""
    cluster.login(BOB, 1)
    dropped, waiting = sends_to_bob("M1", "M2")
    cluster.feed(dropped)
    cluster.decide(full)
    cluster.feed(waiting)
    cluster.decide(has_room)
    cluster.feed(plain.pause(1, 0))

    # The first of these crossed with the question where the session stands, and is out of date.
    assert cluster.feed(plain.ready(1, 0, 1)) == []
    (page,) = pages_of(cluster.feed(plain.ready(1, 0, 2)))

    assert frames_of([page], 1) == [dropped.frame, waiting.frame]


def test_pages_of_one_batch_fill_a_front_and_the_rest_waits_for_room(clusters: Clusters) -> None:
    """I6: many logins at once, as after a restart, take no more than the link's credit."""
    cluster = clusters(settings=settings_with(flow={"link_bytes": 2500, "page_bytes": 1000}))
    users = [f"user{number}" for number in range(6)]
    sends = [to_user(ALICE, user, "M1", frame=bytes(1000)) for user in users]
    cluster.feed(*sends)

    answer = cluster.feed(
        *(plain.open_session(number, user, LOGIN, 0) for number, user in enumerate(users))
    )
    assert [item for item in answer if isinstance(item, SessionOpened)] == [
        SessionOpened(number) for number in range(6)
    ]
    pages = [item for item in answer if isinstance(item, Page)]
    assert len(pages) == 3

    more = [item for item in cluster.decide(has_room) if isinstance(item, Page)]
    assert len(more) == 3
    assert {page.session for page in pages + more} == set(range(6))
