"""Receipts: only recipients speak, levels only rise, authors hear of it until a pong says so."""

import pytest

from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    Acked,
    CloseSession,
    Confirmed,
    Page,
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
    OTHER_FRONT,
    ClusterHarness,
    Clusters,
    ack,
    frames_of,
    group_of,
    receipt,
    settings_with,
    to_group,
    to_user,
)
from workers.shard.mailbox import Mailbox

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


# --------------------------------------------------------------------------------- 2.4, 2.6


@pytest.mark.parametrize("level", [2, 3, 4])
def test_an_ack_takes_the_message_off_the_queue_and_tells_its_author(
    cluster: ClusterHarness, level: int
) -> None:
    """2.4.2, 2.4.4: also a 3 without a 2."""
    cluster.login(ALICE, A)
    cluster.feed(to_user(ALICE, BOB, "M1"))

    answer = cluster.feed(ack(BOB, "M1", level, author=ALICE))

    assert heard(answer) == [receipt(ALICE, BOB, "M1", level)]
    assert cluster.mail(BOB) == []
    assert len(answer) == 1, "an ack itself gets no reply (2.4.5)"


def test_a_receipt_names_its_message_so_that_the_ack_1_goes_first(single: ClusterHarness) -> None:
    single.login(ALICE, A)
    single.feed(to_user(ALICE, BOB, "M1"))

    (delivered,) = single.feed(ack(BOB, "M1", author=ALICE))

    ((seq, _),) = single.mail(ALICE)
    assert delivered == plain.deliver(A, seq, "M1", receipt(ALICE, BOB, "M1"))


def test_a_group_ack_reaches_the_author_and_nobody_else(cluster: ClusterHarness) -> None:
    """R16, 2.6: as MsgInfo, from each member."""
    cluster.login(ALICE, A)
    cluster.login(BOB, B)
    cluster.login(CAROL, 3)
    cluster.feed(to_group(ALICE, HIKE, "M1"))

    answer = cluster.feed(ack(BOB, "M1", author=ALICE, group=HIKE))
    answer += cluster.feed(ack(CAROL, "M1", 3, author=ALICE, group=HIKE))

    assert heard(answer) == [
        receipt(ALICE, BOB, "M1", 2, group=HIKE),
        receipt(ALICE, CAROL, "M1", 3, group=HIKE),
    ]
    assert len(answer) == 2
    assert cluster.mail(BOB) == cluster.mail(CAROL) == []


def test_levels_only_rise(cluster: ClusterHarness) -> None:
    """2.4.2: equal and lower ones are ignored."""
    cluster.login(ALICE, A)
    cluster.feed(to_user(ALICE, BOB, "M1"))

    told = [
        heard(cluster.feed(ack(BOB, "M1", level, author=ALICE))) for level in (2, 2, 3, 2, 3, 4, 3)
    ]

    assert [len(frames) for frames in told] == [1, 0, 1, 0, 0, 1, 0]


def test_levels_only_rise_also_past_a_restart(cluster: ClusterHarness) -> None:
    cluster.login(ALICE, A)
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.feed(ack(BOB, "M1", 3, author=ALICE))
    for worker in range(len(cluster.shards)):
        cluster.restart(worker)

    assert cluster.feed(ack(BOB, "M1", 2, author=ALICE)) == []
    assert heard(cluster.feed(ack(BOB, "M1", 4, author=ALICE))) == [receipt(ALICE, BOB, "M1", 4)]


def test_each_member_has_levels_of_its_own(cluster: ClusterHarness) -> None:
    cluster.login(ALICE, A)
    cluster.feed(to_group(ALICE, HIKE, "M1"))
    cluster.feed(ack(BOB, "M1", 3, author=ALICE, group=HIKE))

    answer = cluster.feed(ack(CAROL, "M1", 2, author=ALICE, group=HIKE))

    assert heard(answer) == [receipt(ALICE, CAROL, "M1", 2, group=HIKE)]


