"""What the conductor and its players say to each other: one JSON object a line, over pipes."""

import msgspec

from relay.loadgen.traffic.plan import Plan
from relay.loadgen.verify.faults import Faults
from relay.loadgen.verify.tally import Counts
from relay.trust import Trust


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The first line that a player reads: its part of a run."""

    plan: Plan
    url: str
    index: int
    run: str  # six hexadecimal digits, never used before against this relay
    cpus: tuple[int, ...] = ()
    trust: Trust = Trust()
    tokens: dict[str, str] = {}
    token_key: bytes = b""  # signs tokens for whoever has none


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Enter the phase with this number."""

    phase: int


class Finish(msgspec.Struct, frozen=True, tag=True):
    """Judge, report and end. Of a run that was cut short, what is under way is no fault."""

    is_cut_short: bool = False


Order = Begin | Finish


class IntervalReport(msgspec.Struct, frozen=True, kw_only=True, tag=True):
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
    """This player's part of a phase is over; of phase -1, when it is ready for orders."""

    phase: int


class Unexpected(msgspec.Struct, frozen=True, tag=True):
    """The first frame or close that came instead of a login, once, as a line for a person."""

    what: str


class Verdict(msgspec.Struct, frozen=True, tag=True):
    """Everything that was wrong; the last line."""

    faults: Faults


PlayerReport = IntervalReport | Done | Unexpected | Verdict

read_order = msgspec.json.Decoder(Order).decode
read_report = msgspec.json.Decoder(PlayerReport).decode
read_assignment = msgspec.json.Decoder(Assignment).decode
_encode = msgspec.json.Encoder().encode


def line(message: Order | PlayerReport | Assignment) -> bytes:
    """Return a message as it goes over the pipe."""
    return _encode(message) + b"\n"
