"""What a run says on the terminal: the banner before, the tables after."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relay.loadgen.faults import KINDS
from relay.loadgen.figures import (
    BUSY,
    Cost,
    PhaseFigures,
    changes,
    headlines,
    latency_summaries,
    phase_figures,
    pss_per_connection,
    ratio,
)
from relay.loadgen.histogram import Summary
from relay.loadgen.machine import Machine
from relay.loadgen.plan import Plan, describe, rate_of
from relay.loadgen.processes import OWN
from relay.loadgen.report import REFERENCE, RELAY, Outcome, Record
from relay.loadgen.tally import LATE, Counts
from relay.loadgen.units import cpu_list

# A generator that is later than this does not offer the load it was asked for.
_LATE_MS = 5.0
_OTHERS_BUSY = 0.1
# Of an asked rate; what is under way when the measured time ends is not complete in it.
_KEPT_UP = 0.95


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
    for line in verdict_lines(record):
        console.print(line)
    for phase, unit in headlines(record.plan.scenario):
        figures = phase_figures(relay, phase, unit)
        console.print(_phase_line(figures))
        console.print(_cost_table(record, figures, relay, reference))
    summaries = latency_summaries(relay)
    if summaries:
        console.print(_latency_table(summaries))
    for line in extra_counts(relay):
        console.print(f"  {line}")
    for line in warnings(record):
        console.print(f"[yellow]warning:[/] {escape(line)}")
    for line in fault_lines(record.outcomes):
        console.print(f"[bold red]{escape(line)}[/]", soft_wrap=True)


def counts_of(outcomes: Iterable[Outcome]) -> Counts:
    """Return all that happened, in every phase of every round."""
    total = Counts()
    for outcome in outcomes:
        for phase in outcome.phases:
            total.add(phase.counts)
    return total


def verdict_lines(record: Record) -> list[str]:
    """Return what the relay was sent and what was wrong, in two lines."""
    relay = record.of(RELAY)
    counts = counts_of(relay)
    faults = (f"{kind} {sum(o.faults.count(kind) for o in relay):,}" for kind in KINDS)
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


def warnings(record: Record) -> list[str]:
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


def show_changes(console: Console, first: Record, second: Record) -> None:
    """Print what changed from the first to the second."""
    for letter, record in (("A", first), ("B", second)):
        machine = record.machine
        console.print(f"{letter}: {record.started} relay {machine.relay} {machine.commit}")
    for line in unlike(first, second):
        console.print(f"[yellow]warning:[/] {escape(line)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for title in ("A", "B", "change", "noise"):
        table.add_column(title, justify="right")
    table.add_column("")
    styles = {"better": "green", "worse": "bold red", "noise": "dim", "unknown": "dim"}
    words = {"noise": "within the noise", "unknown": "single values"}
    for each in changes(first, second):
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
    if figures.fans_out and figures.seconds:
        line += f", {figures.deliveries / figures.seconds:,.0f} deliveries/s"
    return line


def _cost_table(
    record: Record, figures: PhaseFigures, relay: list[Outcome], reference: list[Outcome]
) -> Table:
    unit = figures.unit.rpartition(" ")[2]
    titles = ["CPUs busy", "PSS KiB/connection"]
    if unit:
        titles += [f"CPU µs/{unit}", f"waits/{unit}", f"preempted/{unit}"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("process")
    for title in titles:
        table.add_column(title, justify="right")
    pss = pss_per_connection(relay[0])
    for cost in figures.costs:
        table.add_row(*_cost_row(cost, pss, unit))
    if unit:
        _add_total(table, "server, all", f"{figures.server_cpu_us:.1f}")
        if figures.fans_out:
            each = figures.server_cpu_us * figures.count / figures.deliveries
            table.add_row("  a delivery", "", "", f"{each:.1f}", "", "")
    if reference:
        theirs = phase_figures(reference, figures.name, figures.unit)
        for cost in theirs.costs:
            if cost.role != OWN:
                table.add_row(*_cost_row(cost, pss_per_connection(reference[0]), unit))
        if (times := ratio(record, figures.name, figures.unit)) is not None:
            _add_total(table, "ratio to the reference", f"{times:.2f}")
    return table


def _add_total(table: Table, name: str, value: str) -> None:
    table.add_row(f"[bold]{name}[/]", "", "", f"[bold]{value}[/]", "", "")


def _cost_row(cost: Cost, pss: dict[str, float], unit: str) -> list[str]:
    many = f" × {cost.processes}" if cost.processes > 1 else ""
    memory = f"{pss[cost.role] / 1024:.2f}" if cost.role in pss else ""
    row = [f"{cost.role}{many}", f"{cost.busy:.2f}", memory]
    if unit:
        row += [f"{cost.cpu_us:.1f}", f"{cost.waits:.3f}", f"{cost.preempted:.3f}"]
    return row


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