def test_many_messages_are_acked_at_once(cluster: ClusterHarness) -> None:
    """`cmd: "acks"`: each id on its own, unknown ones too."""
    cluster.login(ALICE, A)
    cluster.feed(*(to_user(ALICE, BOB, f"M{number}") for number in range(3)))

    answer = cluster.feed(ack(BOB, ["M2", "M0", "unknown"], author=ALICE))

    assert sorted(heard(answer)) == sorted(
        receipt(ALICE, BOB, message_id) for message_id in ("M2", "M0", "unknown")
    )
    assert len(cluster.mail(BOB)) == 1


def test_only_a_recipient_may_ack(cluster: ClusterHarness) -> None:
    """R14: neither a stranger nor the author himself moves a message or its level."""
    cluster.login(ALICE, A)
    cluster.feed(to_user(ALICE, BOB, "M1"))

    for forger in (CAROL, ALICE):
        assert cluster.feed(ack(forger, "M1", 3, author=ALICE)) == []
        assert cluster.feed(ack(forger, "M1", 3, author=ALICE, to=BOB)) == []

    assert len(cluster.mail(BOB)) == 1
    assert heard(cluster.feed(ack(BOB, "M1", 2, author=ALICE))) == [receipt(ALICE, BOB, "M1", 2)]


def test_a_message_to_oneself_is_acked_by_oneself(cluster: ClusterHarness) -> None:
    """R30."""
    cluster.login(ALICE, A)
    cluster.feed(to_user(ALICE, ALICE, "M1"))

    assert heard(cluster.feed(ack(ALICE, "M1", author=ALICE))) == [receipt(ALICE, ALICE, "M1")]
    assert len(cluster.mail(ALICE)) == 1, "the receipt alone"


# ------------------------------------------------------------------- which delivery is meant


def test_the_swapped_form_is_taken_where_only_that_matches(cluster: ClusterHarness) -> None:
    """R13."""
    cluster.login(ALICE, A)
    cluster.feed(to_user(ALICE, BOB, "M1"))
    swapped = Acked(BOB, ["M1"], 2, BOB, False, ALICE, False, -1)

    assert heard(cluster.feed(swapped)) == [receipt(ALICE, BOB, "M1")]


def test_the_swapped_form_of_a_group_ack_is_taken(cluster: ClusterHarness) -> None:
    cluster.login(ALICE, A)
    cluster.feed(to_group(ALICE, HIKE, "M1"))
    swapped = Acked(BOB, ["M1"], 2, HIKE, True, ALICE, False, -1)

    assert heard(cluster.feed(swapped)) == [receipt(ALICE, BOB, "M1", group=HIKE)]


def test_the_only_author_of_the_id_is_meant_whatever_the_ack_names(
    cluster: ClusterHarness,
) -> None:
    """2.4.1: names decide only between several."""
    cluster.login(ALICE, A)
    cluster.feed(to_user(ALICE, BOB, "M1"))

    answer = cluster.feed(ack(BOB, "M1", author=DAVE, to=CAROL))

    assert heard(answer) == [receipt(ALICE, BOB, "M1")]
    assert cluster.mail(BOB) == []


def test_of_several_authors_of_an_id_from_decides_then_to(single: ClusterHarness) -> None:
    """2.4.1."""
    single.feed(*(to_user(author, BOB, "M1") for author in (ALICE, CAROL, DAVE)))

    single.feed(ack(BOB, "M1", author=CAROL))
    assert [len(single.mail(author)) for author in (ALICE, CAROL, DAVE)] == [0, 1, 0]

    single.feed(ack(BOB, "M1", author=BOB, to=DAVE))
    assert [len(single.mail(author)) for author in (ALICE, CAROL, DAVE)] == [0, 1, 1]

    single.feed(ack(BOB, "M1", author="nobody", to="no.one"))
    assert [len(single.mail(author)) for author in (ALICE, CAROL, DAVE)] == [0, 1, 1]
    assert len(single.mail(BOB)) == 1


