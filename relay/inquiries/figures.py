"""What every process tells of itself in figures: counters, what is now, and distributions."""

from __future__ import annotations

import msgspec

from relay.inquiries.contract import Inquiry
from relay.process.distribution import Buckets


class Distribution(msgspec.Struct, frozen=True):
    """How often values up to each of `bounds` were seen, and above the last; and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]  # one more than bounds
    sum: float


def told(buckets: Buckets) -> Distribution:
    """Return the buckets as an answer has them."""
    return Distribution(buckets.bounds, tuple(buckets.counts), buckets.sum)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of one process, since its start; the names are its own (`relay.admin.families`)."""

    pid: int
    incarnation: int
    version: str
    uptime_s: float
    counters: dict[str, int] = {}  # msgspec copies it
    gauges: dict[str, float] = {}
    distributions: dict[str, Distribution] = {}
    expiries: dict[str, float] = {}  # of the certificates that it shows, by file: seconds of 1970


class AskFigures(Inquiry[Figures], frozen=True):
    """All of them."""

    name = "figures"
    answer = Figures
