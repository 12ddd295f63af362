"""Every order in which a few things can happen to a range's log: nothing acked is lost, or twice.

The search goes through all worlds of `world` within bounds, breadth first, each once.
"""

from __future__ import annotations

import random
from collections import deque
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.log.world import Bounds, Model, Sabotage, World, stop_clocks
from workers.log.claim import Claim, ClaimStep, Won
from workers.log.reader import LogReader
from workers.log.record import Kind, decode, encode, encode_claimed
from workers.log.writer import Found, Publish, Step, Writer

# A search that finds nothing must have come to an end, and one that ended must have seen something.
MOST_WORLDS = 1_000_000


class Seen(NamedTuple):
    """What a search has come upon."""

    worlds: int
    story: list[str]  # how the first world came about with which something is wrong
    wrong: str
    most_acked: int
    most_owners: int
    is_all: bool


@pytest.fixture(autouse=True)
def clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clocks(monkeypatch)


class Node(NamedTuple):
    """A world, and how it came about, in so many steps."""

    world: World
    name: str
    before: Node | None
    steps: int = 0


def search(model: Model, most: int = MOST_WORLDS) -> Seen:
    """Look at all worlds that can come about, up to the first with which something is wrong."""
    begin = model.begin()
    seen = {hash(begin.key)}
    queue = deque([Node(begin, "begin", None)])
    most_acked = most_owners = 0
    while queue and len(seen) < most:
        node = queue.popleft()
        if node.steps == model.bounds.steps:
            continue
        for name, world in model.actions(node.world):
            key = hash(world.key)
            if key in seen:
                continue
            seen.add(key)
            most_acked = max(most_acked, len(world.acked))
            most_owners = max(most_owners, len(world.won))
            found = Node(world, name, node, node.steps + 1)
            if world.wrong:
                return Seen(len(seen), story(found), world.wrong, most_acked, most_owners, False)
            queue.append(found)
    return Seen(len(seen), [], "", most_acked, most_owners, not queue)


def story(node: Node | None) -> list[str]:
    names: list[str] = []
    while node is not None:
        names.append(node.name)
        node = node.before
    return names[::-1]


# ------------------------------------------------------------------------------ what must not break

ONE_MESSAGE = ("m1",)
SOUND = {
    "two messages, a takeover": Bounds(records=5),
    "answers of a former leader": Bounds(records=4, old_answers=1, messages=ONE_MESSAGE),
    "a process starts again": Bounds(records=4, restarts=1, messages=ONE_MESSAGE),
    "two in flight": Bounds(records=5, in_flight=2, steps=11),
    "two takeovers": Bounds(claims=2, messages=ONE_MESSAGE, steps=11),
    "a log that is trimmed": Bounds(records=4, trims=1, messages=ONE_MESSAGE),
}
# The same, with more of everything: a minute or two each.
DEEP = {
    "two takeovers": Bounds(claims=2, steps=12),
    "two in flight": Bounds(records=5, in_flight=2),
    "a log that is trimmed": Bounds(records=4, trims=1),
}


def look_everywhere(bounds: Bounds) -> None:
    seen = search(Model(bounds))

    assert (seen.wrong, seen.story) == ("", [])
    assert seen.is_all, f"{seen.worlds} worlds are not all"
    assert seen.most_acked == len(bounds.messages)
    assert seen.most_owners == 1 + bounds.claims


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("bounds", SOUND.values(), ids=SOUND)
def test_whatever_happens_nothing_acked_is_lost_or_twice(bounds: Bounds) -> None:
    look_everywhere(bounds)


@pytest.mark.ordeal
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("bounds", DEEP.values(), ids=DEEP)
def test_whatever_more_happens_nothing_is_either(bounds: Bounds) -> None:
    look_everywhere(bounds)


# ---------------------------------------------------------------------------------------- sabotage


class HastyClaim(Claim):
    """Takes over without catching up."""

    def found(self, number: int, now_s: float) -> list[ClaimStep]:
        self._asked_s = self._wakes_s = None
        self._published = number
        self._data = encode(Kind.EPOCH, self._over, encode_claimed(self._claimed))
        return [Publish(number, self._data)]

    def followed(self, now_s: float) -> list[ClaimStep]:
        return []

    def acked(self, number: int, now_s: float) -> list[ClaimStep]:
        return self._end(Won(number, self._data))


class NarrowReader(LogReader):
    """Has claims end at their first epoch record, whatever others have on their way."""

    @property
    def window(self) -> int:
        return 1


class CredulousReader(LogReader):
    """Takes what is written behind another's epoch record."""

    def take(self, number: int, data: bytes) -> bytes:
        payload = super().take(number, data)
        record = decode(data)
        return record.body if record.kind is Kind.DATA else payload


class EagerWriter(Writer):
    """Takes an ack for one of all before it."""

    def acked(self, number: int, now_s: float) -> list[Step]:
        self._acked.update(range(self.committed + 1, number + 1))
        return super().acked(number, now_s)


class TrustingWriter(Writer):
    """Takes its own record at the end of the log for a sign that it has all before it."""

    def found(self, record: Found, now_s: float) -> list[Step]:
        if record.epoch == self.epoch and self.committed < record.number <= self.last_number:
            self._acked.update(range(self.committed + 1, record.number + 1))
            super().acked(record.number, now_s)
        return super().found(record, now_s)


ONE = Bounds(records=6)
TWO = ONE._replace(in_flight=2)
SABOTAGE = {
    "effects leave before the majority has it": (
        ONE,
        Sabotage(effects_up_to=lambda writer: writer.last_number),
    ),
    "the engine acks before the majority has it": (ONE, Sabotage(acks_what_is_not_stored=True)),
    "no fence: the expected number is not sent": (ONE, Sabotage(stores_at_any_number=True)),
    "a takeover without catching up": (ONE, Sabotage(claim=HastyClaim)),
    "a log that is trimmed before a standby has it": (
        ONE._replace(trims=1),
        Sabotage(
            trims_up_to=lambda applied: [max(filter(None, applied), default=0)] * len(applied)
        ),
    ),
    "a claim that is over while records are on their way": (TWO, Sabotage(reader=NarrowReader)),
    "a standby that takes what is void": (TWO, Sabotage(reader=CredulousReader)),
    "an ack that counts for all before it": (TWO, Sabotage(writer=EagerWriter)),
    "a writer that looks only at the last record": (TWO, Sabotage(writer=TrustingWriter)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("bounds", "sabotage"), SABOTAGE.values(), ids=SABOTAGE)
def test_sabotage_would_be_found(bounds: Bounds, sabotage: Sabotage) -> None:
    seen = search(Model(bounds, sabotage))

    assert seen.wrong, f"{seen.worlds} worlds, and nothing wrong with them"


# ----------------------------------------------------------------------------------- longer stories

LONG = Bounds(
    claims=5,
    restarts=3,
    records=18,
    in_flight=2,
    messages=("m1", "m2", "m3", "m4", "m5", "m6"),
    trims=2,
)


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(max_examples=100)
def test_a_long_story_loses_nothing_acked_either(seed: int) -> None:
    chance = random.Random(seed)
    model = Model(LONG._replace(in_flight=chance.choice((1, 2))))
    node = Node(model.begin(), "begin", None)

    for _ in range(150):
        choices = list(model.actions(node.world))
        if not choices:
            break
        name, world = chance.choice(choices)
        node = Node(world, name, node)
        assert not world.wrong, f"{world.wrong} after {story(node)}"
