"""What a run says on the terminal: the banner before, the tables after."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relay.loadgen.report.changes import changes, unlike
from relay.loadgen.report.figures import (
    Cost,
    PhaseFigures,
    headlines,
    latency_summaries,
    phase_figures,
    ratio,
)
from relay.loadgen.report.histogram import Summary
from relay.loadgen.report.record import OWN, REFERENCE, RELAY, Machine, Outcome, RunRecord
from relay.loadgen.report.remarks import (
    cpu_list,
    extra_counts,
    fault_lines,
    interruption,
    kib_per_connection,
    verdict_lines,
    warnings,
)
from relay.loadgen.traffic.plan import Plan, describe


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


def show(console: Console, record: RunRecord) -> None:
    """Print the tables of a record, its faults and its warnings."""
    relay = record.main
    reference = record.of(REFERENCE) if record.of(RELAY) else []
    console.print()
    if line := interruption(record):
        console.print(f"[bold yellow]{escape(line)}[/]", soft_wrap=True)
    for line in verdict_lines(record):
        console.print(line)
    if record.way != "ws":
        console.print(f"over {escape(record.way)}")
    for phase, unit in headlines(record.plan.scenario):
        figures = phase_figures(relay, phase, unit)
        console.print(_phase_line(figures))
        if not figures.is_reached:
            continue
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


def show_changes(console: Console, first: RunRecord, second: RunRecord) -> None:
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
    if not figures.is_reached:
        return f"{figures.name}: not reached"
    if not figures.unit:
        return f"{figures.name} {figures.seconds:.1f} s"
    line = f"{figures.name} {figures.seconds:.1f} s: {figures.rate:,.0f} {figures.unit}s/s"
    if figures.fans_out and figures.seconds:
        line += f", {figures.deliveries / figures.seconds:,.0f} deliveries/s"
    return line


def _cost_table(
    record: RunRecord, figures: PhaseFigures, relay: list[Outcome], reference: list[Outcome]
) -> Table:
    unit = figures.unit.rpartition(" ")[2]
    titles = ["CPUs busy", "PSS KiB/connection"]
    if unit:
        titles += [f"CPU µs/{unit}", f"waits/{unit}", f"preempted/{unit}"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("process")
    for title in titles:
        table.add_column(title, justify="right")
    pss = kib_per_connection(relay)
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
                table.add_row(*_cost_row(cost, kib_per_connection(reference), unit))
        if (times := ratio(record, figures.name, figures.unit)) is not None:
            _add_total(table, "ratio to the reference", f"{times:.2f}")
    return table


def _add_total(table: Table, name: str, value: str) -> None:
    table.add_row(f"[bold]{name}[/]", "", "", f"[bold]{value}[/]", "", "")


def _cost_row(cost: Cost, pss: dict[str, str], unit: str) -> list[str]:
    many = f" × {cost.processes}" if cost.processes > 1 else ""
    row = [f"{cost.role}{many}", f"{cost.busy:.2f}", pss.get(cost.role, "")]
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
