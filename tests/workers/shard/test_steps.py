"""Steps of extensions: a send is let go on, refused, or suppressed."""

from __future__ import annotations

import pytest

from relay.bus.envelopes import (
    Refused,
    Stored,
)
from tests.workers.shard.diary import (
    half_of,
    shut_out,
)
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    HIKE,
    NOW_S,
    OTHER_FRONT,
    ClusterHarness,
    ack,
    to_group,
    to_user,
)

# ---------------------------------------------------------------------------------------- steps


def test_a_step_refuses_a_send(diaries: ClusterHarness) -> None:
    shut_out(diaries, ALICE, of=BOB, how="openly")
    send = to_user(ALICE, BOB, "M1")

    assert diaries.feed(send) == [Refused(send.request, 406, "you are shut out")]

    assert diaries.mail(BOB) == []
    assert diaries.counters()["sends_refused_406"] == 1
    other = to_user(CAROL, BOB, "M2")
    assert diaries.feed(other) == [Stored(other.request, NOW_S)]


def test_a_step_behind_known_does_not_judge_a_repeat(diaries: ClusterHarness) -> None:
    send = to_user(ALICE, BOB, "M1")
    diaries.feed(send)
    shut_out(diaries, ALICE, of=BOB, how="openly")

    assert diaries.feed(send) == [Stored(send.request, NOW_S)]


def test_a_suppressed_send_looks_stored_to_its_author_and_reaches_nobody(
    diaries: ClusterHarness,
) -> None:
    diaries.login(BOB, 1, front=OTHER_FRONT)
    shut_out(diaries, ALICE, of=BOB, how="quietly")
    send = to_user(ALICE, BOB, "M1")

    for _ in range(2):  # the second is recognised as a repeat
        assert diaries.feed(send) == [Stored(send.request, NOW_S)]
    other = to_user(ALICE, BOB, "M1", "another text")

    (refused,) = diaries.feed(other)
    assert isinstance(refused, Refused)
    assert refused.code == 409
    assert diaries.mail(BOB) == []
    assert (diaries.counters()["sends_suppressed"], diaries.counters()["sends_repeated"]) == (1, 1)


@pytest.mark.parametrize("level", [2, 3, 4])
def test_nobody_acks_a_send_that_was_suppressed(diaries: ClusterHarness, level: int) -> None:
    diaries.login(ALICE, 1)
    shut_out(diaries, ALICE, of=BOB, how="quietly")
    diaries.feed(to_user(ALICE, BOB, "M1"))

    assert diaries.feed(ack(BOB, "M1", level, author=ALICE)) == []


def test_a_send_to_a_group_is_suppressed_for_all_members(diaries: ClusterHarness) -> None:
    diaries.login(CAROL, 1, front=OTHER_FRONT)
    desk = half_of(diaries, HIKE).desk
    diaries.owner(HIKE).turn(
        lambda shard: desk.tree("shut").put(HIKE, ALICE.encode(), b"quietly"),
        now_ms=diaries.now_ms,
    )
    send = to_group(ALICE, HIKE, "M1")

    for _ in range(2):
        assert diaries.feed(send) == [Stored(send.request, NOW_S)]

    assert [diaries.mail(member) for member in (BOB, CAROL)] == [[], []]


def test_nothing_is_suppressed_while_nothing_can_be_stored(diaries: ClusterHarness) -> None:
    """A repeat would not be recognised."""
    shut_out(diaries, ALICE, of=BOB, how="quietly")
    diaries.owner(BOB).refusal = "the disk is full"
    send = to_user(ALICE, BOB, "M1")

    assert diaries.feed(send) == [Refused(send.request, 500, "the disk is full")]
