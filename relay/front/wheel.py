"""A timer wheel: one object for the pings and deadlines of every session of a process."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class _Slot(dict[K, None], Generic[K]):
    """The keys of one tick, in the order in which they were scheduled."""

    __slots__ = ("tick",)

    tick: int


class TimerWheel(Generic[K]):
    """Keys that fall due, in ticks of `tick_ms`; it has no clock of its own.

    A key fires at the first `expire` at or after its time rounded up to a whole tick: never early,
    and late by less than a tick plus the time between two calls. Times are milliseconds of any
    monotonic clock that starts at 0 or later. A key has at most one time.

    The wheel's slots are found by hash of their tick and only those in use exist, so that nothing
    is scanned for being due a turn later, however far ahead it lies.
    """

    def __init__(self, tick_ms: int) -> None:
        if tick_ms < 1:
            raise ValueError(f"a tick of {tick_ms} ms")
        self._tick_ms = tick_ms
        self._tick = 0  # the latest one that expired; its slot takes what is due already
        self._slot_of: dict[K, _Slot[K]] = {}
        self._slots: dict[int, _Slot[K]] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, key: K) -> bool:
        return key in self._slot_of

    def schedule(self, key: K, at_ms: int) -> None:
        """Let `key` fire at `at_ms`, instead of when it was to fire before.

        A time that has passed already fires at the next `expire`.
        """
        self.cancel(key)
        tick = max(-(-at_ms // self._tick_ms), self._tick)
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = _Slot()
            slot.tick = tick
        slot[key] = None
        self._slot_of[key] = slot

    def cancel(self, key: K) -> None:
        """Forget `key`; nothing happens where it is not scheduled."""
        slot = self._slot_of.pop(key, None)
        if slot is None:
            return
        del slot[key]
        if not slot:
            del self._slots[slot.tick]

    def expire(self, now_ms: int) -> list[K]:
        """Remove and return the keys that are due at `now_ms`, in the order of their ticks.

        The work grows with the keys returned and with the elapsed ticks or the ticks in use,
        whichever are fewer: a clock that jumped by hours costs no more than one that did not.
        A clock that went backwards lets nothing fire.
        """
        now_tick = now_ms // self._tick_ms
        if now_tick < self._tick:
            return []
        ticks: Iterable[int] = range(self._tick, now_tick + 1)
        if now_tick - self._tick >= len(self._slots):
            ticks = sorted(tick for tick in self._slots if tick <= now_tick)
        self._tick = now_tick
        due: list[K] = []
        for tick in ticks:
            due.extend(self._slots.pop(tick, ()))
        for key in due:
            del self._slot_of[key]
        return due
