"""Logins: what a session gets first, takeovers, lost fronts, and sessions that are announced."""

import pytest

from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    QUEUE,
    CloseSession,
    EndSession,
    Page,
    SessionOpened,
    SessionRefused,
    Stored,
)
from tests import plain
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    FRONT,
    NOW_S,
    OTHER_FRONT,
    ClusterHarness,
    Clusters,
    ack,
    frames_of,
    local_of,
    pages_of,
    receipt,
    searches,
    sends_to_bob,
    settings_with,
    to_user,
)
from workers.shard import logins
from workers.shard.mailbox import Mailbox
from workers.shard.shard import Shard

EMPTY_QUEUE = Page(1, [], queue=True, last=True, more=False)
LOG_IN = plain.open_session(1, BOB, LOGIN, 0)


def seqs(cluster: ClusterHarness, user: str = BOB) -> list[int]:
    return [seq for seq, _ in cluster.mail(user)]


# --------------------------------------------------------------------------------------- login


def test_a_login_with_nothing_waiting_gets_one_empty_page(cluster: ClusterHarness) -> None:
    """R3."""
    assert cluster.feed(LOG_IN) == [SessionOpened(1), EMPTY_QUEUE]


def test_what_waits_comes_in_order_and_ends_the_queue(cluster: ClusterHarness) -> None:
    sends = sends_to_bob("M1", "M2")
    cluster.feed(*sends)

    opened, page = cluster.feed(LOG_IN)

    assert opened == SessionOpened(1)
    assert isinstance(page, Page)
    assert [entry.frame for entry in page.entries] == [send.frame for send in sends]
    assert [entry.seq for entry in page.entries] == seqs(cluster)
    assert (page.queue, page.last, page.more) == (True, True, False)


def test_a_login_to_a_worker_that_does_not_own_the_user_is_refused(clusters: Clusters) -> None:
    cluster = clusters(workers=2)
    user = local_of(1, workers=2)

    def decide(shard: Shard) -> None:
        shard.handle(FRONT, plain.open_session(1, user, LOGIN, 0))

    (refused,) = cluster.decide(decide, worker=0)

    assert isinstance(refused, SessionRefused)
    assert (refused.session, refused.code, refused.retry_after_s) == (1, 503, 1)


def test_a_repeated_login_on_one_connection_sends_everything_again(
    cluster: ClusterHarness,
) -> None:
    """2.2.7."""
    (send,) = sends_to_bob("M1")
    cluster.login(BOB, 1)
    cluster.feed(send)

    answer = cluster.feed(LOG_IN)

    assert answer[0] == SessionOpened(1)
    assert frames_of(answer, 1) == [send.frame]
    assert not any(isinstance(item, EndSession) for item in answer)


def test_a_closed_session_gets_nothing_and_its_late_words_mean_nothing(
    cluster: ClusterHarness,
) -> None:
    cluster.login(BOB, 1)
    cluster.feed(CloseSession(1))
    (send,) = sends_to_bob("M1")

    def late(shard: Shard) -> None:
        for envelope in (
            plain.ready(1, 0, 1),
            plain.pause(1, 0),
            plain.confirmed(1, 1 << 60),
            CloseSession(1),
        ):
            shard.handle(FRONT, envelope)

    assert cluster.feed(send) == [Stored(send.request, NOW_S)]
    assert cluster.decide(late) == []
    assert len(cluster.mail(BOB)) == 1


# ----------------------------------------------------------------------------------- takeovers


def test_the_newest_login_wins_and_gets_what_was_not_acked(cluster: ClusterHarness) -> None:
    """R27."""
    cluster.login(BOB, 1)
    first, second = sends_to_bob("M1", "M2")
    cluster.feed(first)

    cluster.feed(plain.open_session(7, BOB, LOGIN, 0), front=OTHER_FRONT)

    assert cluster.sent[FRONT] == [EndSession(1)]
    assert cluster.sent[OTHER_FRONT][0] == SessionOpened(7)
    assert frames_of(cluster.sent[OTHER_FRONT], 7) == [first.frame]
    cluster.feed(second)
    assert frames_of(cluster.sent[OTHER_FRONT], 7) == [second.frame]
    assert FRONT not in cluster.sent or frames_of(cluster.sent[FRONT], 1) == []


def test_a_session_that_was_taken_over_ends_nothing_any_more(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 1)
    cluster.login(BOB, 2)
    (send,) = sends_to_bob("M1")

    def late(shard: Shard) -> None:
        for envelope in (plain.pause(1, 0), CloseSession(1)):
            shard.handle(FRONT, envelope)

    cluster.decide(late)

    assert frames_of(cluster.feed(send), 2) == [send.frame]