def test_to_decides_between_the_group_and_the_1_1_message_of_one_id(
    cluster: ClusterHarness,
) -> None:
    """2.4.1, R17."""
    cluster.login(ALICE, A)
    cluster.feed(to_user(ALICE, BOB, "M1", "to you"))
    cluster.feed(to_group(ALICE, HIKE, "M1", "to all"))

    assert heard(cluster.feed(ack(BOB, "M1", author=ALICE, group=HIKE))) == [
        receipt(ALICE, BOB, "M1", group=HIKE)
    ]
    assert len(cluster.mail(BOB)) == 1
    assert heard(cluster.feed(ack(BOB, "M1", author=ALICE))) == [receipt(ALICE, BOB, "M1")]


def test_the_author_of_a_group_message_must_be_named(cluster: ClusterHarness) -> None:
    """2.6: (from, to, id) must be a stored group message."""
    cluster.feed(to_group(ALICE, HIKE, "M1"))

    cluster.feed(ack(BOB, "M1", author=CAROL, group=HIKE))

    assert len(cluster.mail(BOB)) == 1
    assert cluster.mail(ALICE) == []


# --------------------------------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("claimed", "told"),
    [
        (NOW_S, NOW_S),
        (NOW_S - 300, NOW_S - 300),
        (NOW_S + 300, NOW_S + 300),
        (NOW_S - 301, NOW_S + 60),
        (NOW_S + 361, NOW_S + 60),
        (-1, NOW_S + 60),
    ],
)
def test_the_time_of_an_ack_is_believed_within_bounds(
    single: ClusterHarness, claimed: int, told: int
) -> None:
    """2.4.3: from 300 s before the message to 300 s from now."""
    single.login(ALICE, A)
    single.feed(to_user(ALICE, BOB, "M1", time_s=NOW_S))
    single.now_ms += 60_000

    answer = single.feed(ack(BOB, "M1", author=ALICE, t=claimed))

    assert heard(answer) == [receipt(ALICE, BOB, "M1", t=told)]


# ------------------------------------------------------------------------ absent and confirmed


def test_an_absent_author_finds_the_highest_level_only(cluster: ClusterHarness) -> None:
    """2.4.5: one a message and acker."""
    cluster.feed(to_user(ALICE, BOB, "M1"), to_group(ALICE, HIKE, "M2"))
    for level in (2, 3):
        cluster.feed(ack(BOB, "M1", level, author=ALICE))
        cluster.feed(ack(BOB, "M2", level, author=ALICE, group=HIKE))
    cluster.feed(ack(CAROL, "M2", 2, author=ALICE, group=HIKE))

    told = [entry.frame for entry in cluster.login(ALICE, A)]

    assert sorted(told) == sorted(
        [
            receipt(ALICE, BOB, "M1", 3),
            receipt(ALICE, BOB, "M2", 3, group=HIKE),
            receipt(ALICE, CAROL, "M2", 2, group=HIKE),
        ]
    )


def test_what_an_author_left_unconfirmed_is_raised_while_it_is_away(
    cluster: ClusterHarness,
) -> None:
    cluster.login(ALICE, A)
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.feed(ack(BOB, "M1", 2, author=ALICE))
    cluster.feed(ack(BOB, "M1", 3, author=ALICE))
    cluster.feed(CloseSession(A))
    cluster.feed(ack(BOB, "M1", 4, author=ALICE))

    assert [e.frame for e in cluster.login(ALICE, A)] == [receipt(ALICE, BOB, "M1", 4)]


def test_what_a_crash_left_unconfirmed_is_raised_while_the_author_is_away(
    single: ClusterHarness,
) -> None:
    """The author's session ends with its worker, so it is never closed."""
    single.login(ALICE, A)
    single.feed(to_user(ALICE, BOB, "M1"))
    single.feed(ack(BOB, "M1", 2, author=ALICE))
    single.restart(announce=False)
    single.feed(ack(BOB, "M1", 3, author=ALICE))

    assert [e.frame for e in single.login(ALICE, A)] == [receipt(ALICE, BOB, "M1", 3)]


