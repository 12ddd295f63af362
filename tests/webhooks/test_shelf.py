"""A shelf: in order, with its sums, whatever comes and goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.webhooks.events import Place
from relay.webhooks.shelf import Shelf

PLACES = st.builds(Place, st.integers(1, 60), st.sampled_from(["a", "b"]))


class ShelfMachine(RuleBasedStateMachine):
    """Against a dictionary that is sorted when somebody asks."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf()
        self.model: dict[Place, int] = {}

    @rule(place=PLACES, size=st.integers(0, 100))
    def add(self, place: Place, size: int) -> None:
        if place not in self.model:
            is_before_others = any(place < other for other in self.model)
            found = self.shelf.add(place, size)
            assert found or not is_before_others
            self.model[place] = size

    @rule(place=PLACES)
    def remove(self, place: Place) -> None:
        assert self.shelf.remove(place) is (self.model.pop(place, None) is not None)

    @rule()
    def remove_the_oldest(self) -> None:
        oldest = self.shelf.oldest()
        if oldest is not None:
            self.shelf.remove(oldest)
            del self.model[oldest]

    @rule()
    def begin_anew(self) -> None:
        self.shelf.fill(reversed(self.model.items()))

    @rule(place=PLACES)
    def look_behind(self, place: Place) -> None:
        assert list(self.shelf.behind(place)) == sorted(p for p in self.model if p > place)

    @invariant()
    def it_is_true(self) -> None:
        assert len(self.shelf) == len(self.model)
        assert self.shelf.size == sum(self.model.values())
        assert self.shelf.oldest() == min(self.model, default=None)
        assert list(self.shelf.behind(None)) == sorted(self.model)


TestShelf = ShelfMachine.TestCase


@given(st.integers(100, 400))
def test_what_is_gone_takes_no_room(count: int) -> None:
    shelf = Shelf()
    for seq in range(1, count + 1):
        shelf.add(Place(seq, "a"), 1)
        if seq > 10:
            shelf.remove(Place(seq - 10, "a"))

    assert len(shelf._order) <= 100
