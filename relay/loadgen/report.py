"""The record of a run: what `--json` writes, and what tables, page and comparison are made of."""

from pathlib import Path
from typing import Final, Literal

import msgspec

from relay.errors import SettingsError
from relay.loadgen.faults import Faults
from relay.loadgen.histogram import Quantiles, Summary
from relay.loadgen.machine import Machine
from relay.loadgen.plan import Plan
from relay.loadgen.processes import Usage
from relay.loadgen.tally import Counts

RELAY: Final = "relay"
REFERENCE: Final = "reference"
FORMAT: Final = 1


class Load(msgspec.Struct, frozen=True):
    """What one process did in a stretch of time."""

    role: str
    name: str
    cpu_s: float
    waits: int
    preempted: int
    private_bytes: int  # at its end


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """About a second of a run. A phase's last interval is as long as was left."""

    phase: str
    ends_s: float  # since the run began
    seconds: float
    counts: Counts
    latencies: dict[str, Quantiles]
    loads: list[Load]
    online: int
    faults: int  # so far


class PhaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A phase as it went."""

    name: str
    seconds: float
    counts: Counts
    loads: list[Load]
    others_cpu_s: float = 0.0  # of everything else on this machine


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run against one server."""

    server: Literal["relay", "reference"]
    url: str
    sessions: int
    phases: list[PhaseRecord]
    timeline: list[Interval]
    latencies: dict[str, Summary]
    histograms: dict[str, str]  # HdrHistogram's interchange format V2, microseconds
    curves: dict[str, list[tuple[float, float]]]  # percentile, milliseconds
    # By role: PSS before the first login, and with all logged in. Empty where it is not known.
    pss_before: dict[str, int]
    pss_logged_in: dict[str, int]
    faults: Faults
    given_up: list[str]  # phases that did not come to their end


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one call of the generator."""

    format: int = FORMAT
    started: str  # ISO 8601, UTC
    command: list[str]
    plan: Plan
    machine: Machine
    spawn: str | None
    relay_cpus: tuple[int, ...]
    load_cpus: tuple[int, ...]
    outcomes: list[Outcome]

    def of(self, server: str) -> list[Outcome]:
        """Return the outcomes of one server, a round each."""
        return [outcome for outcome in self.outcomes if outcome.server == server]

    @property
    def is_good(self) -> bool:
        """Whether every check held, and every phase came to its end."""
        return not any(outcome.faults or outcome.given_up for outcome in self.outcomes)


def loads_between(before: dict[int, Usage], after: dict[int, Usage]) -> list[Load]:
    """Return what each process did between two looks at them; one that started since did all."""
    loads = []
    for pid, now in after.items():
        then = before.get(pid)
        loads.append(
            Load(
                role=now.role,
                name=now.name,
                cpu_s=now.cpu_s - (then.cpu_s if then else 0.0),
                waits=now.waits - (then.waits if then else 0),
                preempted=now.preempted - (then.preempted if then else 0),
                private_bytes=now.private_bytes,
            )
        )
    return loads


def pss_by_role(usages: dict[int, Usage]) -> dict[str, int]:
    """Return the PSS of each role's processes together, of a look that asked for it."""
    total: dict[str, int] = {}
    for usage in usages.values():
        total[usage.role] = total.get(usage.role, 0) + usage.pss_bytes
    return total


def write_record(record: Record, path: Path) -> None:
    """Write the record as JSON.

    Raises:
        SettingsError: the file cannot be written.
    """
    write_file(path, msgspec.json.format(msgspec.json.encode(record), indent=1))


def write_file(path: Path, content: bytes) -> None:
    """Write a file that was asked for.

    Raises:
        SettingsError: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise SettingsError(f"{path}: cannot write it: {error.strerror}") from error


def read_record(path: Path) -> Record:
    """Read what `write_record` wrote.

    Raises:
        SettingsError: no such file, or no record of this format.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except OSError as error:
        raise SettingsError(f"{path}: cannot read it: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise SettingsError(f"{path}: no record of a run: {error}") from error
