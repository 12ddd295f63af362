"""What a run is: the scenario with its numbers, its phases, and who does how much of it."""

from typing import Final, Literal

import msgspec

Arrivals = Literal["even", "poisson"]


class Chat(msgspec.Struct, frozen=True, kw_only=True, tag="chat"):
    """Pairs: one writes, one acks. `rate` 0 is the closed loop: `window` messages under way."""

    pairs: int = 100
    window: int = 8
    rate: float = 0.0
    arrivals: Arrivals = "even"


class Group(msgspec.Struct, frozen=True, kw_only=True, tag="group"):
    """Groups of `members`, of which `senders` write; `window` is each sender's."""

    groups: int = 1
    members: int = 16
    senders: int = 1
    window: int = 1
    rate: float = 0.0
    arrivals: Arrivals = "even"


class Offline(msgspec.Struct, frozen=True, kw_only=True, tag="offline"):
    """`users` are away while `messages` are sent to them; then all log in and drain."""

    users: int = 100
    messages: int = 10_000
    window: int = 32


class Storm(msgspec.Struct, frozen=True, kw_only=True, tag="storm"):
    """Logins: `at_once` under way at any time, or begun at `rate` a second.

    Meanwhile `pairs` who are in already chat, each with `pair_rate` messages a second: their
    latency is what the storm costs others.
    """

    logins: int = 1_000
    at_once: int = 64
    rate: float = 0.0
    pairs: int = 1
    pair_rate: float = 50.0


class Idle(msgspec.Struct, frozen=True, kw_only=True, tag="idle"):
    """Sockets that are logged in and silent."""

    sockets: int = 1_000


class Mixed(msgspec.Struct, frozen=True, kw_only=True, tag="mixed"):
    """A day in the life: users come and go, some without goodbye; chats, groups, reads.

    A user stays `online_s` and is away `away_s` on average.
    """

    users: int = 200
    rate: float = 200.0
    online_s: float = 8.0
    away_s: float = 4.0


Scenario = Chat | Group | Offline | Storm | Idle | Mixed


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All parameters of one run against one server."""

    scenario: Scenario
    seed: int = 1
    procs: int = 1
    size: int = 100  # characters of a message's text
    warm_up_s: float = 2.0
    measure_s: float = 10.0
    patience_s: float = 15.0  # without any progress, a phase that waits for something gives up


class Phase(msgspec.Struct, frozen=True):
    """A stretch of a run. `seconds` None: until every process says that its part is done."""

    name: str
    seconds: float | None = None
    measured: bool = False  # its messages' and logins' latencies count


LOGIN: Final = "login"
WARM_UP: Final = "warm-up"
MEASURE: Final = "measured"
SETTLE: Final = "cool-down"
FILL: Final = "fill"
DRAIN: Final = "drain"
STORM: Final = "storm"
HOLD: Final = "hold"

# Of a community in `Mixed`: a group for so many users, with so many members.
MIXED_USERS_A_GROUP: Final = 10
MIXED_GROUP_MEMBERS: Final = 8


def phases_of(plan: Plan) -> tuple[Phase, ...]:
    """Return the phases of a run, in order."""
    match plan.scenario:
        case Chat() | Group() | Mixed():
            return (
                Phase(LOGIN),
                Phase(WARM_UP, plan.warm_up_s),
                Phase(MEASURE, plan.measure_s, measured=True),
                Phase(SETTLE),
            )
        case Offline():
            return Phase(LOGIN), Phase(FILL, measured=True), Phase(DRAIN, measured=True)
        case Storm(pairs=0):
            return (Phase(STORM, measured=True),)
        case Storm():
            return Phase(LOGIN), Phase(STORM, measured=True), Phase(SETTLE)
        case Idle():
            return Phase(LOGIN, measured=True), Phase(HOLD, plan.measure_s, measured=True)


def sessions_of(scenario: Scenario) -> int:
    """Return how many connections a run has open at most."""
    match scenario:
        case Chat():
            return 2 * scenario.pairs
        case Group():
            return scenario.groups * scenario.members
        case Offline():
            return 2 * scenario.users
        case Storm():
            return scenario.logins + 2 * scenario.pairs
        case Idle():
            return scenario.sockets
        case Mixed():
            return scenario.users


def units_of(scenario: Scenario) -> int:
    """Return how many parts that never talk to each other a run has, to divide among processes."""
    match scenario:
        case Chat():
            return scenario.pairs
        case Group():
            return scenario.groups
        case Offline():
            return scenario.users
        case Storm():
            return scenario.logins + scenario.pairs
        case Idle():
            return scenario.sockets
        case Mixed():
            return scenario.users // MIXED_GROUP_MEMBERS


def share_of(total: int, index: int, procs: int) -> range:
    """Return which of `total` units the process `index` of `procs` takes; sizes differ by one."""
    return range(total * index // procs, total * (index + 1) // procs)


def parts_of(plan: Plan) -> list[range]:
    """Return the units of each process.

    The pairs beside a storm, its last units, have one more to themselves: where others log in they
    would wait for those, and their latency would be the generator's.
    """
    scenario, total = plan.scenario, units_of(plan.scenario)
    last = []
    if isinstance(scenario, Storm) and scenario.pairs:
        last = [range(scenario.logins, total)]
        total = scenario.logins
    return [*(share_of(total, index, plan.procs) for index in range(plan.procs)), *last]


def is_open_loop(scenario: Scenario) -> bool:
    """Whether messages have intended times, so that latency counts from those."""
    return rate_of(scenario) > 0


def rate_of(scenario: Scenario) -> float:
    """Return the messages a second that an open loop offers; 0 for anything else."""
    return scenario.rate if isinstance(scenario, Chat | Group | Mixed) else 0.0


def describe(plan: Plan) -> list[tuple[str, str]]:
    """Return every parameter that has a meaning for this run, by name, for a banner."""
    scenario = plan.scenario
    told = {"scenario": str(scenario.__struct_config__.tag)}
    for name, value in msgspec.structs.asdict(scenario).items():
        told[name] = f"{value:g}" if isinstance(value, float) else str(value)
    if not isinstance(scenario, Storm | Idle | Offline):
        told["loop"] = "open" if is_open_loop(scenario) else "closed"
        # The other loop's numbers mean nothing here.
        for name in ("window",) if is_open_loop(scenario) else ("rate", "arrivals"):
            told.pop(name, None)
    elif told.get("rate") == "0":
        told["rate"] = "as fast as accepted"
    else:
        told.pop("at_once", None)
    if told.get("pairs") == "0":
        told.pop("pair_rate", None)
    told["sessions"] = str(sessions_of(scenario))
    if not isinstance(scenario, Storm | Idle):
        told["size"] = f"{plan.size}B"
    timed = {phase.name: phase.seconds for phase in phases_of(plan) if phase.seconds is not None}
    told |= {name: f"{seconds:g}s" for name, seconds in timed.items()}
    told |= {"patience": f"{plan.patience_s:g}s", "procs": str(plan.procs), "seed": str(plan.seed)}
    return list(told.items())
