"""What a record of the load generator says, whatever version wrote it.

The generator's own reader wants its own version's records. Here a tree may be years old, so this
reads the few fields that have never changed, and what it computes of them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import msgspec

OURS: Final = "generator"  # the role of the load's own processes
KIB: Final = 1024.0


class Load(msgspec.Struct, frozen=True):
    """What one process did in a phase."""

    role: str
    cpu_s: float
    waits: int = 0


class Phase(msgspec.Struct, frozen=True):
    """A phase of a run."""

    name: str
    seconds: float
    counts: dict[str, int]
    loads: list[Load]
    others_cpu_s: float = 0.0  # of everything else on the machine

    def cpu_us(self, unit: str) -> float:
        """Return the server's CPU microseconds for each of the count `unit`; NaN for none."""
        used_s = sum(load.cpu_s for load in self.loads if load.role != OURS)
        return _each(used_s * 1e6, self.counts.get(unit, 0))

    def waits(self, unit: str) -> float:
        """Return how often the server's processes went to sleep for each of the count `unit`."""
        waits = sum(load.waits for load in self.loads if load.role != OURS)
        return _each(waits, self.counts.get(unit, 0))

    def rate(self, unit: str) -> float:
        """Return how many of the count `unit` a second there were."""
        return _each(self.counts.get(unit, 0), self.seconds)

    def cores_of_server(self) -> float:
        """Return how many cores' worth the server's processes used."""
        used_s = sum(load.cpu_s for load in self.loads if load.role != OURS)
        return _each(used_s, self.seconds)

    def busiest_of_load(self) -> float:
        """Return how busy the busiest of the load's own processes was, from 0 to 1."""
        used_s = max((load.cpu_s for load in self.loads if load.role == OURS), default=0.0)
        return _each(used_s, self.seconds)

    def cores_of_others(self) -> float:
        """Return how many cores' worth everything else on the machine used."""
        return _each(self.others_cpu_s, self.seconds)


class Latency(msgspec.Struct, frozen=True):
    """Percentiles in milliseconds."""

    p50: float
    p99: float


class Fault(msgspec.Struct, frozen=True):
    """One kind of what went wrong."""

    count: int


class Faults(msgspec.Struct, frozen=True):
    """All that went wrong."""

    kinds: dict[str, Fault] = {}


class Outcome(msgspec.Struct, frozen=True):
    """One run against one server."""

    server: str
    sessions: int
    phases: list[Phase]
    latencies: dict[str, Latency] = {}
    pss_before: dict[str, int] = {}
    pss_logged_in: dict[str, int] = {}
    faults: Faults = Faults()
    given_up: list[str] = []

    def phase(self, name: str) -> Phase:
        """Return a phase; one that never came has no seconds and no counts."""
        return next((p for p in self.phases if p.name == name), Phase(name, 0.0, {}, []))

    def latency_ms(self, name: str, percentile: str) -> float:
        """Return a percentile in milliseconds, or NaN where nothing was timed."""
        found = self.latencies.get(name)
        return float(getattr(found, percentile)) if found is not None else math.nan

    def pss_kib(self, role: str) -> float:
        """Return the KiB that each connection added to the memory of a role's processes."""
        before, after = self.pss_before.get(role), self.pss_logged_in.get(role)
        if before is None or after is None:
            return math.nan
        return _each((after - before) / KIB, self.sessions)

    @property
    def wrongs(self) -> str:
        """What went wrong, in a few words; empty where every check held."""
        counts = [f"{fault.count} {kind}" for kind, fault in self.faults.kinds.items()]
        return ", ".join([*counts, *self.given_up])


class Record(msgspec.Struct, frozen=True):
    """All runs of one call of the generator."""

    outcomes: list[Outcome]


class Unreadable(Exception):
    """The file is no record of a run against a relay."""


def read_outcome(path: Path) -> Outcome:
    """Return the relay's run of a record with one round.

    Raises:
        Unreadable: there is no such file, or no such run in it.
    """
    try:
        record = msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError) as error:
        raise Unreadable(f"{path.name}: {error}") from error
    for outcome in record.outcomes:
        if outcome.server == "relay":
            return outcome
    raise Unreadable(f"{path.name}: no run against a relay")


def _each(total: float, count: float) -> float:
    return total / count if count else math.nan
