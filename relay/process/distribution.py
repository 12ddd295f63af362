"""A distribution of values in buckets: cheap to add to, and its buckets are fixed."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

# Of times, in seconds: from a write that the kernel takes to a client's patience.
SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
# Of how many there are of something.
COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Buckets:
    """How often values up to each bound were seen; the last count is of those above all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count `value`: under half a microsecond."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
