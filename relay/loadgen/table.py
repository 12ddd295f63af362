"""What a run says on the terminal: the banner before, the tables after."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relay.loadgen.faults import KINDS
from relay.loadgen.figures import (
    BUSY,
    Change,
    Cost,
    PhaseFigures,
    headlines,
    latency_summaries,
    phase_figures,
    pss_per_connection,
    ratio,
)
from relay.loadgen.histogram import Summary
from relay.loadgen.machine import Machine
from relay.loadgen.plan import Plan, describe
from relay.loadgen.processes import OWN
from relay.loadgen.report import REFERENCE, RELAY, Outcome, Record
from relay.loadgen.tally import LATE, Counts
from relay.loadgen.units import cpu_list

# A generator that is later than this does not offer the load it was asked for.
_LATE_MS = 5.0


def banner(
    plan: Plan,
    url: str,
    machine: Machine,
    *,
    spawn: str | None,
    relay_cpus: tuple[int, ...],
    load_cpus: tuple[int, ...],
    reference: bool,
    rounds: int,
) -> str:
    """Return every parameter and the machine, as a few lines of text."""
    told = [f"{name}={value}" for name, value in describe(plan)]
    told += [f"rounds={rounds}", f"reference={'yes' if reference else 'no'}"]
    where = f"spawned: supervisor.py {spawn}" if spawn is not None else url
    libraries = " ".join(f"{name} {number}" for name, number in machine.libraries.items())
    return "\n".join(
        (
            f"relay-load {where}",
            f"  {' '.join(told)}",
            f"  relay on CPUs {cpu_list(relay_cpus)}, load on CPUs {cpu_list(load_cpus)}",
            f"  {machine.cpu}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, "
            f"Linux {machine.kernel}, Python {machine.python}",
            f"  relay {machine.relay} {machine.commit}".rstrip() + f"; {libraries}",
        )
    )


def show(console: Console, record: Record) -> None:
    """Print the tables of a record, its faults and its warnings."""
    relay, reference = record.of(RELAY), record.of(REFERENCE)
    console.print()
    console.print(verdict_line(relay), highlight=False)
    for phase, unit in headlines(record.plan.scenario):
        figures = phase_figures(relay, phase, unit)
        console.print(_phase_line(figures), highlight=False)
        console.print(_cost_table(record, figures, relay, reference))
    summaries = latency_summaries(relay)
    if summaries:
        console.print(_latency_table(summaries))
    for line in extra_counts(relay):
        console.print(f"  {line}", highlight=False)
    for line in warnings(record):
        console.print(f"[yellow]warning:[/] {escape(line)}", highlight=False)
    for line in fault_lines(record.outcomes):
        console.print(f"[bold red]{escape(line)}[/]", highlight=False, soft_wrap=True)


def counts_of(outcomes: Iterable[Outcome]) -> Counts:
    """Return all that happened, in every phase of every round."""
    total = Counts()
    for outcome in outcomes:
        for phase in outcome.phases:
            total.add(phase.counts)
    return total


def verdict_line(outcomes: list[Outcome]) -> str:
    """Return the line that says what was sent and what was wrong."""
    counts = counts_of(outcomes)
    parts = [f"sent {counts.sent:,}", f"complete {counts.completed:,}", f"logins {counts.logins:,}"]
    parts += (
        f"{kind} {sum(outcome.faults.count(kind) for outcome in outcomes):,}" for kind in KINDS
    )
    return "  ".join(parts)


def extra_counts(outcomes: list[Outcome]) -> list[str]:
    """Return lines on what is allowed, and still worth knowing."""
    counts = counts_of(outcomes)
    told = {
        "read receipts": f"{counts.reads_arrived:,} of {counts.reads_sent:,}"
        if counts.reads_sent
        else "",
        "redelivered at a new login": counts.redelivered,
        "acks repeated at a new login": counts.repeated,
        "connections the server ended": counts.disconnects,
        "failed connects": counts.failed_connects,
        "messages of other runs": counts.foreign,
    }
    return [f"{name}: {value}" for name, value in told.items() if value]


def warnings(record: Record) -> list[str]:
    """Return why the figures may not be the server's."""
    lines = []
    for server in (RELAY, REFERENCE):
        for phase, unit in headlines(record.plan.scenario):
            busiest = phase_figures(record.of(server), phase, unit).own_busiest
            if busiest > BUSY:
                lines.append(
                    f"{phase} of the {server}: a load process used {busiest:.0%} of a CPU, "
                    "the generator may be the bottleneck (more CPUs and --procs, or less load)"
                )
    late = latency_summaries(record.of(RELAY)).get(LATE)
    if late is not None and late.p99 > _LATE_MS:
        lines.append(f"messages left late, p99 {late.p99:.1f} ms; latencies include that")
    if not any(load.role != OWN for o in record.of(RELAY) for p in o.phases for load in p.loads):
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
        lines += (f"{outcome.server}: {each}" for each in outcome.given_up)
    return lines