def test_of_what_a_crash_left_unconfirmed_an_author_who_was_away_hears_the_highest(
    single: ClusterHarness,
) -> None:
    """2.4.5, though the receipts came while the author was there."""
    single.login(ALICE, A)
    single.feed(to_user(ALICE, BOB, "M1"))
    single.feed(ack(BOB, "M1", 2, author=ALICE))
    single.feed(ack(BOB, "M1", 3, author=ALICE))
    single.restart(announce=False)

    assert [e.frame for e in single.login(ALICE, A)] == [receipt(ALICE, BOB, "M1", 3)]


def test_a_receipt_comes_again_until_a_pong_confirms_it(cluster: ClusterHarness) -> None:
    """R7."""
    cluster.login(ALICE, A)
    cluster.feed(to_user(ALICE, BOB, "M1"))
    cluster.feed(ack(BOB, "M1", author=ALICE))
    ((seq, _),) = cluster.mail(ALICE)
    cluster.feed(CloseSession(A))

    (again,) = cluster.login(ALICE, A)
    assert (again.receipt_for, again.frame) == ("M1", receipt(ALICE, BOB, "M1"))
    assert cluster.feed(plain.confirmed(A, seq)) == []

    assert cluster.mail(ALICE) == []
    assert cluster.login(ALICE, A) == []


def test_a_pong_confirms_only_what_was_written_before_its_ping(single: ClusterHarness) -> None:
    single.login(ALICE, A)
    single.feed(to_user(ALICE, BOB, "M1"))
    for level in (2, 3, 4):
        single.feed(ack(BOB, "M1", level, author=ALICE))
    seqs = [seq for seq, _ in single.mail(ALICE)]

    single.feed(plain.confirmed(A, seqs[1]))

    assert [seq for seq, _ in single.mail(ALICE)] == seqs[2:]


def test_a_pong_confirms_no_message(single: ClusterHarness) -> None:
    single.login(BOB, B)
    single.feed(to_user(ALICE, BOB, "M1"))

    single.feed(plain.confirmed(B, 1 << 62))

    assert len(single.mail(BOB)) == 1


def test_receipts_of_the_queue_are_confirmed_too(single: ClusterHarness) -> None:
    single.feed(*(to_user(ALICE, BOB, f"M{number}") for number in range(3)))
    single.feed(ack(BOB, ["M0", "M1", "M2"], author=ALICE))
    entries = single.login(ALICE, A)

    single.feed(Confirmed(A, entries[1].seq))

    assert [seq for seq, _ in single.mail(ALICE)] == [entries[2].seq]


def test_a_pong_that_reaches_the_next_incarnation_still_confirms(single: ClusterHarness) -> None:
    """R7: a receipt that was confirmed does not come again."""
    single.login(ALICE, A)
    single.feed(to_user(ALICE, BOB, "M1"), to_user(ALICE, BOB, "M2"))
    single.feed(ack(BOB, "M1", author=ALICE))
    ((seq, _),) = single.mail(ALICE)
    single.restart()
    single.feed(ack(BOB, "M2", author=ALICE))

    single.feed(plain.confirmed(A, seq))

    assert [entry.receipt_for for entry in single.login(ALICE, A)] == ["M2"]


def test_an_incarnation_confirms_nothing_that_its_session_did_not_have(
    single: ClusterHarness,
) -> None:
    single.login(ALICE, A)
    single.feed(to_user(ALICE, BOB, "M1"), to_user(ALICE, BOB, "M2"))
    single.feed(ack(BOB, "M1", author=ALICE))
    ((seq, _),) = single.mail(ALICE)
    single.feed(ack(BOB, "M2", author=ALICE))
    single.restart(announce=False)

    (page,) = single.feed(plain.open_session(A, ALICE, LIVE, seq), plain.pause(A, 0))
    assert isinstance(page, Page)
    assert [entry.receipt_for for entry in page.entries] == ["M2"]
    single.feed(plain.confirmed(A, seq))

    assert len(single.mail(ALICE)) == 1


