"""The page of a record: one HTML file without any other, for light and dark."""

import shlex
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from relay.loadgen.report.figures import (
    headlines,
    latency_summaries,
    phase_figures,
    ratio,
)
from relay.loadgen.report.plots import plots, process_colours
from relay.loadgen.report.record import OWN, REFERENCE, RELAY, RunRecord
from relay.loadgen.report.remarks import (
    cpu_list,
    extra_counts,
    fault_lines,
    interruption,
    kib_per_connection,
    verdict_lines,
    warnings,
)
from relay.loadgen.report.words import legend
from relay.loadgen.traffic.plan import describe

_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("relay.loadgen.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(record: RunRecord) -> str:
    """Return the page."""
    relay = record.main
    reference = record.of(REFERENCE) if record.of(RELAY) else []
    colours = process_colours([*relay, *reference])
    phases = [
        {
            "figures": phase_figures(relay, name, unit),
            "reference": phase_figures(reference, name, unit) if reference else None,
            "ratio": ratio(record, name, unit),
        }
        for name, unit in headlines(record.plan.scenario)
    ]
    return _ENVIRONMENT.get_template("page.html").render(
        record=record,
        command=shlex.join(record.command),
        parameters=describe(record.plan),
        verdict=verdict_lines(record),
        phases=phases,
        latencies=latency_summaries(relay),
        pss=kib_per_connection(relay),
        pss_reference=kib_per_connection(reference),
        interruption=interruption(record),
        extra=extra_counts(relay),
        warnings=warnings(record),
        faults=fault_lines(record.outcomes),
        runs=[(outcome, plots(outcome, colours)) for outcome in (*relay, *reference)],
        own=OWN,
        words=legend(record),
        relay_cpus=cpu_list(record.relay_cpus),
        load_cpus=cpu_list(record.load_cpus),
    )
