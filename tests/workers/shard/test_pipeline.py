"""The order in which a send is judged, and where an extension's step comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from relay.bus.envelopes import Refused, Stored
from relay.extensions.contract import (
    PLACES,
    STEPS,
    Extension,
    Refuse,
    Send,
    Step,
    Verdict,
    WorkerHalf,
)
from relay.extensions.registry import Registry
from relay.protocol.slots import ShardMap
from relay.settings.tables import Settings
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    DAVE,
    HIKE,
    ClusterHarness,
    group_of,
    settings_with,
    to_group,
    to_user,
)
from workers.shard.groups import Groups
from workers.shard.halves import Halves
from workers.shard.mailboxes import Mailboxes
from workers.shard.pages import Pages
from workers.shard.peers import Peers
from workers.shard.pipeline import Judge, PipelineStep
from workers.shard.plain import Plain
from workers.shard.readers import Readers
from workers.shard.sends import Sends
from workers.shard.turn import Turn
from workers.shard.waiting import Waiting

UNKNOWN_GROUP = "917069852821-999"
REFUSED = 406  # by the step of the extension


def refuse(half: WorkerHalf, send: Send) -> Verdict | None:
    return Refuse(REFUSED, "not this one")


def relay(directory: Path, *extensions: Extension) -> ClusterHarness:
    """A relay of one worker with room for one message a mailbox, on what was stored before."""
    return ClusterHarness(
        directory,
        settings=settings_with(mailbox={"max_entries": 1}),
        groups=group_of(HIKE, ALICE, BOB),
        registry=Registry(extensions),
    )


def code_of(cluster: ClusterHarness, send: Send) -> int:
    """The code that a send is refused with, 0 if it is stored or was."""
    answer = cluster.feed(send)[0]
    return answer.code if isinstance(answer, Refused) else 0


# What each step of the core says to what fails there, and the step.
REPEAT, CONFLICT, UNKNOWN, NO_MEMBER, FULL, NO_STORE = 0, 409, 404, 403, 507, 500


@pytest.mark.parametrize("after", PLACES)
def test_2_3_2_a_step_comes_right_behind_the_one_that_it_names(tmp_path: Path, after: str) -> None:
    """First failure wins: what fails in an earlier step gets that one's code."""
    to_bob, to_hike = to_user(ALICE, BOB, "M1"), to_group(ALICE, HIKE, "G1")
    plain = relay(tmp_path)
    assert isinstance(plain.feed(to_bob)[0], Stored)
    assert isinstance(plain.feed(to_hike)[0], Stored)
    plain.close()
    step = Step(after=after, judge=refuse)
    cluster = relay(tmp_path, Extension(name="no", worker=WorkerHalf, steps=(step,)))

    def expect(send: Send, step: str, code: int) -> None:
        comes_first = bool(after) and STEPS.index(step) <= STEPS.index(after)
        assert code_of(cluster, send) == (code if comes_first else REFUSED), f"{step}: {send}"

    expect(to_bob, "known", REPEAT)
    expect(to_user(ALICE, BOB, "M1", "another text"), "known", CONFLICT)
    expect(to_hike, "known", REPEAT)
    expect(to_group(ALICE, UNKNOWN_GROUP, "G2"), "group", UNKNOWN)
    expect(to_group(DAVE, HIKE, "G2"), "group", NO_MEMBER)
    expect(to_user(ALICE, BOB, "M2"), "quota", FULL)
    cluster.shards[0].refusal = "the disk is full"
    expect(to_user(ALICE, DAVE, "M3"), "store", NO_STORE)
    expect(to_group(ALICE, HIKE, "G3"), "store", NO_STORE)
    cluster.close()


def judge(extension: str, after: str) -> Judge:
    return Judge(extension, after, lambda send: None)


def shard_with(*judges: Judge) -> Sends:
    """The sends of a worker on which nothing is stored, with these steps of extensions."""
    turn = Turn(Settings(), Counter())
    waiting = Waiting(turn)
    readers = Readers()
    peers = Peers(turn, 0, ShardMap(1), {})
    halves = Halves(turn, Registry(()), lambda extension: pytest.fail("there is none"))
    halves.judges += judges
    pages = Pages(turn, readers)
    return Sends(
        turn,
        readers,
        Mailboxes(turn, readers, waiting),
        pages,
        peers,
        Groups(peers),
        halves,
        waiting,
        Plain(turn, readers, pages, halves, waiting),
    )


def names(steps: Sequence[PipelineStep]) -> list[str]:
    return [step.name for step in steps]


def test_2_3_2_the_core_s_steps_are_a_list_in_the_order_of_the_contract() -> None:
    sends = shard_with()

    assert names(sends.steps_of_user) == ["known", "quota", "store"]
    assert names(sends.steps_of_group) == ["known", "group", "store"]
    for steps in (sends.steps_of_user, sends.steps_of_group):
        assert names(steps) == [name for name in STEPS if name in names(steps)]


def test_who_is_behind_a_step_that_a_kind_of_send_lacks_comes_before_its_next() -> None:
    sends = shard_with(*(judge(f"behind {place}", place) for place in PLACES))

    assert names(sends.steps_of_user) == [
        "behind ",
        "known",
        "behind known",
        "behind group",
        "behind recipient",
        "quota",
        "behind quota",
        "store",
    ]
    assert names(sends.steps_of_group) == [
        "behind ",
        "known",
        "behind known",
        "group",
        "behind group",
        "behind recipient",
        "behind quota",
        "store",
    ]


def test_steps_behind_the_same_one_keep_their_order() -> None:
    sends = shard_with(judge("two", "group"), judge("three", "group"), judge("one", "known"))

    assert names(sends.steps_of_user) == ["known", "one", "two", "three", "quota", "store"]


def test_a_send_goes_through_the_steps_in_the_order_of_the_list(tmp_path: Path) -> None:
    """Asked in that order, and none behind the one that answers."""
    asked: list[str] = []

    def note(
        name: str, verdict: Verdict | None = None
    ) -> Callable[[WorkerHalf, Send], Verdict | None]:
        def ask(half: WorkerHalf, send: Send) -> Verdict | None:
            asked.append(name)
            return verdict

        return ask

    steps = (
        Step(after="quota", judge=note("late")),
        Step(after="", judge=note("first")),
        Step(after="known", judge=note("refuses", Refuse(REFUSED, "not this one"))),
        Step(after="known", judge=note("behind it")),
    )
    cluster = relay(tmp_path, Extension(name="notes", worker=WorkerHalf, steps=steps))

    assert code_of(cluster, to_user(ALICE, BOB, "M1")) == REFUSED
    assert asked == ["first", "refuses"]
    cluster.close()
