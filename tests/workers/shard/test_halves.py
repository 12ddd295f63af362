"""Halves of extensions: asked, told what happens, and set aside like anything else."""

from __future__ import annotations

import json

import msgspec
import pytest

from relay.bus.envelopes import (
    LOGIN,
    Ask,
    CloseSession,
    Page,
    Refused,
    SendToGroup,
    SendToUser,
    SessionOpened,
    Stored,
    Tell,
    ToFront,
)
from relay.extensions.contract import (
    Extension,
    WorkerHalf,
)
from relay.extensions.registry import Registry
from relay.protocol.slots import ShardMap
from tests import plain
from tests.workers.shard.diary import (
    Deaf,
    ask,
    heard,
    shut_out,
)
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    FRONT,
    HIKE,
    OTHER_FRONT,
    SETTINGS,
    ClusterHarness,
    Clusters,
    ack,
    to_group,
    to_user,
)
from workers.shard.shard import Shard

# ------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("asked", "frame"),
    [
        (ask(ALICE, "read"), b'["response",{"diary":[]}]'),
        (ask(ALICE, "read", name="n1"), b'["response",{"diary":[],"tag":"n1"}]'),
        (ask(ALICE, "read", prefix="7"), b'7,["response",{"diary":[]}]'),
    ],
    ids=["without a name", "named by a tag", "named by a prefix"],
)
def test_a_request_is_answered_as_it_named_itself(
    diaries: ClusterHarness, asked: Ask, frame: bytes
) -> None:
    """E2; the answer goes to the session that asked, through its front."""
    assert diaries.feed(asked, front=OTHER_FRONT) == [Tell(1, "", frame)]
    assert list(diaries.sent) == [OTHER_FRONT]


def test_a_request_is_refused_by_its_half(diaries: ClusterHarness) -> None:
    (refused,) = diaries.feed(ask(ALICE, "sing", name="n1"))

    assert isinstance(refused, Tell)
    tag, attributes = json.loads(refused.body)
    assert (tag, attributes["code"], attributes["tag"]) == ("error", 400, "n1")


def test_what_a_request_changed_outlasts_the_worker_and_what_was_not_committed_does_not(
    diaries: ClusterHarness,
) -> None:
    """I1."""
    worker = diaries.owner(ALICE).index
    diaries.feed(ask(ALICE, "shut out", BOB, "openly"))
    diaries.restart(worker, ask(ALICE, "shut out", CAROL, "openly"), committed=False)

    answers = diaries.feed(to_user(BOB, ALICE, "M1"), to_user(CAROL, ALICE, "M2"))

    assert [type(answer) for answer in answers] == [Refused, Stored]


def test_a_request_for_an_extension_that_is_not_loaded_is_refused(diaries: ClusterHarness) -> None:
    for extension in ("unheard_of", "frontal"):
        (refused,) = diaries.feed(Ask(7, ALICE, extension, b"", "", "n1"))

        assert isinstance(refused, Tell)
        assert (refused.session, refused.extension) == (7, "")
        tag, attributes = json.loads(refused.body)
        assert (tag, attributes["code"], attributes["tag"]) == ("error", 400, "n1")
        assert extension in attributes["reason"]
    assert diaries.counters()["asks_refused_400"] == 2


def test_a_request_that_is_set_aside_is_answered(diaries: ClusterHarness) -> None:
    """I7."""
    worker = diaries.owner(ALICE).index
    request = ask(ALICE, "read", session=4, name="n1")

    (answer,) = diaries.decide(lambda shard: shard.set_aside(FRONT, None, request), worker=worker)

    assert isinstance(answer, Tell)
    assert (answer.session, json.loads(answer.body)[1]["code"]) == (4, 500)


def test_a_request_for_an_earlier_incarnation_is_left_to_its_repeat(
    diaries: ClusterHarness,
) -> None:
    """I8: its front asks the next incarnation, so an answer would be the first of two."""
    assert diaries.decide(lambda shard: shard.refuse_stale(FRONT, ask(ALICE, "read"))) == []


# ---------------------------------------------------------------------------------------- hooks


