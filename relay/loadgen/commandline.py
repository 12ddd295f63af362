"""The command line of the load generator: its options, checked, as one `Request`."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from relay.loadgen.plan import (
    MIXED_GROUP_MEMBERS,
    Chat,
    Group,
    Idle,
    Mixed,
    Offline,
    Plan,
    Scenario,
    Storm,
    sessions_of,
    units_of,
)
from relay.loadgen.units import parse_cpus, parse_duration

DEFAULT_URL: Final = "ws://127.0.0.1:9011/"
_MAX_PROCS: Final = 64
_MAX_SIZE: Final = 60_000  # the relay's own limit is 64 KiB a message
_FILES_TO_SPARE: Final = 64

_EPILOG: Final = """\
examples:
  python -m relay.loadgen chat --pairs 100 --window 8
  python -m relay.loadgen chat --rate 3000 --for 30s --html report.html
  python -m relay.loadgen chat --spawn "--workers 1 --fronts 1" --reference \\
         --relay-cpus 0 --load-cpus 1 --json new.json
  python -m relay.loadgen group --members 256 --groups-file groups.json   (for a relay's --groups)
  python -m relay.loadgen idle --sockets 10000 --spawn "--workers 1 --fronts 1"
  python -m relay.loadgen compare old.json new.json

exit codes:
  0 every check held   1 lost, duplicated, out of order, wrong, un-acked or refused messages,
  or nothing answers   2 bad usage
"""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was asked for."""

    plan: Plan
    url: str
    spawn: str | None
    reference: bool
    rounds: int
    relay_cpus: tuple[int, ...]
    load_cpus: tuple[int, ...]
    ca_file: str
    tokens: dict[str, str]
    json: Path | None
    html: Path | None
    groups_file: Path | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two records to compare."""

    first: Path
    second: Path


def parse(argv: list[str]) -> Request | Comparison:
    """Return what `argv` asks for.

    Raises:
        SystemExit: 2 and a line on stderr for bad usage; 0 for --help.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    if given.command == "compare":
        return Comparison(first=given.first, second=given.second)
    scenario = _scenario(given)
    plan = Plan(
        scenario=scenario,
        seed=given.seed,
        procs=given.procs,
        size=given.size,
        warm_up_s=given.warm_up,
        measure_s=given.measure,
        patience_s=given.patience,
    )
    _check(parser, given, plan)
    return Request(
        plan=plan,
        url=given.url or DEFAULT_URL,
        spawn=given.spawn,
        reference=given.reference,
        rounds=given.rounds,
        relay_cpus=given.relay_cpus,
        load_cpus=given.load_cpus,
        ca_file=given.ca or "",
        tokens=given.tokens,
        json=given.json,
        html=given.html,
        groups_file=given.groups_file,
    )


def _scenario(given: argparse.Namespace) -> Scenario:
    kinds: dict[str, type[Scenario]] = {
        "chat": Chat,
        "group": Group,
        "offline": Offline,
        "storm": Storm,
        "idle": Idle,
        "mixed": Mixed,
    }
    kind = kinds[given.command]
    return kind(**{name: getattr(given, name) for name in kind.__struct_fields__})


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace, plan: Plan) -> None:
    """End with exit code 2 where options do not go together."""
    scenario = plan.scenario
    if isinstance(scenario, Group) and not scenario.senders < scenario.members:
        parser.error("--senders must be fewer than --members: who only listens shows the order")
    if isinstance(scenario, Mixed) and scenario.users < MIXED_GROUP_MEMBERS:
        parser.error(f"--users must be at least {MIXED_GROUP_MEMBERS}")
    if isinstance(scenario, Offline) and scenario.messages < scenario.users:
        parser.error("--messages must be at least one for each of --users")
    if plan.procs > units_of(scenario):
        parser.error(f"--procs {plan.procs} is more than there is to divide")
    if given.spawn is not None and given.url is not None:
        parser.error("--spawn starts a relay of its own: leave out --url")
    if given.relay_cpus and given.spawn is None:
        parser.error("--relay-cpus needs --spawn: a relay that runs already is not moved")
    if given.reference and isinstance(scenario, Mixed):
        parser.error("--reference keeps nothing for those who leave without goodbye: not for mixed")
    if given.tokens and given.reference:
        parser.error("--reference knows no tokens")
    unknown = {*given.relay_cpus, *given.load_cpus} - os.sched_getaffinity(0)
    if unknown:
        parser.error(f"no CPU {min(unknown)} for this process")
    url = urlsplit(given.url or DEFAULT_URL)
    try:
        good = url.scheme in ("ws", "wss") and url.hostname and (url.port or True)
    except ValueError:
        good = False
    if not good:
        parser.error(f"--url {given.url}: not of the form ws://HOST:PORT/ or wss://HOST:PORT/")
    sessions_a_process = -(-sessions_of(scenario) // plan.procs) + _FILES_TO_SPARE
    limit = _open_files()
    if sessions_a_process > limit:
        parser.error(
            f"{sessions_of(scenario):,} sessions in {plan.procs} processes need more than the "
            f"{limit:,} files that a process may open (ulimit -Hn)"
        )
    for path in (given.json, given.html, given.groups_file):
        if path is not None and not path.resolve().parent.is_dir():
            parser.error(f"{path}: no such directory")


def _open_files() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


# -- the parser -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    wide = partial(argparse.RawDescriptionHelpFormatter, max_help_position=30, width=100)
    parser = argparse.ArgumentParser(
        prog="python -m relay.loadgen",
        description="Load a relay through its public protocol, verify all of it, show its cost.",
        epilog=_EPILOG,
        formatter_class=wide,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="SCENARIO")

    def scenario(name: str, help_text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=help_text,
            description=help_text,
            parents=[common],
            formatter_class=wide,
            allow_abbrev=False,
        )

    common = _common()
    chat = scenario("chat", "pairs: one of each writes, the other acks")
    _count(chat, "--pairs", Chat().pairs, "pairs of users")
    _loops(chat, Chat().window, "messages under way a pair")
    group = scenario("group", "groups whose members all listen and of whom some write")
    _count(group, "--groups", Group().groups, "groups")
    _count(group, "--members", Group().members, "members of each", low=2)
    _count(group, "--senders", Group().senders, "members of each who write")
    _loops(group, Group().window, "messages under way a sender")
    offline = scenario("offline", "fill mailboxes of users who are away, then log in and drain")
    _count(offline, "--users", Offline().users, "users who are away; each is written to by one")
    _count(offline, "--messages", Offline().messages, "messages in all")
    _count(offline, "--window", Offline().window, "un-acked messages a writer")
    storm = scenario("storm", "logins, as fast as accepted or at a rate")
    _count(storm, "--logins", Storm().logins, "how many")
    _count(storm, "--at-once", Storm().at_once, "how many are under way at a time")
    _rate(storm, "logins a second; latency counts from the intended time")
    idle = scenario("idle", "logged-in sockets that do nothing; --for says how long")
    _count(idle, "--sockets", Idle().sockets, "how many")
    mixed = scenario("mixed", "a day in the life: comings and goings, chats, groups, reads")
    _count(mixed, "--users", Mixed().users, "users")
    mixed.add_argument(
        "--rate",
        type=_positive,
        default=Mixed().rate,
        metavar="N",
        help=_told("messages a second", Mixed().rate),
    )
    for flag, dest, default, what in (
        ("--online", "online_s", Mixed().online_s, "how long a user stays, on average"),
        ("--away", "away_s", Mixed().away_s, "how long it is away, on average"),
    ):
        mixed.add_argument(
            flag,
            dest=dest,
            type=_duration,
            default=default,
            metavar="TIME",
            help=_told(what, f"{default:g}s"),
        )
    compare = commands.add_parser(
        "compare",
        help="tell what changed from one --json file to another, and what is noise",
        allow_abbrev=False,
    )
    compare.add_argument("first", type=Path, metavar="A.json")
    compare.add_argument("second", type=Path, metavar="B.json")
    return parser


def _common() -> argparse.ArgumentParser:
    plan = Plan(scenario=Chat())
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("what is loaded")
    group.add_argument("--url", help=_told("the relay", DEFAULT_URL))
    group.add_argument(
        "--spawn",
        metavar="OPTIONS",
        help='start a relay with these options of supervisor.py ("--workers 2 --fronts 2") on a '
        "free port and temporary data, and stop it afterwards",
    )
    group.add_argument(
        "--reference",
        action="store_true",
        help="also measure a bare reflector, and show the relay's cost as a ratio to it",
    )
    group.add_argument(
        "--rounds",
        type=_at_least(1),
        default=1,
        metavar="N",
        help=_told("repeat everything, reference and relay in turn", 1),
    )
    group.add_argument(
        "--relay-cpus", type=_cpus, default=(), metavar="CPUS", help="pin what is spawned: 0 or 0-3"
    )
    group.add_argument(
        "--load-cpus", type=_cpus, default=(), metavar="CPUS", help="pin the generator"
    )
    group.add_argument("--ca", metavar="FILE", help="certificates to trust for wss://")
    group.add_argument(
        "--tokens",
        type=_tokens,
        default={},
        metavar="FILE",
        help='JSON of {"<local part>": "<token>"} for a relay that wants them',
    )
    group.add_argument(
        "--groups-file",
        type=Path,
        metavar="FILE",
        help="write the groups that the run needs, for the relay's --groups, and end",
    )
    group = common.add_argument_group("the load")
    group.add_argument(
        "--procs",
        type=_between(1, _MAX_PROCS),
        default=1,
        metavar="N",
        help=_told("load processes", 1),
    )
    group.add_argument(
        "--size",
        type=_between(1, _MAX_SIZE),
        default=plan.size,
        metavar="N",
        help=_told("characters of a text", plan.size),
    )
    group.add_argument(
        "--seed",
        type=_at_least(0),
        default=plan.seed,
        metavar="N",
        help=_told("same seed, same users, texts and times", plan.seed),
    )
    group.add_argument(
        "--warm-up",
        type=_duration,
        default=plan.warm_up_s,
        metavar="TIME",
        help=_told("not measured", "2s"),
    )
    group.add_argument(
        "--for",
        dest="measure",
        type=_duration,
        default=plan.measure_s,
        metavar="TIME",
        help=_told("measured time: 300s, 20m, 1h30m", "10s"),
    )
    group.add_argument(
        "--patience",
        type=_duration,
        default=plan.patience_s,
        metavar="TIME",
        help=_told("without progress for so long, what is missing counts as missing", "15s"),
    )
    group = common.add_argument_group("what is written")
    group.add_argument(
        "--json", type=Path, metavar="FILE", help="the record of the run, for compare"
    )
    group.add_argument("--html", type=Path, metavar="FILE", help="one page with plots")
    return common


def _told(what: str, default: object) -> str:
    return f"{what} (default: {default})"


def _count(
    parser: argparse.ArgumentParser, flag: str, default: int, what: str, low: int = 1
) -> None:
    parser.add_argument(
        flag, type=_at_least(low), default=default, metavar="N", help=_told(what, f"{default}")
    )


def _loops(parser: argparse.ArgumentParser, window: int, what: str) -> None:
    _count(parser, "--window", window, f"closed loop: {what}")
    _rate(parser, "open loop: messages a second in all; latency counts from the intended time")
    parser.add_argument(
        "--arrivals",
        choices=("even", "poisson"),
        default="even",
        help=_told("of the open loop", "even"),
    )


def _rate(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--rate", type=_positive, default=0.0, metavar="N", help=what)


def _checked(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a reader whose ValueError becomes the line that argparse shows."""

    def checked(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked


def _at_least(low: int) -> Callable[[str], int]:
    return _between(low, 100_000_000)


def _between(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return _checked(read)


def _read_positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e7:
        raise ValueError(f"{text!r} is no number above 0")
    return value


def _read_duration(text: str) -> float:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError(f"{text!r} is no time above 0")
    return seconds


def _read_tokens(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(Path(text).read_bytes(), type=dict[str, str])
    except OSError as error:
        raise ValueError(f"{text}: {error.strerror}") from error


_positive: Final = _checked(_read_positive)
_duration: Final = _checked(_read_duration)
_cpus: Final = _checked(parse_cpus)
_tokens: Final = _checked(_read_tokens)
