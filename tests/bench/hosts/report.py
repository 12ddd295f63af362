"""What was found, as tables and as JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.bench.hosts.ordeals import LOST, Away, Loss, Move
from tests.bench.hosts.plan import Side
from tests.bench.hosts.prices import Price, Run
from tests.bench.peers.drive import Load, percentile
from tests.bench.tables import number, table

PRICE_HEAD: Final = (
    "hosts",
    "messages/s",
    "all rounds",
    "CPU a message, µs",
    "against one",
    "engines, µs",
    "ack 1 p50 / p99, ms",
    "records/s",
    "messages a record",
)
LOSS_HEAD: Final = (
    "lost with the host",
    "users",
    "half served, s",
    "all but one in ten, s",
    "worst, s",
)
MOVE_HEAD: Final = ("range", "from", "to", "no ack for, ms", "in calm, ms", "new owner known, ms")
AWAY_HEAD: Final = (
    "host",
    "away, s",
    "records",
    "MB",
    "ready, s",
    "engine, s",
    "standbys, s",
    "at it, s",
    "records/s",
    "MB/s",
    "whole, s",
)
_PRICE_NOTES: Final = """\
CPU: of all the relay's processes, for a message whose author knows it to have arrived; the engines'
apart. Medians of the rounds. All hosts and the load share this machine: compare the price first.
"""
_LOSS_NOTES: Final = """\
From SIGKILL of all processes of a host until a user's next ack 1; each had something under way. Who
was on that host connects to another one at once, since here a killed host refuses connections.
"""
_AWAY_NOTES: Final = """\
From the start of the host: until it is ready, its engine has all, its standbys have what was there
when it started, and ranges and leaders are spread again. At it: since its first standby was heard.
"""


def shown(
    prices: Sequence[tuple[Load, Sequence[Price]]],
    idle: Mapping[Side, Mapping[str, float]],
    losses: Sequence[Loss],
    moves: Sequence[Move],
    aways: Sequence[Away],
) -> str:
    """Return a table for each part that was measured."""
    parts = []
    for load, of_load in prices:
        if of_load:
            rows = [_price_cells(price) for price in of_load]
            parts.append(f"{load.name}\n\n{table(PRICE_HEAD, rows)}")
            parts.append(_by_role(of_load))
    if any(of_load for _, of_load in prices):
        parts.append(_PRICE_NOTES + _idle(idle) + _busy(prices))
    if losses:
        names = ", ".join(loss.host for loss in losses)
        parts.append(f"Loss of a host: {names}\n\n{table(LOSS_HEAD, _loss_rows(losses))}")
        parts.append(_LOSS_NOTES + _wholes(losses))
    if moves:
        rows = [
            [
                str(move.range_),
                move.owner,
                move.to,
                *(f"{1e3 * each:,.0f}" for each in (move.stood_s, move.before_s, move.took_s)),
            ]
            for move in moves
        ]
        parts.append(f"Planned moves of a range under load\n\n{table(MOVE_HEAD, rows, texts=3)}")
    if aways:
        rows = [_away_cells(each) for each in aways]
        parts.append(f"A host that was away\n\n{table(AWAY_HEAD, rows)}\n{_AWAY_NOTES}")
    return "\n".join(parts)


def faults(runs: Sequence[Run], losses: Sequence[Loss]) -> list[str]:
    """Return what was not as it should be."""
    found = []
    for run in runs:
        where = f"{run.side.name}, {run.load.name}, round {run.round}"
        if run.result.unfinished:
            found.append(f"{where}: {run.result.unfinished} messages did not become complete")
        if run.result.repeated:
            found.append(f"{where}: {run.result.repeated} deliveries were repeated")
    for loss in losses:
        if without := sum(pause.seconds is None for pause in loss.pauses):
            found.append(f"loss of {loss.host}: {without} users got no ack any more")
        if loss.whole_s is None:
            found.append(f"loss of {loss.host}: it came back, and not all was made good in time")
    return found


def as_json(
    runs: Sequence[Run],
    prices: Sequence[tuple[Load, Sequence[Price]]],
    idle: Mapping[Side, Mapping[str, float]],
    losses: Sequence[Loss],
    moves: Sequence[Move],
    aways: Sequence[Away],
) -> dict[str, Any]:
    """Return everything measured."""
    found = {
        "runs": [
            {
                "side": run.side._asdict(),
                "load": run.load._asdict(),
                "round": run.round,
                "messages": run.result.messages,
                "seconds": run.result.seconds,
                "cpu_us": run.cpu_us(),
                "cpu_us_by_role": {role: run.cpu_us(role) for role in run.cpu_s},
                "records": run.records,
                "ack_ms": {
                    f"p{100 * share:g}": percentile(run.result.acks_ms, share)
                    for share in (0.5, 0.9, 0.99)
                },
                "load_cores": run.result.load_cpu_s / run.result.seconds,
                "others_cores": run.others_cpu_s / run.result.seconds,
                "unfinished": run.result.unfinished,
                "repeated": run.result.repeated,
            }
            for run in runs
        ],
        "prices": [
            {**price._asdict(), "side": price.side._asdict(), "load": price.load._asdict()}
            for _, of_load in prices
            for price in of_load
        ],
        "idle_cores": [{**side._asdict(), "by_role": dict(cores)} for side, cores in idle.items()],
        "losses": [
            {**loss._asdict(), "pauses": [pause._asdict() for pause in loss.pauses]}
            for loss in losses
        ],
        "moves": [move._asdict() for move in moves],
        "aways": [
            {
                **each._asdict(),
                "records_a_second": each.records_a_second,
                "mb_a_second": each.mb_a_second,
            }
            for each in aways
        ],
    }
    without_nan: dict[str, Any] = _without_nan(found)
    return without_nan


def _without_nan(found: Any) -> Any:
    """Return the same with null for what is no number, which JSON does not have."""
    if isinstance(found, dict):
        return {key: _without_nan(each) for key, each in found.items()}
    if isinstance(found, list | tuple):
        return [_without_nan(each) for each in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def _price_cells(price: Price) -> list[str]:
    return [
        price.side.name,
        f"{price.rate:,.0f}",
        " ".join(f"{rate:,.0f}" for rate in price.rates),
        number(price.cpu_us),
        f"{price.against_one:.2f}",
        number(price.engine_us),
        f"{number(price.ack_p50_ms)} / {number(price.ack_p99_ms)}",
        number(price.records_a_second) if price.side.hosts > 1 else "-",
        number(price.messages_a_record),
    ]


def _by_role(prices: Sequence[Price]) -> str:
    """Return where the CPU of a message goes, a line a side and a column a role."""
    roles = sorted({role for price in prices for role in price.by_role})
    head = ("CPU a message by role, µs", *roles)
    rows = [
        [price.side.name, *(number(price.by_role.get(role, math.nan)) for role in roles)]
        for price in prices
    ]
    return table(head, rows)


def _idle(idle: Mapping[Side, Mapping[str, float]]) -> str:
    lines = ""
    for side, cores in idle.items():
        told = ", ".join(f"{role} {used:.3f}" for role, used in sorted(cores.items()))
        lines += f"Idle, {side.name} use {sum(cores.values()):.2f} cores: {told}.\n"
    return lines


def _busy(prices: Sequence[tuple[Load, Sequence[Price]]]) -> str:
    most = max(price.others_cores for _, of_load in prices for price in of_load)
    return f"Others used up to {most:.2f} cores meanwhile.\n"


def _loss_rows(losses: Sequence[Loss]) -> list[list[str]]:
    pauses = [pause for loss in losses for pause in loss.pauses]
    rows = []
    for what in ("all", *LOST):
        mine = sorted(
            math.inf if pause.seconds is None else pause.seconds
            for pause in pauses
            if what in ("all", pause.lost)
        )
        if mine:
            marks = statistics.median_low(mine), percentile(mine, 0.9), mine[-1]
            rows.append([what, str(len(mine)), *map(number, marks)])
    return rows


def _wholes(losses: Sequence[Loss]) -> str:
    told = [f"{loss.host} {number(loss.whole_s or math.nan)}" for loss in losses]
    refused = sum(loss.refused for loss in losses)
    return (
        f"All whole again after its start, s: {', '.join(told)}."
        f" Errors that users were answered: {refused}.\n"
    )


def _away_cells(each: Away) -> list[str]:
    return [
        each.host,
        number(each.away_s),
        f"{each.records:,}",
        number(each.bytes / 1e6),
        number(each.ready_s),
        number(each.engine_s),
        number(each.caught_up_s),
        number(each.working_s),
        number(each.records_a_second),
        number(each.mb_a_second),
        number(math.nan if each.whole_s is None else each.whole_s),
    ]
