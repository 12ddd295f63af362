"""What a message costs on one host and on three: a run, and the medians of them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.bench.hosts.plan import Side
from tests.bench.hosts.relays import ENGINE, CpuByRole, Loaded
from tests.bench.peers.clients import Client, RelayClient
from tests.bench.peers.drive import Load, Result, drive, percentile
from tests.bench.peers.wires import TEXT, WebSocketWire

# Behind those of the chats.
_FIRST_NUMBER: Final = 919_000_000_000


class Run(NamedTuple):
    """One load on one side in one round."""

    side: Side
    load: Load
    round: int
    result: Result
    cpu_s: CpuByRole  # while it was measured
    records: int | None  # of all logs meanwhile
    others_cpu_s: float  # of everything else on the machine

    def cpu_us(self, *roles: str) -> float:
        """Return the CPU microseconds a message of these roles; of none: of all but the engines."""
        used_s = sum(
            seconds
            for role, seconds in self.cpu_s.items()
            if (role in roles if roles else role != ENGINE)
        )
        return used_s * 1e6 / self.result.messages

    @property
    def messages_a_record(self) -> float:
        """How many messages share a commit; each has three: it, its ack and its receipt's."""
        return self.result.messages / self.records if self.records else float("nan")


class _Looks:
    """Looks at a relay when the measuring begins and ends."""

    def __init__(self, loaded: Loaded, machine_s: Callable[[], float]) -> None:
        self._loaded = loaded
        self._machine_s = machine_s
        self.cpu: list[CpuByRole] = []
        self.records: list[int | None] = []
        self.machine: list[float] = []

    def __call__(self) -> float:
        """Note what there is; return the CPU seconds of all that is the relay's own."""
        self.machine.append(self._machine_s())
        self.cpu.append(self._loaded.cpu_s())
        self.records.append(self._loaded.records())
        return sum(seconds for role, seconds in self.cpu[-1].items() if role != ENGINE)


def measure(
    side: Side,
    loaded: Loaded,
    load: Load,
    *,
    number: int,
    pairs: int,
    warm_up_s: float,
    seconds: float,
    machine_s: Callable[[], float],
) -> Run:
    """Put a load on a relay. `machine_s` tells the CPU seconds that everything has used.

    Raises:
        DriveFailed, WireBroken, Refused, OSError: as `drive` does.
    """
    looks = _Looks(loaded, machine_s)
    result = drive(
        _client,
        loaded.addresses,
        looks,
        pairs=pairs,
        load=load,
        warm_up_s=warm_up_s,
        seconds=seconds,
    )
    used = Counter(looks.cpu[1])
    used.subtract(looks.cpu[0])
    first, last = looks.records
    others_s = looks.machine[1] - looks.machine[0] - sum(used.values()) - result.load_cpu_s
    return Run(
        side,
        load,
        number,
        result,
        dict(used),
        None if first is None or last is None else last - first,
        max(0.0, others_s),
    )


class Price(NamedTuple):
    """A side under a load: medians of its runs."""

    side: Side
    load: Load
    rates: tuple[float, ...]  # messages a second, of every run
    rate: float
    cpu_us: float  # of the relay's own processes
    against_one: float  # that, against one host's
    engine_us: float
    by_role: dict[str, float]
    ack_p50_ms: float
    ack_p99_ms: float
    messages_a_record: float
    records_a_second: float
    others_cores: float


def prices(runs: Sequence[Run], load: Load) -> list[Price]:
    """Return the prices of one load, one host's first."""
    of_load = [run for run in runs if run.load == load]
    found: list[Price] = []
    for side in dict.fromkeys(sorted(run.side for run in of_load)):
        mine = [run for run in of_load if run.side == side]
        roles = sorted({role for run in mine for role in run.cpu_s})
        cpu_us = _median(mine, Run.cpu_us)
        one = next((each.cpu_us for each in found if each.side.hosts == 1), float("nan"))
        found.append(
            Price(
                side=side,
                load=load,
                rates=tuple(run.result.rate for run in mine),
                rate=_median(mine, lambda run: run.result.rate),
                cpu_us=cpu_us,
                against_one=1.0 if side.hosts == 1 else cpu_us / one,
                engine_us=_median(mine, lambda run: run.cpu_us(ENGINE)),
                by_role={
                    role: _median(mine, lambda run, role=role: run.cpu_us(role))  # type: ignore[misc]
                    for role in roles
                },
                ack_p50_ms=_median(mine, lambda run: percentile(run.result.acks_ms, 0.5)),
                ack_p99_ms=_median(mine, lambda run: percentile(run.result.acks_ms, 0.99)),
                messages_a_record=_median(mine, lambda run: run.messages_a_record),
                records_a_second=_median(mine, lambda run: (run.records or 0) / run.result.seconds),
                others_cores=_median(mine, lambda run: run.others_cpu_s / run.result.seconds),
            )
        )
    return found


def _median(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return statistics.median(map(value, runs))


def _client(name: str, other: str) -> Client:
    return RelayClient(_number(name), _number(other), WebSocketWire("/", kind=TEXT))


def _number(name: str) -> str:
    """Return the phone number that stands for u0, u1 ..."""
    return str(_FIRST_NUMBER + int(name[1:]))
