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
from .pairs import Told

CALM: Final = "calm"
LOADED: Final = "loaded"
LEAST_MS: Final = 0.001  # what a histogram tells apart


@dataclass(frozen=True)
class Claim:
    """Something that the relay promises, and whether it held."""

    what: str
    holds: bool
    detail: str


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

    def ratios(self, percentile: str) -> dict[str, float]:
        """Return how many times longer the pairs waited under load than in calm, for what."""
        assert self.told is not None
        calm, loaded = self.told.phases[CALM], self.told.phases[LOADED]
        return {
            kind: getattr(getattr(loaded, kind), percentile)
            / max(getattr(getattr(calm, kind), percentile), LEAST_MS)
            for kind in ("ack", "delivery")
        }


def show(console: Console, findings: Findings) -> None:
    """Print it all, the verdicts last."""
    lines = {
        "sent": f"{findings.sent:,}",
        "answers": _counts(findings.answers),
        "closes": _counts(findings.closes),
        **findings.figures,
        "counters": _counts(findings.counters),
    }
    for name, value in lines.items():
        console.print(f"{name:9}{escape(value)}", soft_wrap=True)
    if findings.memory:
        console.print(_memory_table(findings.memory))
    if findings.told is not None:
        console.print(_latency_table(findings.told))
    for claim in findings.claims:
        verdict = "[green]holds[/]" if claim.holds else "[bold red]FAILS[/]"
        console.print(f"{verdict}  {escape(claim.what)}: {escape(claim.detail)}", soft_wrap=True)


def _counts(counts: Counter[str]) -> str:
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


def _latency_table(told: Told) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("others' latency ms")
    for title in ("p50", "p99", "p99.9", "max", "count"):
        table.add_column(title, justify="right")
    for kind, title in (("ack", "send to ack 1"), ("delivery", "send to delivery")):
        calm, loaded = (getattr(told.phases[phase], kind) for phase in (CALM, LOADED))
        for phase, summary in ((CALM, calm), (LOADED, loaded)):
            table.add_row(f"{title}, {phase}", *_row(summary))
        ratios = (
            f"{after / before:.2f}" if before else ""
            for after, before in ((loaded.p50, calm.p50), (loaded.p99, calm.p99))
        )
        table.add_row("  ratio", *ratios)
    return table


def _row(summary: Summary) -> list[str]:
    values = (summary.p50, summary.p99, summary.p99_9, summary.max)
    return [*(f"{value:.2f}" for value in values), f"{summary.count:,}"]
