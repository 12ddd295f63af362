"""What the conductor and its members say to each other: one JSON object a line, over pipes."""

import msgspec

from relay.loadgen.faults import Faults
from relay.loadgen.plan import Plan
from relay.loadgen.tally import Counts


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The first line that a member reads: its part of a run."""

    plan: Plan
    url: str
    index: int
    run: str  # six hexadecimal digits, never used before against this relay
    cpus: tuple[int, ...] = ()
    ca_file: str = ""
    tokens: dict[str, str] = {}


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Enter the phase with this number."""

    phase: int


class Finish(msgspec.Struct, frozen=True, tag=True):
    """Judge, report and end."""


Order = Begin | Finish


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What happened in the last interval, or what was left of it when the phase ended."""

    phase: int
    seconds: float  # how long the interval was
    counts: Counts
    latencies: dict[str, str]  # encoded histograms
    online: int
    unfinished: int
    faults: int  # so far
    trouble: str  # the latest reason for which a connection failed, or empty


class Done(msgspec.Struct, frozen=True, tag=True):
    """This member's part of a phase is over; of phase -1, when it is ready for orders."""

    phase: int


class Verdict(msgspec.Struct, frozen=True, tag=True):
    """Everything that was wrong; the last line."""

    faults: Faults


Report = Progress | Done | Verdict

read_order = msgspec.json.Decoder(Order).decode
read_report = msgspec.json.Decoder(Report).decode
read_assignment = msgspec.json.Decoder(Assignment).decode
_encode = msgspec.json.Encoder().encode


def line(message: Order | Report | Assignment) -> bytes:
    """Return a message as it goes over the pipe."""
    return _encode(message) + b"\n"