def test_a_half_hears_of_sessions_that_begin_and_end(diaries: ClusterHarness) -> None:
    diaries.login(BOB, 1)
    assert heard(diaries, BOB) == [("opened", BOB)]
    diaries.feed(plain.open_session(1, BOB, LOGIN, 0))
    assert heard(diaries, BOB) == [], "the same session"
    diaries.login(BOB, 2)
    assert heard(diaries, BOB) == [("opened", BOB)], "he has one, though another"
    diaries.feed(CloseSession(2))
    assert heard(diaries, BOB) == [("closed", BOB)]

    diaries.login(BOB, 3)
    diaries.restart(diaries.owner(BOB).index)
    assert heard(diaries, BOB) == [("opened", BOB)], "it is announced to the next incarnation"
    diaries.lose_front()
    assert heard(diaries, BOB) == [("closed", BOB)]


def test_what_a_half_says_when_a_session_opens_comes_behind_its_queue(
    clusters: Clusters,
) -> None:
    class Greeter(WorkerHalf):
        def opened(self, user: str) -> None:
            self.desk.tell(user, "welcome")

    registry = Registry([Extension(name="greeter", worker=Greeter)])
    diaries = clusters(registry=registry)

    answer: list[ToFront] = diaries.feed(plain.open_session(1, BOB, LOGIN, 0))

    assert [type(item) for item in answer] == [SessionOpened, Page, Tell]


def test_a_half_hears_of_messages_that_were_stored_and_acked(diaries: ClusterHarness) -> None:
    sends: list[SendToUser | SendToGroup] = [to_user(ALICE, BOB, "M1"), to_group(ALICE, HIKE, "M2")]
    for send in sends * 2:  # the second is a repeat, and not stored
        diaries.feed(send)

    stored = heard(diaries, ALICE, BOB, CAROL, HIKE)
    assert len(stored) == 2
    assert set(stored) == {("stored", BOB, "M1"), ("stored", HIKE, "M2")}

    for _ in range(2):
        diaries.feed(ack(BOB, "M1", 2, author=ALICE))
    diaries.feed(ack(BOB, "M2", 3, author=ALICE, group=HIKE))

    assert heard(diaries, BOB) == [
        ("acked", ALICE, "", "M1", BOB, 2),
        ("acked", ALICE, HIKE, "M2", BOB, 3),
    ]


def test_a_half_does_not_hear_of_a_message_that_was_refused_or_suppressed(
    diaries: ClusterHarness,
) -> None:
    shut_out(diaries, ALICE, of=BOB, how="quietly")
    shut_out(diaries, CAROL, of=BOB, how="openly")

    diaries.feed(to_user(ALICE, BOB, "M1"), to_user(CAROL, BOB, "M2"))

    assert heard(diaries, BOB) == []


def test_a_half_hears_of_every_sweep(diaries: ClusterHarness) -> None:
    diaries.sweep()

    assert heard(diaries, BOB) == ["swept"]


def test_a_half_that_wants_to_hear_of_nothing_is_not_called() -> None:
    halves = Shard(
        0, ShardMap(1), SETTINGS, registry=Registry([Extension(name="deaf", worker=Deaf)])
    )._halves

    hooks = (halves.opened, halves.closed, halves.stored, halves.acked, halves.swept)
    assert hooks == ((), (), (), (), ())


def test_i6_while_there_is_no_room_only_what_reads_is_done(diaries: ClusterHarness) -> None:
    diaries.feed(ask(ALICE, "leave", ALICE, "before"))
    diaries.owner(ALICE).refusal = "the disk is full"

    (refused,) = diaries.feed(ask(ALICE, "leave", ALICE, "after", name="n1"))
    (read,) = diaries.feed(msgspec.structs.replace(ask(ALICE, "read"), only_reads=True))

    assert isinstance(refused, Tell)
    assert json.loads(refused.body)[1] == {
        "from": "backend",
        "type": "error",
        "code": 500,
        "reason": "the disk is full",
        "tag": "n1",
    }
    assert isinstance(read, Tell)
    assert json.loads(read.body)[1]["diary"] == ["before"]
