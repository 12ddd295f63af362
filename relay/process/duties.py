"""What a child owes its supervisor besides its work: signs of life, and its counters in the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from relay import log
from relay.process.channel import ChildEnd
from relay.process.control import Heartbeat

COUNTERS_MS = 60_000


class Duties:
    """When they are due, and the doing; times are `relay.clock.clock_ms`.

    `counters` belongs to the caller, who counts in it and calls `tick` when `due_ms` has come. What
    a sign of life tells is what `heartbeat` returns.
    """

    def __init__(
        self,
        role: str,
        control: ChildEnd,
        counters: Counter[str],
        *,
        heartbeat_s: float,
        heartbeat: Callable[[], Heartbeat] = Heartbeat,
    ) -> None:
        self._role = role
        self._control = control
        self._counters = counters
        self._heartbeat_s = heartbeat_s
        self._heartbeat = heartbeat
        self._logged: dict[str, int] = {}
        self._beat_due_ms = 0
        self._counters_due_ms = 0

    @property
    def due_ms(self) -> int:
        """When `tick` is to be called next."""
        return min(self._beat_due_ms, self._counters_due_ms)

    def adopt(self, *, heartbeat_s: float) -> None:
        """Go by another interval; a sign of life is due at once, for it may be expected sooner."""
        self._heartbeat_s = heartbeat_s
        self._beat_due_ms = 0

    def tick(self, clock_ms: int) -> None:
        """Do what is due; the first call does everything."""
        if clock_ms >= self._beat_due_ms:
            self._beat_due_ms = clock_ms + max(1, int(self._heartbeat_s * 1000))
            self._control.send(self._heartbeat())
        if clock_ms >= self._counters_due_ms:
            self._counters_due_ms = clock_ms + COUNTERS_MS
            self.log_counters()

    def log_counters(self) -> None:
        """Log the counters where they have changed since they were logged last."""
        if self._counters != self._logged:
            self._logged = dict(self._counters)
            log.get_logger().info(f"{self._role}.counters", **self._logged)
