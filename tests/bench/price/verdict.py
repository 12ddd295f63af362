"""Whether two commits differ: ratios of pairs, and what in a whole table is beyond noise.

Each pair is a run of A and a run of B, one right after the other, so that what the machine does
otherwise meanwhile meets both. Of a figure's pairs the logarithms of B / A are tested against 0 by
Student's t: how far they lie from "the same", measured by how much they differ from one another.

A table asks that question some thirty times, and one answer in twenty is wrong by chance. So the
answers are judged together, by Benjamini and Hochberg's rule at 5 %: a table of a commit against
itself marks anything at all once in twenty tables. Where many rows differ, each needs less.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

LEVEL: Final = 0.05
LEAST_PAIRS: Final = 3  # two say next to nothing about how much they differ
# Nobody acts on less, and two checkouts of one commit may differ so: their names are in paths.
LEAST_CHANGE: Final = 0.02


class Comparison(NamedTuple):
    """One figure of A and B, in pairs."""

    ratios: tuple[float, ...]  # B / A, of every pair, in the order of measuring
    median: float
    chance: float  # of ratios at least so far from 1 where nothing differs


def compare(pairs: Sequence[tuple[float, float]]) -> Comparison:
    """Compare B with A. A pair with a figure that is missing or not above 0 is left out."""
    ratios = tuple(b / a for a, b in pairs if _is_usable(a) and _is_usable(b))
    if not ratios:
        return Comparison((), math.nan, 1.0)
    return Comparison(ratios, statistics.median(ratios), _chance(ratios))


def beyond_noise(comparisons: Sequence[Comparison]) -> list[bool]:
    """Return for each figure of one table whether A and B differ."""
    ranked = sorted(each.chance for each in comparisons)
    bound = max(
        (c for n, c in enumerate(ranked, 1) if c <= LEVEL * n / len(ranked)),
        default=-1.0,
    )
    return [each.chance <= bound and abs(each.median - 1) >= LEAST_CHANGE for each in comparisons]


def student_chance(t: float, freedom: int) -> float:
    """Return how likely Student's t with so many degrees of freedom is beyond `t`, on both sides.

    The finite sums for whole degrees (Abramowitz and Stegun 26.7.3 and 26.7.4).
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2 == 1
    term = cosine if is_odd else 1.0
    total = term if freedom > 1 else 0.0
    for n in range(3 if is_odd else 2, freedom - 1, 2):
        term *= (n - 1) / n * cosine * cosine
        total += term
    within = 2 / math.pi * (angle + sine * total) if is_odd else sine * total
    return max(0.0, 1.0 - within)


def _chance(ratios: Sequence[float]) -> float:
    if len(ratios) < LEAST_PAIRS:
        return 1.0
    logs = [math.log(ratio) for ratio in ratios]
    mean, spread = statistics.fmean(logs), statistics.stdev(logs)
    if spread == 0:
        return 0.0 if mean else 1.0
    return student_chance(mean / (spread / math.sqrt(len(logs))), len(logs) - 1)


def _is_usable(value: float) -> bool:
    return math.isfinite(value) and value > 0
