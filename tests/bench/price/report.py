"""What the guard found: gathered pair by pair, as a table, in words, and as JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, Final

from tests.bench.price.plan import Figure, Row
from tests.bench.price.verdict import LEAST_PAIRS, LEVEL, Comparison, beyond_noise, compare
from tests.bench.records import Outcome
from tests.bench.tables import number, table

# So many cores' worth of other work during a run is noted beside its pair.
DISTURBED_CORES: Final = 0.25


class Findings:
    """The pairs of runs so far, by row."""

    def __init__(self, rows: Sequence[Row], *, costs_only: bool = False) -> None:
        self._pairs: dict[str, list[tuple[Outcome, Outcome]]] = {row.name: [] for row in rows}
        self._rows = rows
        self._costs_only = costs_only  # of relays that were loaded at once
        self.wrongs: list[str] = []  # what a relay did wrong, or a run that could not be done

    def add(self, row: Row, a: Outcome, b: Outcome) -> None:
        """Add a pair."""
        pairs = self._pairs[row.name]
        pairs.append((a, b))
        for name, outcome in (("A", a), ("B", b)):
            if outcome.wrongs:
                self.wrongs.append(f"{row.name}, {name}, pair {len(pairs)}: {outcome.wrongs}")

    def lines(self) -> list[Line]:
        """Return a line for each figure of each row that has pairs."""
        found = [
            (row, figure, pairs)
            for row in self._rows
            if (pairs := self._pairs[row.name])
            for figure in row.figures
            if figure.is_cost or not self._costs_only
        ]
        values = [
            [(figure.read(a), figure.read(b)) for a, b in pairs] for _, figure, pairs in found
        ]
        comparisons = [compare(each) for each in values]
        verdicts = beyond_noise(comparisons)
        return [
            Line(row, figure, of_it, comparison, differs, disturbed=self._disturbed(row, pairs))
            for (row, figure, pairs), of_it, comparison, differs in zip(
                found, values, comparisons, verdicts, strict=True
            )
        ]

    def _disturbed(self, row: Row, pairs: Sequence[tuple[Outcome, Outcome]]) -> list[int]:
        if self._costs_only:
            return []  # each was at work beside the other
        return [
            n
            for n, pair in enumerate(pairs)
            if any(each.phase(row.phase).cores_of_others() > DISTURBED_CORES for each in pair)
        ]


class Line:
    """One figure of a row: A, B and what is to be thought of it."""

    def __init__(
        self,
        row: Row,
        figure: Figure,
        values: list[tuple[float, float]],
        comparison: Comparison,
        differs: bool,
        *,
        disturbed: list[int],
    ) -> None:
        self.row = row
        self.figure = figure
        self.values = values
        self.comparison = comparison
        self.differs = differs
        self.disturbed = disturbed  # the pairs, from 0, beside which others were at work

    @property
    def verdict(self) -> str:
        """One of: better, WORSE, no difference, too few pairs."""
        if len(self.comparison.ratios) < LEAST_PAIRS:
            return "too few pairs"
        if not self.differs:
            return "no difference"
        is_better = (self.comparison.median < 1) == (self.figure.better == "lower")
        return "better" if is_better else "WORSE"

    def cells(self) -> list[str]:
        """Return the line of the table."""
        unit = f", {self.figure.unit}" if self.figure.unit else ""
        # A figure that is missing has no ratio, and the others' numbers would not fit.
        whole = len(self.comparison.ratios) == len(self.values)
        ratios = " ".join(
            f"{ratio:.2f}{'d' if whole and n in self.disturbed else ''}"
            for n, ratio in enumerate(self.comparison.ratios)
        )
        return [
            self.row.name,
            f"{self.figure.name}{unit}",
            self.verdict,
            number(_median([a for a, _ in self.values])),
            number(_median([b for _, b in self.values])),
            f"{self.comparison.median:.2f}",
            ratios,
        ]

    def as_json(self) -> dict[str, Any]:
        """Return everything that is known of it; what is missing is null."""
        return {
            "row": self.row.name,
            "load": list(self.row.load),
            "figure": self.figure.name,
            "unit": self.figure.unit,
            "better": self.figure.better,
            "a": [_or_none(a) for a, _ in self.values],
            "b": [_or_none(b) for _, b in self.values],
            "ratios": list(self.comparison.ratios),
            "median_ratio": _or_none(self.comparison.median),
            "chance": self.comparison.chance,
            "verdict": self.verdict,
            "disturbed_pairs": self.disturbed,
        }


HEAD: Final = ("row", "figure", "B against A", "A", "B", "B / A", "every pair")
TEXTS: Final = 3


def shown(lines: Sequence[Line]) -> str:
    """Return the table and how it is to be read."""
    if not lines:
        return "no pair was measured\n"
    text = table(HEAD, [line.cells() for line in lines], texts=TEXTS)
    notes = [
        "A and B are medians of all pairs, B / A is the median of the pairs' ratios. A difference"
        " is marked where",
        "the ratios' logarithms are too far from 0 for chance: Student's t on the pairs, judged for"
        " the whole table",
        f"by Benjamini and Hochberg at {LEVEL:.0%}; of a commit against itself one table in twenty"
        " marks anything.",
    ]
    if any(line.disturbed for line in lines):
        notes.append(
            f"d: others used over {DISTURBED_CORES:g} cores meanwhile; on a quiet machine there is"
            " none."
        )
    return f"{text}\n" + "\n".join(notes) + "\n"


def conclusion(lines: Sequence[Line]) -> str:
    """Return the whole table in one line."""
    if not lines:
        return "nothing compared"
    changed = [line for line in lines if line.verdict in ("better", "WORSE")]
    if not changed:
        if all(line.verdict == "too few pairs" for line in lines):
            return f"too few pairs to tell: at least {LEAST_PAIRS}, better 5"
        return "no difference"
    told = [f"{line.row.name} {line.figure.name} {line.comparison.median:.2f}" for line in changed]
    return f"beyond noise: {'; '.join(told)}"


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return statistics.median(known) if known else math.nan


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
