"""What goes over the links of a process, in bytes, and how long it takes to be confirmed."""

from __future__ import annotations

import time

from relay.process.distribution import SECONDS, Buckets


class Traffic:
    """Of all links of a process, since its start."""

    __slots__ = ("bytes_received", "bytes_sent", "round_trips")

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0
        # Seconds from when a batch leaves until the other side has confirmed it.
        self.round_trips = Buckets(SECONDS)


class Stopwatch:
    """Times one batch of a link at a time: a sample, which costs messages nothing."""

    __slots__ = ("_number", "_round_trips", "_started_s")

    def __init__(self, traffic: Traffic) -> None:
        self._round_trips = traffic.round_trips
        self._number = 0  # of the batch that is timed; 0: none is
        self._started_s = 0.0

    def left(self, number: int) -> None:
        """Note that batch `number` leaves now; it is timed if no other is."""
        if not self._number:
            self._number, self._started_s = number, time.perf_counter()

    def confirmed(self, number: int) -> None:
        """Note that batches up to `number` are confirmed."""
        if 0 < self._number <= number:
            self._round_trips.add(time.perf_counter() - self._started_s)
            self._number = 0

    def restart(self) -> None:
        """Time nothing of what was before; numbers begin anew."""
        self._number = 0