def test_too_many_takeovers_are_refused_and_the_session_stays(cluster: ClusterHarness) -> None:
    """2.2.8: five in ten seconds, then 429 until the oldest is past."""
    cluster.login(BOB, 0)
    for number in range(1, 6):
        cluster.now_ms += 1000
        cluster.login(BOB, number)

    cluster.now_ms += 500
    (refused,) = cluster.feed(plain.open_session(6, BOB, LOGIN, 0))
    assert isinstance(refused, SessionRefused)
    assert (refused.session, refused.code, refused.retry_after_s) == (6, 429, 6)
    assert cluster.counters()["takeovers_refused"] == 1
    (send,) = sends_to_bob("M1")
    assert frames_of(cluster.feed(send), 5) == [send.frame]

    cluster.now_ms += refused.retry_after_s * 1000
    assert cluster.feed(plain.open_session(7, BOB, LOGIN, 0))[:2] == [
        EndSession(5),
        SessionOpened(7),
    ]


def test_takeovers_count_also_where_each_session_closes_at_once(cluster: ClusterHarness) -> None:
    """They are the user's: none is left of a session by which to know them."""
    refused = 0
    for number in range(0, 40, 2):
        cluster.login(BOB, number)  # nobody else is there
        (first, *_) = cluster.feed(plain.open_session(number + 1, BOB, LOGIN, 0))
        refused += isinstance(first, SessionRefused)
        cluster.feed(CloseSession(number if isinstance(first, SessionRefused) else number + 1))

    assert refused == 20 - 5


def test_a_login_without_a_live_session_is_no_takeover(cluster: ClusterHarness) -> None:
    for number in range(20):
        cluster.login(BOB, number)
        cluster.feed(CloseSession(number))


def test_a_repeated_login_on_one_connection_is_no_takeover(cluster: ClusterHarness) -> None:
    for _ in range(20):
        cluster.login(BOB, 1)


# -------------------------------------------------------------------------------- lost fronts


def test_the_sessions_of_a_lost_front_end_and_keep_what_they_did_not_ack(
    cluster: ClusterHarness,
) -> None:
    cluster.login(BOB, 1)
    cluster.login(CAROL, 1, front=OTHER_FRONT)
    sends = [to_user(ALICE, BOB, "M1"), to_user(ALICE, CAROL, "M1")]
    cluster.feed(sends[0])

    assert cluster.lose_front() == []
    answer = cluster.feed(sends[1])

    assert frames_of(answer, 1) == [sends[1].frame]
    assert [e.frame for e in cluster.login(BOB, 2, front=OTHER_FRONT)] == [sends[0].frame]


