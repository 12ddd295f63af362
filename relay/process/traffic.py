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

    __slots__ = ("_round_trips", "_started_s", "number")

    def __init__(self, traffic: Traffic) -> None:
        self._round_trips = traffic.round_trips
        # Of the batch that is timed, 0: none is. Who has a batch looks here first, since a call
        # for each would be felt.
        self.number = 0
        self._started_s = 0.0

    def left(self, number: int) -> None:
        """Note that batch `number` leaves now; no other is timed."""
        self.number, self._started_s = number, time.perf_counter()

    def confirmed(self) -> None:
        """Note that the batch that is timed is confirmed."""
        self._round_trips.add(time.perf_counter() - self._started_s)
        self.number = 0

    def restart(self) -> None:
        """Time nothing of what was before; numbers begin anew."""
        self.number = 0
