"""What a trial saw and what it shows, as tables and verdicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relay.loadgen.report.histogram import Summary

from .memory import MIB, Use
from .pairs import CALM, REST, Told

LEAST_MS: Final = 0.001  # what a histogram tells apart


@dataclass(frozen=True)
class Claim:
    """Something that the relay promises, and whether it held."""

    what: str
    holds: bool
    detail: str


@dataclass(frozen=True)
class Wait:
    """How long the pairs waited for one thing, in calm and under one load."""

    load: str
    kind: str
    calm: Summary
    loaded: Summary

    def ms(self, percentile: str) -> tuple[float, float]:
        """Return that percentile in calm and under load."""
        return getattr(self.calm, percentile), getattr(self.loaded, percentile)

    def ratio(self, percentile: str) -> float:
        """Return how many times longer they waited under load."""
        calm_ms, loaded_ms = self.ms(percentile)
        return loaded_ms / max(calm_ms, LEAST_MS)


@dataclass(frozen=True)
class Bound:
    """How long the pairs may wait under load.

    At most `most` times as long as in calm; where that is less, `floor_ms` are allowed all the
    same.
    """

    percentile: str
    most: float
    floor_ms: float = 0.0

    def __str__(self) -> str:
        floor = f", or to {self.floor_ms:g} ms" if self.floor_ms else ""
        return f"{self.percentile} grows at most {self.most:g} times{floor}"

    def holds(self, wait: Wait) -> bool:
        """Tell whether it was kept; not so where nothing was measured."""
        _, loaded_ms = wait.ms(self.percentile)
        is_kept = wait.ratio(self.percentile) <= self.most or loaded_ms <= self.floor_ms
        return is_kept and wait.calm.count > 0 and wait.loaded.count > 0

    def shown(self, wait: Wait) -> str:
        """Return the figures that it was judged by."""
        calm_ms, loaded_ms = wait.ms(self.percentile)
        ratio = wait.ratio(self.percentile)
        return f"send to {wait.kind} {ratio:.2f} ({calm_ms:.2f} → {loaded_ms:.2f} ms)"


@dataclass
class Findings:
    """Everything that one trial saw; `figures` are the trial's own, by name."""

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)  # "ack 1" or the code of an error
    closes: Counter[str] = field(default_factory=Counter)  # connections that the relay ended
    figures: dict[str, str] = field(default_factory=dict)
    memory: dict[str, Use] = field(default_factory=dict)
    told: Told | None = None
    counters: Counter[str] = field(default_factory=Counter)
    claims: list[Claim] = field(default_factory=list)

    def claim(self, what: str, holds: bool, detail: str) -> None:
        """Add a verdict."""
        self.claims.append(Claim(what, holds, detail))

    @property
    def failed(self) -> list[Claim]:
        """The claims that do not hold."""
        return [claim for claim in self.claims if not claim.holds]

    def waits(self) -> dict[str, list[Wait]]:
        """Return what the pairs waited, by load."""
        assert self.told is not None
        phases = dict(self.told.phases)
        calm = phases.pop(CALM)
        phases.pop(REST, None)
        return {
            load: [
                Wait(load, kind, getattr(calm, kind), getattr(phase, kind))
                for kind in ("ack", "delivery")
            ]
            for load, phase in phases.items()
        }

    def claim_waits(self, bound: Bound) -> None:
        """Add a verdict for each load."""
        loads = self.waits()
        for load, waits in loads.items():
            self.claim(
                f"the others' {bound}" + (f" ({load})" if len(loads) > 1 else ""),
                all(map(bound.holds, waits)),
                "  ".join(map(bound.shown, waits)),
            )


def show(console: Console, findings: Findings) -> None:
    """Print it all, the verdicts last."""
    lines = {
        "sent": f"{findings.sent:,}",
        "answers": counts_of(findings.answers),
        "closes": counts_of(findings.closes),
        **findings.figures,
        "counters": counts_of(findings.counters),
    }
    width = 2 + max(map(len, lines))
    for name, value in lines.items():
        console.print(f"{name:{width}}{escape(value)}", soft_wrap=True)
    if findings.memory:
        console.print(_memory_table(findings.memory))
    if findings.told is not None:
        console.print(_latency_table(findings))
    for claim in findings.claims:
        verdict = "[green]holds[/]" if claim.holds else "[bold red]FAILS[/]"
        console.print(f"{verdict}  {escape(claim.what)}: {escape(claim.detail)}", soft_wrap=True)


def counts_of(counts: Counter[str]) -> str:
    """Return counts by name as one line."""
    return "  ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"


def _memory_table(memory: dict[str, Use]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("memory MiB")
    for title in ("before", "peak of 1st half", "peak", "after", "peak - before"):
        table.add_column(title, justify="right")
    for seat, use in memory.items():
        values = (use.before, use.first_peak, use.peak, use.after, use.growth)
        table.add_row(seat, *(f"{value / MIB:.1f}" for value in values))
    return table


def _latency_table(findings: Findings) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("others' latency ms", no_wrap=True)
    for title in ("p50", "p99", "p99.9", "max", "count"):
        table.add_column(title, justify="right")
    for waits in zip(*findings.waits().values(), strict=True):
        title = "ack 1" if waits[0].kind == "ack" else waits[0].kind
        table.add_row(f"{title}, {CALM}", *_row(waits[0].calm))
        for wait in waits:
            table.add_row(f"{title}, {wait.load}", *_row(wait.loaded))
            table.add_row("  ratio", f"{wait.ratio('p50'):.2f}", f"{wait.ratio('p99'):.2f}")
    return table


def _row(summary: Summary) -> list[str]:
    values = (summary.p50, summary.p99, summary.p99_9, summary.max)
    return [*(f"{value:.2f}" for value in values), f"{summary.count:,}"]