def test_an_incarnation_confirms_what_an_earlier_one_sent(
    single: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks for that when a pong first asks, once."""
    single.login(ALICE, A)
    for message in ("M1", "M2"):
        single.feed(to_user(ALICE, BOB, message))
        single.feed(ack(BOB, message, author=ALICE))
    single.restart()
    single.feed(to_user(ALICE, BOB, "M3"))
    single.feed(ack(BOB, "M3", author=ALICE))
    first, second, third = [seq for seq, _ in single.mail(ALICE)]

    single.feed(plain.confirmed(A, first))
    assert [seq for seq, _ in single.mail(ALICE)] == [second, third]

    monkeypatch.setattr(Mailbox, "receipts_up_to", None)
    single.feed(plain.confirmed(A, third))
    assert single.mail(ALICE) == []


def test_an_incarnation_does_not_confirm_what_goes_out_once_more(single: ClusterHarness) -> None:
    """Its client was slow and had not got all that the earlier incarnation had sent."""
    single.login(ALICE, A)
    for message in ("M1", "M2"):
        single.feed(to_user(ALICE, BOB, message))
        single.feed(ack(BOB, message, author=ALICE))
    first, second = [seq for seq, _ in single.mail(ALICE)]
    single.restart()

    single.feed(plain.pause(A, first))
    single.feed(plain.confirmed(A, second))

    assert [seq for seq, _ in single.mail(ALICE)] == [second]


def test_a_session_that_took_over_has_its_own_receipts_confirmed(single: ClusterHarness) -> None:
    single.login(ALICE, A)
    single.feed(to_user(ALICE, BOB, "M1"))
    single.feed(ack(BOB, "M1", author=ALICE))
    ((seq, _),) = single.mail(ALICE)
    single.login(ALICE, 9, front=OTHER_FRONT)

    single.decide(lambda shard: shard.handle(b"front-0-1", plain.confirmed(A, seq)))
    assert len(single.mail(ALICE)) == 1

    single.feed(plain.confirmed(9, seq), front=OTHER_FRONT)
    assert single.mail(ALICE) == []


def test_receipts_for_a_slow_author_wait_in_order(single: ClusterHarness) -> None:
    single.login(ALICE, A)
    single.feed(to_user(ALICE, BOB, "M1"), plain.pause(A, 0))

    assert [single.feed(ack(BOB, "M1", level, author=ALICE)) for level in (2, 3)] == [[], []]

    assert heard(single.feed(plain.ready(A, 0, 1))) == [
        receipt(ALICE, BOB, "M1", 2),
        receipt(ALICE, BOB, "M1", 3),
    ]


def test_receipts_beyond_the_limit_are_dropped_and_counted(clusters: Clusters) -> None:
    cluster = clusters(settings=settings_with(mailbox={"max_receipts": 2}))
    cluster.feed(*(to_user(ALICE, BOB, f"M{number}") for number in range(3)))
    cluster.feed(ack(BOB, ["M0", "M1", "M2"], author=ALICE))

    assert [entry.receipt_for for entry in cluster.login(ALICE, A)] == ["M0", "M1"]
    assert cluster.counters()["receipts_dropped"] == 1


def test_a_login_during_which_a_receipt_comes_gets_it_once(single: ClusterHarness) -> None:
    single.feed(to_user(ALICE, BOB, "M1"))

    answer = single.feed(plain.open_session(A, ALICE, LOGIN, 0), ack(BOB, "M1", author=ALICE))

    assert heard(answer) == [receipt(ALICE, BOB, "M1")]