def show_changes(console: Console, changes: list[Change]) -> None:
    """Print a comparison."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for title in ("A", "B", "change", "noise"):
        table.add_column(title, justify="right")
    table.add_column("")
    styles = {"better": "green", "worse": "bold red", "noise": "dim", "unknown": "dim"}
    words = {"noise": "within the noise", "unknown": "single values"}
    for each in changes:
        noise = "" if each.noise is None else f"±{each.noise:.1%}"
        verdict = f"[{styles[each.verdict]}]{words.get(each.verdict, each.verdict)}[/]"
        values = (f"{value:,.4g}" for value in (each.before, each.after))
        name = f"{each.name} [dim]{each.unit}[/]"
        table.add_row(name, *values, f"{each.change:+.1%}", noise, verdict)
    console.print(table)


def _phase_line(figures: PhaseFigures) -> str:
    if not figures.unit:
        return f"{figures.name} {figures.seconds:.1f} s"
    line = f"{figures.name} {figures.seconds:.1f} s: {figures.rate:,.0f} {figures.unit}s/s"
    if figures.unit == "message" and figures.deliveries != figures.count and figures.seconds:
        line += f", {figures.deliveries / figures.seconds:,.0f} deliveries/s"
    return line


def _cost_table(
    record: Record, figures: PhaseFigures, relay: list[Outcome], reference: list[Outcome]
) -> Table:
    unit = figures.unit.rpartition(" ")[2] or "s"
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("process")
    for title in (
        f"CPU µs/{unit}",
        "CPUs busy",
        f"waits/{unit}",
        f"preempted/{unit}",
        "PSS KiB/connection",
    ):
        table.add_column(title, justify="right")
    pss = pss_per_connection(relay[0])
    for cost in figures.costs:
        table.add_row(*_cost_row(cost, pss))
    if figures.unit:
        table.add_row("[bold]server, all[/]", f"[bold]{figures.server_cpu_us:.1f}[/]", *[""] * 4)
        if figures.deliveries and figures.deliveries != figures.count:
            each = figures.server_cpu_us * figures.count / figures.deliveries
            table.add_row("  a delivery", f"{each:.1f}", *[""] * 4)
    if reference:
        theirs = phase_figures(reference, figures.name, figures.unit)
        for cost in theirs.costs:
            if cost.role != OWN:
                table.add_row(*_cost_row(cost, pss_per_connection(reference[0])))
        if (times := ratio(record, figures.name, figures.unit)) is not None:
            table.add_row("[bold]ratio to the reference[/]", f"[bold]{times:.2f}[/]", *[""] * 4)
    return table


def _cost_row(cost: Cost, pss: dict[str, float]) -> list[str]:
    many = f" × {cost.processes}" if cost.processes > 1 else ""
    memory = f"{pss[cost.role] / 1024:.2f}" if cost.role in pss else ""
    if not cost.cpu_us:
        return [f"{cost.role}{many}", "", f"{cost.busy:.2f}", "", "", memory]
    return [
        f"{cost.role}{many}",
        f"{cost.cpu_us:.1f}",
        f"{cost.busy:.2f}",
        f"{cost.waits:.3f}",
        f"{cost.preempted:.3f}",
        memory,
    ]


def _latency_table(summaries: dict[str, Summary]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("latency ms")
    for title in ("p50", "p90", "p99", "p99.9", "max", "count"):
        table.add_column(title, justify="right")
    for name, each in summaries.items():
        values = (each.p50, each.p90, each.p99, each.p99_9, each.max)
        table.add_row(name, *(f"{value:.2f}" for value in values), f"{each.count:,}")
    return table


def unlike(first: Record, second: Record) -> list[str]:
    """Return why two records can hardly be compared."""
    lines = []
    if describe(first.plan) != describe(second.plan):
        other = dict(describe(second.plan))
        mine = dict(describe(first.plan))
        names = [name for name in mine | other if mine.get(name) != other.get(name)]
        differ = ", ".join(f"{name} {mine.get(name)} / {other.get(name)}" for name in names)
        lines.append(f"not the same load: {differ}")
    if (first.machine.cpu, first.machine.cores) != (second.machine.cpu, second.machine.cores):
        lines.append("not the same machine")
    if (first.relay_cpus, first.load_cpus) != (second.relay_cpus, second.load_cpus):
        lines.append("not the same CPUs")
    return lines
