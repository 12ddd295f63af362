"""One author fills a share of a mailbox at most, and eviction begins with who has most (2.7.5)."""

from __future__ import annotations

import pytest

from relay.bus.envelopes import CloseSession, Refused, SendToGroup, SendToUser, ToFront
from relay.protocol import frames
from tests import plain
from tests.workers.shard import harness
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    HIKE,
    NOW_S,
    ClusterHarness,
    Clusters,
    group_of,
    searches,
    settings_with,
)
from workers.shard import mailboxes

STRANGER = "15550100"


def to_user(author: str, message_id: str, text: str = "hi", *, chat: str = BOB) -> SendToUser:
    """A 1-1 send to Bob with the frame that a front would make of it."""
    frame = frames.delivered_to_user(
        author=author,
        message_id=message_id,
        message=b'{"conversation": "%b"}' % text.encode(),
        time_s=NOW_S,
        key_extra=b"",
        extra=b"",
    )
    return harness.to_user(author, chat, message_id, frame=frame)


def to_hike(author: str, message_id: str) -> SendToGroup:
    """A send to the group, whose author says in passing that somebody else wrote it."""
    frame = frames.delivered_to_group(
        author=author,
        group=HIKE,
        message_id=message_id,
        message=b'{"participant": "%b@s.whatsapp.net"}' % DAVE.encode(),
        time_s=NOW_S,
        key_extra=b', "x": {"y": {}, "participant": "%b@s.whatsapp.net"}' % DAVE.encode(),
        extra=b"",
    )
    send = harness.to_group(author, HIKE, message_id)
    return SendToGroup(send.request, author, HIKE, message_id, send.time_s, send.digest, frame)


def refusals(answer: list[ToFront]) -> list[str]:
    refused = [item for item in answer if isinstance(item, Refused)]
    assert {item.code for item in refused} <= {507}
    return [item.reason for item in refused]


def authors(cluster: ClusterHarness, user: str = BOB) -> list[str]:
    """Whose the messages are that wait, in order; only of 1-1 messages."""
    return [frames.author_of(entry) for _, entry in cluster.mail(user)]


def confirm_all(cluster: ClusterHarness, session: int = 1) -> None:
    """Have Bob's client be known to have all that waits for him (R7)."""
    cluster.feed(plain.confirmed(session, cluster.mail(BOB)[-1][0]))


@pytest.fixture
def forty(clusters: Clusters) -> ClusterHarness:
    """A relay whose mailboxes hold 40 messages, at most 10 of one author."""
    return clusters(
        settings=settings_with(mailbox={"max_entries": 40}),
        groups=group_of(HIKE, ALICE, BOB, CAROL, STRANGER),
    )


@pytest.mark.parametrize("is_there", [True, False])
def test_a_stranger_in_a_hurry_takes_no_more_than_a_share_and_nothing_from_others(
    forty: ClusterHarness, is_there: bool
) -> None:
    """Bob is connected and does not read, or is away."""
    if is_there:
        forty.login(BOB, 1)
    forty.feed(*(to_user(ALICE, f"A{number}") for number in range(5)))

    answer: list[ToFront] = []
    for first in range(0, 120, 12):
        answer += forty.feed(*(to_user(STRANGER, f"S{first + each}") for each in range(12)))

    reasons = refusals(answer)
    assert len(reasons) == 110
    assert "of this author" in reasons[0]
    assert forty.counters()["author_shares_full"] == 110
    assert forty.counters()["entries_evicted"] == 0
    assert authors(forty) == [ALICE] * 5 + [STRANGER] * 10
    # Of nobody else is anything refused.
    assert refusals(forty.feed(to_user(ALICE, "A5"), to_user(CAROL, "C1"))) == []


def test_an_author_at_a_share_makes_room_with_what_the_recipient_has_had(
    forty: ClusterHarness,
) -> None:
    """So a client that never acks stays usable, also for its only friend."""
    forty.login(BOB, 1)
    forty.feed(*(to_user(CAROL, f"C{number}") for number in range(3)))
    forty.feed(*(to_user(ALICE, f"A{number}") for number in range(10)))
    confirm_all(forty)

    assert refusals(forty.feed(*(to_user(ALICE, f"B{number}") for number in range(11)))) != []

    assert authors(forty) == [CAROL] * 3 + [ALICE] * 10
    assert forty.counters()["entries_evicted"] == 10


def test_a_full_mailbox_lets_go_of_the_oldest_of_who_has_most(forty: ClusterHarness) -> None:
    forty.login(BOB, 1)
    forty.feed(to_user(CAROL, "C0"))
    senders = [ALICE, DAVE, STRANGER, "15550101", "15550102"]
    for number, author in enumerate(senders):
        count = 10 if author == STRANGER else 7
        forty.feed(*(to_user(author, f"{number}-{each}") for each in range(count)))
    forty.feed(to_user(CAROL, "C1"))
    assert len(forty.mail(BOB)) == 40
    confirm_all(forty)

    for number in range(3):
        assert refusals(forty.feed(to_user(CAROL, f"D{number}"))) == []

    assert authors(forty).count(STRANGER) == 7
    assert authors(forty).count(CAROL) == 5