def test_the_sessions_of_a_lost_front_end_a_few_a_batch(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A front may have ten thousand, and others wait for the batch."""
    monkeypatch.setattr(logins, "MAX_ENDED", 2)
    cluster = clusters()
    for number, user in enumerate((ALICE, BOB, CAROL), start=1):
        cluster.login(user, number)
    cluster.login(DAVE, 1, front=OTHER_FRONT)
    sessions = cluster.owner(BOB).shard.readers
    were_last: list[bool] = []

    cluster.decide(lambda shard: were_last.append(shard.front_lost(FRONT)))
    assert len(sessions) == 2
    cluster.decide(lambda shard: were_last.append(shard.front_lost(FRONT)))

    assert [session.user for session in sessions] == [DAVE]
    assert were_last == [False, True]
    cluster.login(BOB, 9)
    answer = cluster.feed(plain.open_session(2, BOB, LOGIN, 0), front=OTHER_FRONT)
    assert EndSession(9) in answer, "a front that is lost for ever"


def test_a_login_takes_over_no_session_of_a_lost_front(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn to end has not come yet, but its user is away: receipts are merged (2.4.5)."""
    monkeypatch.setattr(logins, "MAX_ENDED", 1)
    settings = settings_with(auth={"max_takeovers": 0})
    cluster = clusters(settings=settings)
    for number, user in enumerate((CAROL, ALICE), start=1):
        cluster.login(user, number)
    cluster.feed(to_user(ALICE, BOB, "M1"))
    for level in (2, 3):
        cluster.feed(ack(BOB, "M1", level, author=ALICE))
    cluster.decide(lambda shard: shard.front_lost(FRONT))

    waited = cluster.login(ALICE, 1, front=OTHER_FRONT)

    assert [entry.frame for entry in waited] == [receipt(ALICE, BOB, "M1", 3)]
    assert cluster.counters()["takeovers_refused"] == 0
    cluster.lose_front()
    assert [session.front for session in cluster.owner(ALICE).shard.readers] == [OTHER_FRONT]


def test_a_front_that_was_full_when_it_died_leaves_nothing_behind(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 1)
    cluster.decide(lambda shard: shard.front_full(FRONT))
    cluster.lose_front()

    cluster.login(BOB, 2)


# ------------------------------------------------------------------------- worker incarnations


@pytest.mark.of_source
def test_a_new_worker_takes_its_sessions_back_without_counting_their_mailboxes(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its users see is the time until it is through with all of them."""
    cluster = clusters()
    cluster.login(BOB, 1)
    cluster.feed(*sends_to_bob("M1", "M2"))
    ends = [seq for seq, _ in cluster.mail(BOB)]
    cluster.kill(0)
    monkeypatch.setattr(Mailbox, "count", None)
    searched = searches(monkeypatch)

    cluster.start(0)

    assert searched == ends[-1:]
    monkeypatch.undo()


@pytest.mark.of_source
def test_a_login_searches_an_empty_mailbox_once(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = clusters()
    searched = searches(monkeypatch)

    cluster.login(BOB, 1)

    assert searched == [0]
    monkeypatch.undo()


def test_a_live_session_goes_on_with_the_next_incarnation(cluster: ClusterHarness) -> None:
    """I9: it gets nothing twice, and nothing where there is nothing."""
    cluster.login(BOB, 1)
    before, after = sends_to_bob("M1", "M2")
    cluster.feed(before)

    assert cluster.restart() == []
    assert frames_of(cluster.feed(after), 1) == [after.frame]


def test_a_live_session_gets_what_came_before_it_was_announced(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 1)
    (send,) = sends_to_bob("M1")
    cluster.restart(0, send, committed=True, announce=False)

    (page,) = cluster.feed(plain.open_session(1, BOB, LIVE, 0))

    assert isinstance(page, Page)
    # Nobody asked for it, so it has the front ask: then no gap can hide behind it.
    assert (page.queue, page.last, page.more) == (False, False, True)
    assert frames_of([page], 1) == [send.frame]


def test_a_queue_that_was_being_read_goes_on_where_it_was(paged: ClusterHarness) -> None:
    sends = sends_to_bob("M1", "M2", "M3")
    paged.feed(*sends)
    first, second, _ = seqs(paged)
    pages = pages_of(paged.feed(LOG_IN))

    pages += pages_of(paged.restart())
    pages += pages_of(paged.feed(plain.ready(1, second, 1)))

    assert frames_of(list(pages), 1) == [send.frame for send in sends]
    assert [page.last for page in pages] == [False, False, True]
    assert first == pages[0].entries[0].seq


def test_a_login_that_was_not_answered_is_answered_by_the_next_incarnation(
    cluster: ClusterHarness,
) -> None:
    assert cluster.restart(0, LOG_IN, committed=True) == [SessionOpened(1), EMPTY_QUEUE]


def test_an_announced_session_keeps_its_pause(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 1)
    cluster.feed(plain.pause(1, 0))
    cluster.restart()
    (send,) = sends_to_bob("M1")

    assert frames_of(cluster.feed(send), 1) == []
    assert frames_of(cluster.feed(plain.ready(1, 0, 0)), 1) == [send.frame]


@pytest.mark.parametrize("phase", [QUEUE, LIVE])
def test_an_announced_session_does_not_take_over_a_newer_login(
    cluster: ClusterHarness, phase: int
) -> None:
    """R27: its front does not know yet of the login, which the restart made come first."""
    cluster.login(BOB, 7, front=OTHER_FRONT)

    assert cluster.feed(plain.open_session(1, BOB, phase, 0)) == [EndSession(1)]
    (send,) = sends_to_bob("M1")
    assert frames_of(cluster.feed(send), 7) == [send.frame]


def test_a_login_takes_over_an_announced_session(cluster: ClusterHarness) -> None:
    cluster.feed(plain.open_session(1, BOB, LIVE, 0))

    answer = cluster.feed(plain.open_session(7, BOB, LOGIN, 0), front=OTHER_FRONT)

    assert answer[:2] == [EndSession(1), SessionOpened(7)]


@pytest.mark.parametrize("newer_first", [True, False])
def test_of_two_announced_sessions_the_newer_login_stays(
    cluster: ClusterHarness, newer_first: bool
) -> None:
    """R27: the worker died before the older one's front heard of the takeover."""
    older, newer = (
        plain.open_session(1, BOB, LIVE, 0, 1000),
        plain.open_session(2, BOB, LIVE, 0, 2000),
    )

    answer = cluster.feed(newer, older) if newer_first else cluster.feed(older, newer)

    assert answer == [EndSession(1)]
    (send,) = sends_to_bob("M1")
    assert frames_of(cluster.feed(send), 2) == [send.frame]


def test_of_two_announced_sessions_one_is_ended(cluster: ClusterHarness) -> None:
    cluster.feed(plain.open_session(1, BOB, LIVE, 0))

    assert cluster.feed(plain.open_session(2, BOB, LIVE, 0)) == [EndSession(1)]
    (send,) = sends_to_bob("M1")
    assert frames_of(cluster.feed(send), 2) == [send.frame]


def test_announcing_is_no_takeover(cluster: ClusterHarness) -> None:
    cluster.login(BOB, 0)
    for number in range(1, 5):
        cluster.login(BOB, number)
    cluster.restart()

    for number in range(5, 10):
        cluster.login(BOB, number)
