"""The order in which a send is judged, and where an extension's step comes."""

from __future__ import annotations

from collections.abc import Sequence
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
from workers.shard.pipeline import OF_GROUP, OF_USER, Judge, arrange

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


def test_who_is_behind_a_step_that_a_kind_of_send_lacks_comes_before_its_next() -> None:
    judges = [judge(f"behind {place}", place) for place in PLACES]

    def order(core: Sequence[str]) -> dict[str, list[str]]:
        before = arrange(judges, core)
        return {step: [each.extension for each in before[step]] for step in core}

    assert order(OF_USER) == {
        "known": ["behind "],
        "quota": ["behind known", "behind group", "behind recipient"],
        "store": ["behind quota"],
    }
    assert order(OF_GROUP) == {
        "known": ["behind "],
        "group": ["behind known"],
        "store": ["behind group", "behind recipient", "behind quota"],
    }


def test_steps_behind_the_same_one_keep_their_order() -> None:
    before = arrange(
        [judge("two", "group"), judge("three", "group"), judge("one", "known")], OF_USER
    )

    assert [each.extension for each in before["quota"]] == ["one", "two", "three"]
