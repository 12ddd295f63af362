"""What a worker does without being asked, and when; all times are `relay.clock.clock_ms`."""

from __future__ import annotations

from workers.store.room import CHECK_EVERY_MS

# Confirmations free space and nothing waits for them, so they ride with the next batch, or go
# after this long. Without it each would cost an fsync of its own under light load.
LAZY_MS = 100
SWEEP_MS = 1000


class Schedule:
    """When the next sweep, look for room, and batch of what can wait are due.

    The first look for room is due at once.
    """

    def __init__(self, clock_ms: int) -> None:
        self._sweep_due_ms = clock_ms + SWEEP_MS
        self._room_due_ms = clock_ms
        self._lazy_due_ms: int | None = None  # None: nothing waits

    def wait_ms(self, clock_ms: int, *, duties_due_ms: int, refuses_sends: bool) -> int:
        """Return for how long there is nothing to do but to listen.

        How much room there is matters that much only while sends are refused.
        """
        due = min(duties_due_ms, self._sweep_due_ms)
        if refuses_sends:
            due = min(due, self._room_due_ms)
        if self._lazy_due_ms is not None:
            due = min(due, self._lazy_due_ms)
        return max(0, due - clock_ms)

    def begin_to_wait(self, clock_ms: int, for_ms: int = LAZY_MS) -> None:
        """Note that something can wait from now on; what waits already does so no longer for it."""
        due_ms = clock_ms + for_ms
        if self._lazy_due_ms is None or due_ms < self._lazy_due_ms:
            self._lazy_due_ms = due_ms

    def has_waited(self, clock_ms: int) -> bool:
        """Tell whether what can wait has waited long enough."""
        return self._lazy_due_ms is not None and clock_ms >= self._lazy_due_ms

    def end_wait(self) -> None:
        """Note that nothing waits any more."""
        self._lazy_due_ms = None

    def sweep_is_due(self, clock_ms: int) -> bool:
        """Tell whether to sweep; if so, the next one is due a while later."""
        if clock_ms < self._sweep_due_ms:
            return False
        self._sweep_due_ms = clock_ms + SWEEP_MS
        return True

    def room_is_due(self, clock_ms: int) -> bool:
        """Tell whether to look how much room there is."""
        return clock_ms >= self._room_due_ms

    def looked_for_room(self, clock_ms: int) -> None:
        """Note that this was done, whether it was due or not."""
        self._room_due_ms = clock_ms + CHECK_EVERY_MS
