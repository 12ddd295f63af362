"""What lies in a tree of events, in order: how much it is, what is oldest, what comes next."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator

from relay.webhooks.events import Place

# Places that are gone stay in the order until they are so many, and half of it.
_MOST_GONE = 64


class Shelf:
    """The places of a tree with their sizes. A tree's own order is by owner, and has no sums."""

    def __init__(self) -> None:
        self._sizes: dict[Place, int] = {}
        self._order: list[Place] = []  # sorted; some of them may be gone
        self._gone_before = 0  # all before this one are
        self.size = 0  # bytes of all

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, place: object) -> bool:
        return place in self._sizes

    def fill(self, items: Iterable[tuple[Place, int]]) -> None:
        """Begin with what is there, in any order."""
        self._sizes = dict(items)
        self._order = sorted(self._sizes)
        self._gone_before = 0
        self.size = sum(self._sizes.values())

    def add(self, place: Place, size: int) -> bool:
        """Add what was not there; tell whether others are behind it."""
        assert place not in self._sizes, f"{place} is there already"
        self._sizes[place] = size
        self.size += size
        order = self._order
        if not order or place > order[-1]:
            order.append(place)
            return False
        at = bisect_right(order, place)
        if at == 0 or order[at - 1] != place:  # it may have been there and gone
            insort(order, place)
        self._gone_before = min(self._gone_before, max(0, at - 1))
        return True

    def remove(self, place: Place) -> bool:
        """Remove it; tell whether it was there."""
        size = self._sizes.pop(place, None)
        if size is None:
            return False
        self.size -= size
        gone = len(self._order) - len(self._sizes)
        if gone > _MOST_GONE and gone * 2 > len(self._order):
            self._order = [each for each in self._order if each in self._sizes]
            self._gone_before = 0
        return True

    def oldest(self) -> Place | None:
        """Return the first in order, None where there is none."""
        order = self._order
        while self._gone_before < len(order) and order[self._gone_before] not in self._sizes:
            self._gone_before += 1
        return order[self._gone_before] if self._gone_before < len(order) else None

    def behind(self, place: Place | None) -> Iterator[Place]:
        """Yield those behind `place` in order, all where it is None; change nothing meanwhile."""
        self.oldest()
        start = bisect_right(self._order, place) if place is not None else 0
        for index in range(max(start, self._gone_before), len(self._order)):
            if self._order[index] in self._sizes:
                yield self._order[index]
