"""What is remembered of the past, up to a bound."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """The newest `limit` entries that were put in; the oldest are forgotten first.

    Putting a key in again makes it the newest. Looking at it does not.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()

    def put(self, key: K, value: V) -> None:
        """Remember `value` under `key`, in the place of what was there."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def get(self, key: K) -> V | None:
        """Return what is remembered under `key`."""
        return self._entries.get(key)

    def oldest(self) -> tuple[K, V] | None:
        """Return the entry that is forgotten first."""
        return next(iter(self._entries.items()), None)

    def values(self) -> list[V]:
        """Return all that is remembered, the oldest first."""
        return list(self._entries.values())

    def forget(self, key: K) -> None:
        """Forget `key`, which must be there."""
        del self._entries[key]
