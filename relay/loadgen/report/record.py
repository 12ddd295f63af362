"""The record of a run: what `--json` writes, and what tables, page and comparison are made of."""

from pathlib import Path
from typing import Final, Literal

import msgspec

from relay.errors import SettingsError
from relay.loadgen.report.histogram import Quantiles, Summary
from relay.loadgen.traffic.plan import Plan
from relay.loadgen.verify.faults import Faults
from relay.loadgen.verify.tally import Counts

RELAY: Final = "relay"
REFERENCE: Final = "reference"
OWN: Final = "generator"  # the role of our own processes
FORMAT: Final = 1


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Machine and versions."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    relay: str
    commit: str  # of the relay's working tree, "+" where it was changed; empty where unknown
    libraries: dict[str, str]


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
    interrupted: str = ""  # the phase in which the operator ended it; later ones are missing
    way: str = ""  # in which clients come: ws or wss, and what they show
    unjudged: int = 0  # messages that were under way then: neither complete nor a fault


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
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
    interrupted: bool = False  # by the operator: there may be fewer rounds than were asked for

    def of(self, server: str) -> list[Outcome]:
        """Return the outcomes of one server, a round each."""
        return [outcome for outcome in self.outcomes if outcome.server == server]

    @property
    def main(self) -> list[Outcome]:
        """The relay's outcomes, or the reference's where an interrupt left only those."""
        return self.of(RELAY) or self.outcomes

    @property
    def way(self) -> str:
        """In which clients came to the main server: `ws`, or `wss, ...` and what they showed."""
        return next((outcome.way for outcome in self.main if outcome.way), "ws")

    @property
    def is_good(self) -> bool:
        """Whether every check held, and every phase came to its end."""
        return not any(outcome.faults or outcome.given_up for outcome in self.outcomes)


def write_record(record: RunRecord, path: Path) -> None:
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


def read_record(path: Path) -> RunRecord:
    """Read what `write_record` wrote.

    Raises:
        SettingsError: no such file, or no record of this format.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except OSError as error:
        raise SettingsError(f"{path}: cannot read it: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise SettingsError(f"{path}: no record of a run: {error}") from error
