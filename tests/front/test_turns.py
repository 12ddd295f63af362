"""Whose turn it is to be read, on a loop and by a clock that the test turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from relay.front.turns import LONG_PART, TURN_S, WAITING_S, Turns

from .front_harness import FakeLoop

if TYPE_CHECKING:
    import asyncio


class Scene:
    """Turns, and what was read on in which order."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.now_s = 0.0
        self.turns = Turns(cast("asyncio.AbstractEventLoop", self.loop))
        self.turns.clock_s = lambda: self.now_s
        self.read: list[str] = []

    def waits(
        self, *names: str, takes_s: float = 0.0, is_long: bool = False, again: int = 0
    ) -> None:
        for name in names:
            reader = Reader(self, name, takes_s, is_long=is_long, again=again)
            self.turns.wait(reader, is_long=is_long)

    def long_turns(self, count: int) -> str:
        """Return who had the next turns of long work."""
        read = ""
        for _ in range(100 * count):
            read += "".join(self.turn())
            if len(read) == count:
                return read
            self.loop.now_s += 0.010
        raise AssertionError(f"only {read}")

    def turn(self) -> list[str]:
        """Return who was read on in a turn of the loop."""
        self.read.clear()
        self.loop.turn()
        return [*self.read]


class Reader:
    """A client whose turn takes a while, and who may want some more of them."""

    def __init__(
        self, scene: Scene, name: str, takes_s: float, *, is_long: bool, again: int
    ) -> None:
        self._scene = scene
        self._name = name
        self._takes_s = takes_s
        self._is_long = is_long
        self._again = again
        self.long_s = 0.0

    def read_on(self) -> None:
        self._scene.read.append(self._name)
        self._scene.now_s += self._takes_s
        if self._again:
            self._again -= 1
            self._scene.turns.wait(self, is_long=self._is_long)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_i7_a_turn_of_all_clients_is_over_when_it_has_lasted_long_enough(scene: Scene) -> None:
    reads = 0
    while not scene.turns.is_over():
        scene.now_s += 0.001
        reads += 1
        assert reads < 1000

    assert reads == pytest.approx(TURN_S / 0.001, abs=1)
    scene.loop.now_s += 0.1  # which is when uvloop's time goes on
    assert not scene.turns.is_over()


def test_i7_who_waits_is_served_in_order_some_in_each_turn(scene: Scene) -> None:
    scene.waits("a", "b", "c", "d", "e", takes_s=WAITING_S / 2)

    assert [scene.turn() for _ in range(4)] == [["a", "b"], ["c", "d"], ["e"], []]


def test_one_that_takes_longer_than_all_may_is_served_alone(scene: Scene) -> None:
    scene.waits("slow", takes_s=1.0)
    scene.waits("next", "last")

    assert scene.turn() == ["slow"]
    assert scene.turn() == ["next", "last"]


def test_i7_long_work_has_a_small_part_of_the_time_however_many_ask_for_it(scene: Scene) -> None:
    scene.waits("a", "b", "c", takes_s=0.020, is_long=True)
    assert scene.turn() == ["a"]
    assert scene.turn() == []

    for name in "bc":
        scene.loop.now_s += (LONG_PART - 1) * 0.020 - 0.001
        assert scene.turn() == []
        scene.loop.now_s += 0.002
        assert scene.turn() == [name]


def test_i7_one_who_comes_right_after_long_work_waits_as_those_do_who_were_there(
    scene: Scene,
) -> None:
    scene.waits("a", takes_s=0.020, is_long=True)
    assert scene.turn() == ["a"]
    scene.waits("b", is_long=True)
    assert scene.turn() == []

    scene.loop.now_s += LONG_PART * 0.020
    assert scene.turn() == ["b"]


def test_long_work_does_not_hold_up_the_others(scene: Scene) -> None:
    scene.waits("long", "longer", takes_s=0.020, is_long=True)
    scene.waits("a", "b")
    assert sorted(scene.turn()) == ["a", "b", "long"]
    scene.waits("c")
    assert scene.turn() == ["c"]


@pytest.mark.parametrize("is_long", [False, True])
def test_i7_one_that_wants_turn_after_turn_has_the_time_that_many_would_have(
    scene: Scene, is_long: bool
) -> None:
    scene.waits("a", takes_s=0.020, is_long=is_long, again=10)

    read = []
    for _ in range(16):
        read += scene.turn()
        scene.loop.now_s += 0.010

    # 160 ms have passed: an eighth of that is 20, and the first turn came at once.
    assert len(read) == (2 if is_long else 11)


def test_i7_one_who_has_had_no_long_work_lately_goes_before_those_who_have_however_many(
    scene: Scene,
) -> None:
    for number, name in enumerate("abcdefgh"):
        scene.waits(name, takes_s=0.020 + 0.001 * number, is_long=True, again=10)
    assert scene.long_turns(12) == "abcdefghabcd"

    scene.waits("N", takes_s=0.0001, is_long=True, again=1)

    assert scene.long_turns(4) == "NNef"


def test_i7_short_turns_of_long_work_are_as_many_more(scene: Scene) -> None:
    scene.waits("L", takes_s=0.040, is_long=True, again=20)
    scene.waits("s", takes_s=0.010, is_long=True, again=20)

    read = scene.long_turns(20)

    assert read.count("s") == pytest.approx(16, abs=1)


def test_i7_time_that_one_did_not_ask_for_is_not_kept_for_it(scene: Scene) -> None:
    away = Reader(scene, "A", 0.010, is_long=True, again=20)
    scene.waits("b", takes_s=0.010, is_long=True, again=40)
    scene.long_turns(20)

    scene.turns.wait(away, is_long=True)

    assert scene.long_turns(10).count("A") == pytest.approx(5, abs=1)


def test_i7_one_who_was_alone_has_it_next_to_one_who_comes(scene: Scene) -> None:
    """What it has had alone does not count against it."""
    scene.waits("a", takes_s=0.010, is_long=True, again=40)
    scene.long_turns(20)

    scene.waits("B", takes_s=0.010, is_long=True, again=20)

    assert scene.long_turns(10).count("a") == pytest.approx(5, abs=1)
