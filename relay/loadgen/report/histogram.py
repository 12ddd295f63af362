"""Latency histograms, by HdrHistogram: 1 µs to 1 h, three digits kept."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec
from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

_LOWEST_US: Final = 1
_HIGHEST_US: Final = 3_600_000_000
_DIGITS: Final = 3
_BITS: Final = 11  # of a value, which are those digits
_EXACT_BELOW: Final = 1 << _BITS
_PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 100.0)
# The steps of a distribution's curve: each halves the distance to 100 % in three.
_TICKS_PER_HALVING: Final = 3


class Summary(msgspec.Struct, frozen=True):
    """Percentiles in milliseconds; `count` 0 where there was nothing."""

    count: int = 0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p99_9: float = 0.0
    max: float = 0.0


class Quantiles(msgspec.Struct, frozen=True):
    """Of the latencies of one interval, in milliseconds."""

    p50: float
    p99: float
    max: float


class Histogram:
    """Counts of latencies in microseconds."""

    def __init__(self) -> None:
        self._counts = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)

    def record(self, micros: list[int]) -> None:
        """Add values; beyond an hour they count as one hour."""
        # The library takes some 3 µs a call, so it gets one for each value that it tells apart.
        told_apart = [
            value if value < _EXACT_BELOW else value >> (s := value.bit_length() - _BITS) << s
            for value in micros
        ]
        for value, count in Counter(told_apart).items():
            self._counts.record_value(max(0, min(value, _HIGHEST_US)), count)

    def encode(self) -> str:
        """Return the counts as text, in HdrHistogram's own interchange format (V2)."""
        encoded: bytes = self._counts.encode()
        return encoded.decode()

    def add(self, encoded: str) -> None:
        """Add the counts of another process."""
        self._counts.decode_and_add(encoded.encode())

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self._counts.get_total_count())

    def summary(self) -> Summary:
        """Return the percentiles that a table shows."""
        if not self.count:
            return Summary()
        at = self._counts.get_percentile_to_value_dict(list(_PERCENTILES))
        p50, p90, p99, p99_9, highest = (at[p] / 1000 for p in _PERCENTILES)
        return Summary(self.count, p50, p90, p99, p99_9, highest)

    def quantiles(self) -> Quantiles:
        """Return what is shown of one interval."""
        at = self._counts.get_percentile_to_value_dict([50.0, 99.0, 100.0])
        return Quantiles(*(at.get(p, 0) / 1000 for p in (50.0, 99.0, 100.0)))

    def curve(self) -> list[tuple[float, float]]:
        """Return (percentile, milliseconds) along the distribution, denser towards 100 %."""
        if not self.count:
            return []
        steps = self._counts.get_percentile_iterator(_TICKS_PER_HALVING)
        return [(s.percentile_level_iterated_to, s.value_iterated_to / 1000) for s in steps]


def merged(encoded: Iterable[str]) -> Histogram:
    """Return the histogram of all these together."""
    whole = Histogram()
    for each in encoded:
        whole.add(each)
    return whole
