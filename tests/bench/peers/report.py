"""What the comparison found: every run, and a table of medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from tests.bench.peers.drive import Load, Result, percentile
from tests.bench.tables import number, table


class Run(NamedTuple):
    """One load on one server in one round."""

    server: str  # its name on the command line
    title: str
    durable: str
    load: Load
    round: int
    result: Result


HEAD: Final = (
    "server",
    "CPU a message, µs",
    "all rounds",
    "messages/s",
    "ack p50 / p99, ms",
    "receipt p50 / p99, ms",
    "what it acks is durable",
)
_NOTES: Final = """\
CPU: of all the server's processes, for a message that its author knows to have arrived; medians.
ack: until the author has the server's; receipt: until it knows that the other has the message.
A server that costs less than the load does is not busy: compare its price, not its messages/s.
"""


def shown(runs: Sequence[Run], skipped: Sequence[tuple[str, str]]) -> str:
    """Return a table a load, the notes, and what is missing and why."""
    parts = []
    for load in dict.fromkeys(run.load for run in runs):
        of_load = [run for run in runs if run.load == load]
        names = dict.fromkeys(run.server for run in of_load)
        rows = [_cells([run for run in of_load if run.server == name]) for name in names]
        parts.append(f"{load.name}\n\n{table(HEAD, rows)}")
    if runs:
        parts.append(_NOTES)
    parts += [f"skipped {name}: {reason}\n" for name, reason in skipped]
    return "\n".join(parts)


def faults(runs: Sequence[Run]) -> list[str]:
    """Return what was not as it should be: messages that did not come, or came twice."""
    found = []
    for run in runs:
        where = f"{run.server}, {run.load.name}, round {run.round}"
        if run.result.unfinished:
            found.append(f"{where}: {run.result.unfinished} messages did not become complete")
        if run.result.repeated:
            found.append(f"{where}: {run.result.repeated} deliveries were repeated")
    return found


def as_json(runs: Sequence[Run], skipped: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return everything measured; latencies as percentiles."""
    return {
        "runs": [
            {
                "server": run.server,
                "title": run.title,
                "durable": run.durable,
                "load": run.load._asdict(),
                "round": run.round,
                "messages": run.result.messages,
                "seconds": run.result.seconds,
                "server_cpu_us": run.result.cpu_us,
                "server_cores": run.result.server_cpu_s / run.result.seconds,
                "load_cores": run.result.load_cpu_s / run.result.seconds,
                "ack_ms": _percentiles(run.result.acks_ms),
                "receipt_ms": _percentiles(run.result.told_ms),
                "unfinished": run.result.unfinished,
                "repeated": run.result.repeated,
            }
            for run in runs
        ],
        "skipped": dict(skipped),
    }


def _cells(runs: Sequence[Run]) -> list[str]:
    def median(value: Callable[[Result], float]) -> float:
        return statistics.median(value(run.result) for run in runs)

    def both(values: Callable[[Result], list[float]]) -> str:
        p50 = median(lambda result: percentile(values(result), 0.5))
        p99 = median(lambda result: percentile(values(result), 0.99))
        return f"{number(p50)} / {number(p99)}"

    return [
        runs[0].title,
        number(median(lambda result: result.cpu_us)),
        " ".join(number(run.result.cpu_us) for run in runs),
        f"{median(lambda result: result.rate):,.0f}",
        both(lambda result: result.acks_ms),
        both(lambda result: result.told_ms),
        runs[0].durable,
    ]


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {}
    return {f"p{share * 100:g}": percentile(values, share) for share in (0.5, 0.9, 0.99)}
