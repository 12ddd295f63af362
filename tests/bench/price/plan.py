"""Which loads the guard compares, what it reads of each, and in which order it runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from tests.bench.records import Outcome

Better = Literal["lower", "higher"]

_ACK: Final = "send → ack 1"
# The relay has one core and the load another, so that neither takes time from the other.
RELAY_CPU: Final = 0
LOAD_CPU: Final = 1


class Figure(NamedTuple):
    """A number of a run."""

    name: str
    unit: str
    read: Callable[[Outcome], float]
    better: Better = "lower"
    is_cost: bool = True  # what a relay used, else how long something took or how fast it went


class Row(NamedTuple):
    """A load. `load` is what the generator is asked for; where `is_timed`, for how long as well."""

    name: str
    load: tuple[str, ...]
    phase: str  # in which others on the machine would disturb
    figures: tuple[Figure, ...]
    processes: int = 1  # workers, and as many fronts
    is_pinned: bool = True
    is_timed: bool = True
    is_usual: bool = True  # measured where no rows are asked for
    note: str = ""


class Turn(NamedTuple):
    """One run of a pair; `side` 0 is A."""

    round: int
    row: Row
    side: int


def _cpu(phase: str, unit: str, per: str) -> Figure:
    return Figure(f"CPU a {per}", "µs", lambda outcome: outcome.phase(phase).cpu_us(unit))


def _waits(phase: str, unit: str, per: str) -> Figure:
    return Figure(f"waits a {per}", "", lambda outcome: outcome.phase(phase).waits(unit))


def _rate(phase: str, unit: str, name: str) -> Figure:
    return Figure(name, "1/s", lambda outcome: outcome.phase(phase).rate(unit), "higher", False)


def _latency(what: str, percentile: str, name: str) -> Figure:
    return Figure(
        f"{name} {percentile}",
        "ms",
        lambda outcome: outcome.latency_ms(what, percentile),
        is_cost=False,
    )


def _pss(role: str) -> Figure:
    return Figure(f"{role}, a socket", "KiB", lambda outcome: outcome.pss_kib(role))


_MEASURED: Final = "measured"
_CHAT: Final = (
    _cpu(_MEASURED, "completed", "message"),
    _latency(_ACK, "p50", "ack 1"),
    _latency(_ACK, "p99", "ack 1"),
)
_OPEN: Final = (*_CHAT, _waits(_MEASURED, "completed", "message"))

ROWS: Final = (
    Row("window-8", ("chat", "--window", "8"), _MEASURED, _CHAT, note="the core is busy"),
    Row("window-1", ("chat", "--window", "1"), _MEASURED, _CHAT, note="each waits for its receipt"),
    Row("rate-300", ("chat", "--rate", "300"), _MEASURED, _OPEN, note="time to spare"),
    Row("rate-1000", ("chat", "--rate", "1000"), _MEASURED, _OPEN),
    Row("rate-3000", ("chat", "--rate", "3000"), _MEASURED, _OPEN),
    Row(
        "8+8",
        ("chat", "--window", "8", "--pairs", "200"),
        _MEASURED,
        _CHAT,
        processes=8,
        is_pinned=False,
        note="8 workers, 8 fronts, on all cores",
    ),
    Row(
        "8+8-rate-2000",
        ("chat", "--rate", "2000", "--pairs", "200"),
        _MEASURED,
        _OPEN,
        processes=8,
        is_pinned=False,
        is_usual=False,
        note="the same, 2,000 messages a second",
    ),
    Row(
        "storm",
        ("storm", "--logins", "3000", "--pairs", "0"),
        "storm",
        (
            _cpu("storm", "logins", "login"),
            _latency("login", "p50", "login"),
            _latency("login", "p99", "login"),
        ),
        is_timed=False,
        note="3,000 logins, 64 at once",
    ),
    Row(
        "offline",
        ("offline", "--messages", "20000"),
        "drain",
        (
            _cpu("fill", "stored", "message, fill"),
            _cpu("drain", "completed", "message, drain"),
            _rate("drain", "completed", "drained"),
        ),
        is_timed=False,
        note="20,000 messages into mailboxes and out",
    ),
    Row(
        "group-256",
        ("group", "--members", "256"),
        _MEASURED,
        (
            _cpu(_MEASURED, "delivered", "delivery"),
            _latency("send → last member", "p50", "last member"),
            _latency("send → last member", "p99", "last member"),
        ),
        note="one writes to 256, all ack",
    ),
    Row(
        "idle",
        ("idle", "--sockets", "3000", "--for", "1s"),
        "login",
        (_pss("front"), _pss("worker")),
        is_timed=False,
        note="memory of 3,000 silent sockets",
    ),
)
NAMES: Final = tuple(row.name for row in ROWS)


def chosen(names: str) -> tuple[Row, ...]:
    """Return the rows of a list of names, separated by commas; `usual` and `all` are several.

    Raises:
        ValueError: there is no such row; the message says which there are.
    """
    found: list[Row] = []
    for name in filter(None, (each.strip() for each in names.split(","))):
        rows = [
            row for row in ROWS if name in (row.name, "all") or (name == "usual" and row.is_usual)
        ]
        if not rows:
            raise ValueError(f"no row {name!r}: usual, all, or of {', '.join(NAMES)}")
        found += (row for row in rows if row not in found)
    if not found:
        raise ValueError(f"which rows? usual, all, or of {', '.join(NAMES)}")
    return tuple(found)


def pairs_of_turns(rows: Sequence[Row], rounds: int) -> Iterator[tuple[Turn, Turn]]:
    """Return the pairs in the order of measuring.

    Every row has its first pair before any has its second: what the machine does in a bad minute
    meets one pair of some rows, not all pairs of one. Who begins changes from pair to pair.
    """
    for at in range(rounds):
        for n, row in enumerate(rows):
            first = (at + n) % 2
            yield Turn(at, row, first), Turn(at, row, 1 - first)


def command(row: Row, *, url: str, seconds: float, has_cores: bool, record: str) -> list[str]:
    """Return the generator's arguments for one run."""
    given = [*row.load, "--url", url, "--json", record]
    if row.is_timed:
        given += ["--warm-up", "1s", "--for", f"{seconds:g}s"]
    if row.is_pinned and has_cores:
        given += ["--load-cpus", str(LOAD_CPU)]
    return given