def test_where_those_with_most_were_not_read_yet_anybodys_oldest_goes(
    forty: ClusterHarness,
) -> None:
    forty.login(BOB, 1)
    forty.feed(*(to_user(CAROL, f"C{number}") for number in range(2)))
    confirm_all(forty)
    for author in (ALICE, DAVE, STRANGER):
        forty.feed(*(to_user(author, f"M{each}") for each in range(10)))
    forty.feed(*(to_user("15550101", f"M{each}") for each in range(8)))
    assert len(forty.mail(BOB)) == 40

    answers = [forty.feed(to_user("15550102", f"N{number}")) for number in range(3)]

    assert [len(refusals(answer)) for answer in answers] == [0, 0, 1]
    assert CAROL not in authors(forty)


def test_acked_messages_give_the_share_back(forty: ClusterHarness) -> None:
    forty.login(BOB, 1)
    forty.feed(*(to_user(STRANGER, f"S{number}") for number in range(10)))
    forty.feed(*(to_hike(ALICE, f"G{number}") for number in range(3)))
    assert refusals(forty.feed(to_user(STRANGER, "S10"))) != []

    forty.feed(harness.ack(BOB, "S3", author=STRANGER))

    assert refusals(forty.feed(to_user(STRANGER, "S10"))) == []
    assert refusals(forty.feed(to_user(STRANGER, "S11"))) != []


def test_copies_of_a_group_count_for_their_author_whatever_the_message_says(
    forty: ClusterHarness,
) -> None:
    """2.5.4: the copy is skipped and counted; the send succeeds."""
    forty.feed(*(to_hike(STRANGER, f"G{number}") for number in range(6)))
    forty.feed(*(to_user(STRANGER, f"S{number}") for number in range(4)))
    forty.feed(*(to_user(DAVE, f"D{number}") for number in range(9)))

    assert refusals(forty.feed(to_hike(STRANGER, "G6"))) == []
    assert forty.counters()["group_copies_skipped"] == 1
    assert refusals(forty.feed(to_user(DAVE, "D9"))) == []
    assert refusals(forty.feed(to_user(DAVE, "D10"))) != []


def test_a_share_is_one_of_the_bytes_too(clusters: Clusters) -> None:
    cluster = clusters(settings=settings_with(mailbox={"max_bytes": 40_000}))
    large = "x" * 4000

    answer = cluster.feed(*(to_user(STRANGER, f"S{number}", large) for number in range(5)))

    assert len(refusals(answer)) == 3
    assert refusals(cluster.feed(to_user(ALICE, "A", large), to_user(STRANGER, "S", "hi"))) == []


def test_the_mailbox_of_one_who_is_away_is_read_once_for_many_batches(
    forty: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    forty.feed(*(to_user(ALICE, f"A{number}") for number in range(9)))
    begun = searches(monkeypatch)

    for number in range(100):
        forty.feed(to_user(STRANGER, f"S{number}"), to_user(CAROL, f"C{number}"))

    assert authors(forty).count(STRANGER) == authors(forty).count(CAROL) == 10
    # Once when it held a share, and once more for each of two who got half of one since.
    assert len(begun) <= 3


def test_a_login_takes_over_what_is_known_of_shares_and_leaves_it_behind(
    forty: ClusterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    forty.feed(*(to_user(STRANGER, f"S{number}") for number in range(11)))
    forty.login(BOB, 1)
    begun = searches(monkeypatch)

    assert refusals(forty.feed(to_user(STRANGER, "T"))) != []
    forty.feed(CloseSession(1))
    assert refusals(forty.feed(to_user(STRANGER, "T"))) != []

    assert begun == []


def test_only_so_many_absent_users_shares_are_remembered(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailboxes, "MAX_REMEMBERED", 2)
    cluster = clusters(settings=settings_with(mailbox={"max_entries": 8}))
    users = [BOB, CAROL, DAVE]
    for user in users:
        cluster.feed(*(to_user(STRANGER, f"S{number}", chat=user) for number in range(3)))

    assert list(cluster.shard._mailboxes._shares) == [CAROL, DAVE]
    for user in users:
        assert refusals(cluster.feed(to_user(STRANGER, "T", chat=user))) != []


def test_a_mailbox_that_may_not_be_read_now_is_judged_by_all_it_holds(
    forty: ClusterHarness,
) -> None:
    """No message of others waits for that; the limit of the mailbox holds all the same."""
    forty.shard.turn.room._looks = 0
    forty.shard.turn.room._second = NOW_S

    assert len(refusals(forty.feed(*(to_user(STRANGER, f"S{n}") for n in range(50))))) == 10

    forty.now_ms += 1000
    (reason,) = refusals(forty.feed(to_user(STRANGER, "T")))
    assert "of this author" in reason


def test_after_a_crash_shares_hold_as_before(forty: ClusterHarness) -> None:
    forty.login(BOB, 1)
    forty.feed(*(to_user(STRANGER, f"S{number}") for number in range(11)))
    forty.restart()

    assert refusals(forty.feed(to_user(STRANGER, "T"))) != []
    assert refusals(forty.feed(to_user(ALICE, "A"))) == []
