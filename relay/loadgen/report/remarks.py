"""What a record says in words: the verdict, faults, what is allowed but worth knowing, warnings."""

import re
from collections.abc import Iterable
from typing import Final

from relay.loadgen.report.figures import (
    BUSY,
    LEAST_PSS_BYTES,
    headlines,
    latency_summaries,
    phase_figures,
    pss_per_connection,
)
from relay.loadgen.report.record import OWN, REFERENCE, RELAY, Outcome, RunRecord
from relay.loadgen.traffic.plan import rate_of
from relay.loadgen.verify.faults import KINDS
from relay.loadgen.verify.tally import LATE, Counts

# A generator that is later than this does not offer the load it was asked for.
_LATE_MS: Final = 5.0
_OTHERS_BUSY: Final = 0.1
# Of an asked rate; what is under way when the measured time ends is not complete in it.
_KEPT_UP: Final = 0.95
# The relay's answer to who sends more than its `quota.messages_per_s`.
_OVER_QUOTA: Final = re.compile(r": 429 .*\bmessages a second of one author")
_QUOTA_HINT: Final = (
    "    the relay bounds what one author sends, and here one stands for many: start it with"
    " --messages-per-s 0, or have one started with --spawn"
)
NOT_TOLD_APART: Final = "–"


def counts_of(outcomes: Iterable[Outcome]) -> Counts:
    """Return all that happened, in every phase of every round."""
    total = Counts()
    for outcome in outcomes:
        for phase in outcome.phases:
            total.add(phase.counts)
    return total


def verdict_lines(record: RunRecord) -> list[str]:
    """Return what the relay was sent and what was wrong, in two lines."""
    counts = counts_of(record.main)
    faults = (f"{kind} {sum(o.faults.count(kind) for o in record.main):,}" for kind in KINDS)
    return [
        f"sent {counts.sent:,}  complete {counts.completed:,}  logins {counts.logins:,}",
        "  ".join(faults),
    ]


def extra_counts(outcomes: list[Outcome]) -> list[str]:
    """Return lines on what is allowed, and still worth knowing."""
    counts = counts_of(outcomes)
    told = {
        "reads": f"{counts.reads_sent:,} acked, {counts.reads_arrived:,} told to authors"
        if counts.reads_sent
        else "",
        "redelivered at a new login": counts.redelivered,
        "acks repeated at a new login": counts.repeated,
        "connections the server ended": counts.disconnects,
        "failed connects": counts.failed_connects,
        "messages and receipts of other runs": counts.foreign,
    }
    return [f"{name}: {value}" for name, value in told.items() if value]


def interruption(record: RunRecord) -> str:
    """Return what an interrupt left out, as one line; empty where there was none."""
    if not record.interrupted:
        return ""
    parts = ["interrupted: the figures are of what was measured until then"]
    if not record.of(RELAY):
        parts.append("the relay was not loaded yet, all of it is the reference's")
    for outcome in record.outcomes:
        if outcome.interrupted:
            parts.append(f"the {outcome.server}'s run ended in its phase {outcome.interrupted}")
        if outcome.unjudged:
            parts.append(f"{outcome.unjudged:,} messages were under way and are not judged")
    return "; ".join(parts)


def warnings(record: RunRecord) -> list[str]:
    """Return why the figures may not be the server's."""
    lines = []
    for server in (RELAY, REFERENCE):
        for phase, unit in headlines(record.plan.scenario):
            figures = phase_figures(record.of(server), phase, unit)
            where = f"{phase} of the {server}"
            if figures.own_busiest > BUSY:
                lines.append(
                    f"{where}: a load process used {figures.own_busiest:.0%} of a CPU; the "
                    "generator may be the bottleneck (more CPUs and --procs, or less load)"
                )
            if figures.others_busy > _OTHERS_BUSY:
                lines.append(
                    f"{where}: others used {figures.others_busy:.1f} CPUs of this machine; "
                    "ratios hold better than times"
                )
            asked = rate_of(record.plan.scenario)
            if asked and figures.seconds and figures.rate < _KEPT_UP * asked:
                lines.append(f"{where}: {figures.rate:,.0f} a second of the {asked:,.0f} asked for")
    late = latency_summaries(record.of(RELAY)).get(LATE)
    if late is not None and late.p99 > _LATE_MS:
        lines.append(f"messages left late, p99 {late.p99:.1f} ms; latencies include that")
    phases = [phase for outcome in record.of(RELAY) for phase in outcome.phases]
    if phases and not any(load.role != OWN for phase in phases for load in phase.loads):
        lines.append("the server's processes are not visible from here: its costs are unknown")
    return lines


def fault_lines(outcomes: list[Outcome]) -> list[str]:
    """Return what went wrong, the first few of each kind by name."""
    lines = []
    for outcome in outcomes:
        for kind, fault in outcome.faults.kinds.items():
            lines.append(f"{outcome.server}: {kind} {fault.count:,}")
            lines += (f"    {example}" for example in fault.examples)
            if fault.count > len(fault.examples):
                lines.append(f"    and {fault.count - len(fault.examples):,} more")
            if any(map(_OVER_QUOTA.search, fault.examples)):
                lines.append(_QUOTA_HINT)
        lines += (f"{outcome.server}: {each}" for each in outcome.given_up)
    return lines


def kib_per_connection(outcomes: list[Outcome]) -> dict[str, str]:
    """Return, by role, the KiB that a connection of the first round added to the PSS, for a cell.

    A dash where that is too little to be told from what processes happen to share.
    """
    sizes = pss_per_connection(outcomes[0]) if outcomes else {}
    return {
        role: f"{size / 1024:.2f}" if size >= LEAST_PSS_BYTES else NOT_TOLD_APART
        for role, size in sizes.items()
    }


def cpu_list(cpus: tuple[int, ...]) -> str:
    """Return CPU numbers as the command line takes them, for showing."""
    return ",".join(map(str, cpus)) or "any"
