"""The options of the load generator, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from relay.loadgen.cli.units import parse_cpus, parse_duration
from relay.loadgen.run.request import DEFAULT_URL
from relay.loadgen.traffic.plan import Chat, Group, Idle, Mixed, Offline, Plan, Storm

_MAX_PROCS: Final = 64
_MAX_SIZE: Final = 60_000  # the relay's own limit is 64 KiB a message
_MOST: Final = 100_000_000

# The sections of a scenario's help, in this order.
SCENARIO, TARGET, LOAD, WRITTEN = "The scenario", "What is loaded", "The load", "What is written"


class Option(click.Option):
    """An option that knows its section of the help."""

    def __init__(self, declarations: Sequence[str], section: str, **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.section = section


def _read_by(read: Callable[[str], Any]) -> dict[str, Any]:
    """Return the attributes of an option that `read` reads; its ValueError is what is told."""

    def value_of(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if not isinstance(value, str):
            return value  # a default
        try:
            return read(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error

    return {"type": click.UNPROCESSED, "callback": value_of}


def _whole(low: int, high: int = _MOST) -> dict[str, Any]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return _read_by(read)


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
    except msgspec.MsgspecError as error:
        raise ValueError(f"{text}: {error}") from error


def _read_token_key(text: str) -> bytes:
    # Only a run needs it, and what it imports.
    from relay.loadgen.traffic.signer import Signer

    try:
        content = Path(text).read_bytes()
        Signer(content)
    except OSError as error:
        raise ValueError(f"{text}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from error
    return content


_POSITIVE: Final = _read_by(_read_positive)
_DURATION: Final = _read_by(_read_duration)
_CPUS: Final = _read_by(parse_cpus)
_TOKENS: Final = _read_by(_read_tokens)
_TOKEN_KEY: Final = _read_by(_read_token_key)
_FILE: Final = _read_by(Path)


def _count(flag: str, default: int, what: str, *, low: int = 1) -> Option:
    return Option(
        [flag],
        SCENARIO,
        **_whole(low),
        default=default,
        show_default=True,
        metavar="N",
        help=what,
    )


def _time(flag: str, name: str, default_s: float, what: str, section: str) -> Option:
    return Option(
        [flag, name],
        section,
        **_DURATION,
        default=default_s,
        metavar="TIME",
        help=f"{what}  [default: {default_s:g}s]",
    )


def _rate(what: str, default: float = 0.0) -> Option:
    return Option(
        ["--rate"],
        SCENARIO,
        **_POSITIVE,
        default=default,
        metavar="N",
        help=f"{what}  [default: {default:g}]" if default else what,
    )


def _loops(window: int, what: str) -> list[Option]:
    return [
        _count("--window", window, f"Closed loop: {what}."),
        _rate("Open loop: messages a second in all; latency counts from the intended time."),
        Option(
            ["--arrivals"],
            SCENARIO,
            type=click.Choice(["even", "poisson"]),
            default="even",
            show_default=True,
            help="Of the open loop: equally far apart, or as independent people would.",
        ),
    ]


def chat() -> list[Option]:
    """Return what is told of pairs."""
    default = Chat()
    pairs = _count("--pairs", default.pairs, "Pairs of users.")
    return [pairs, *_loops(default.window, "messages under way a pair")]


def group() -> list[Option]:
    """Return what is told of groups."""
    default = Group()
    return [
        _count("--groups", default.groups, "Groups."),
        _count("--members", default.members, "Members of each.", low=2),
        _count("--senders", default.senders, "Members of each who write."),
        *_loops(default.window, "messages under way a sender"),
    ]


def offline() -> list[Option]:
    """Return what is told of mailboxes that are filled and drained."""
    default = Offline()
    return [
        _count("--users", default.users, "Users who are away; each is written to by one."),
        _count("--messages", default.messages, "Messages in all."),
        _count("--window", default.window, "Un-acked messages a writer."),
    ]


def storm() -> list[Option]:
    """Return what is told of logins."""
    default = Storm()
    return [
        _count("--logins", default.logins, "How many."),
        _count("--at-once", default.at_once, "How many are under way at a time."),
        _rate("Logins a second, instead; latency counts from the intended time."),
        _count(
            "--pairs",
            default.pairs,
            "Pairs who are in and chat meanwhile, of a process of their own: their latency is what"
            " the logins cost others.",
            low=0,
        ),
        Option(
            ["--pair-rate"],
            SCENARIO,
            **_POSITIVE,
            default=default.pair_rate,
            metavar="N",
            help=f"Messages a second of each pair.  [default: {default.pair_rate:g}]",
        ),
    ]


def idle() -> list[Option]:
    """Return what is told of sockets that are held."""
    return [_count("--sockets", Idle().sockets, "How many.")]


def mixed() -> list[Option]:
    """Return what is told of a day in the life."""
    default = Mixed()
    return [
        _count("--users", default.users, "Users."),
        _rate("Messages a second.", default.rate),
        _time("--online", "online_s", default.online_s, "A user's stay, on average.", SCENARIO),
        _time("--away", "away_s", default.away_s, "A user's absence, on average.", SCENARIO),
    ]


def target(*, with_reference: bool) -> list[Option]:
    """Return which servers are loaded, and where everything runs."""
    options = [
        Option(
            ["--url"],
            TARGET,
            metavar="URL",
            help="The relay. Start it with --messages-per-s 0: it bounds what one author sends,"
            f" and here one stands for many.  [default: {DEFAULT_URL}]",
        ),
        Option(
            ["--spawn"],
            TARGET,
            metavar="OPTIONS",
            help="Start a relay with these options of supervisor.py, on a free port and with "
            "temporary data, and stop it afterwards. One author may send as fast as it can.",
        ),
        Option(
            ["--reference"],
            TARGET,
            is_flag=True,
            help="Also measure a bare reflector, and show the relay's cost as a ratio to it.",
        ),
        Option(
            ["--rounds"],
            TARGET,
            **_whole(1),
            default=1,
            show_default=True,
            metavar="N",
            help="Repeat everything, reference and relay in turn.",
        ),
        Option(
            ["--relay-cpus"],
            TARGET,
            **_CPUS,
            default=(),
            metavar="CPUS",
            help="Pin what is spawned: 0 or 0,2 or 0-3.",
        ),
        Option(
            ["--load-cpus"],
            TARGET,
            **_CPUS,
            default=(),
            metavar="CPUS",
            help="Pin the generator.",
        ),
        Option(
            ["--ca-file", "--ca", "ca_file"],
            TARGET,
            metavar="FILE",
            default="",
            help="With wss://: trust relays of these authorities (PEM), and of no others.",
        ),
        Option(
            ["--client-cert"],
            TARGET,
            metavar="FILE",
            default="",
            help="With wss://: the certificate that each connection shows (PEM).",
        ),
        Option(
            ["--client-key"],
            TARGET,
            metavar="FILE",
            default="",
            help="Its key, where that is in another file.",
        ),
        Option(
            ["--tokens"],
            TARGET,
            **_TOKENS,
            metavar="FILE",
            help='JSON of {"<local part>": "<token>"} for a relay that wants them.',
        ),
        Option(
            ["--token-secret", "--token-key", "token_key"],
            TARGET,
            **_TOKEN_KEY,
            default=b"",
            metavar="FILE",
            help="Sign a token for each login: a secret (HS256), or a private key in PEM, by whose"
            " kind it is EdDSA, ES256 or RS256.",
        ),
    ]
    return [each for each in options if with_reference or each.name != "reference"]


def load(*, with_texts: bool, with_warm_up: bool, with_length: bool) -> list[Option]:
    """Return how much is done; which of it a scenario has differs."""
    plan = Plan(scenario=Chat())
    options = [
        Option(
            ["--procs"],
            LOAD,
            **_whole(1, _MAX_PROCS),
            default=plan.procs,
            show_default=True,
            metavar="N",
            help="Load processes.",
        ),
        Option(
            ["--seed"],
            LOAD,
            **_whole(0),
            default=plan.seed,
            show_default=True,
            metavar="N",
            help="Same seed, same users, texts and times.",
        ),
    ]
    if with_texts:
        options.append(
            Option(
                ["--size"],
                LOAD,
                **_whole(1, _MAX_SIZE),
                default=plan.size,
                show_default=True,
                metavar="N",
                help="Characters of a text.",
            )
        )
    if with_warm_up:
        options.append(_time("--warm-up", "warm_up_s", plan.warm_up_s, "Not measured.", LOAD))
    if with_length:
        what = "Measured time: 300s, 20m, 1h30m."
        options.append(_time("--for", "measure_s", plan.measure_s, what, LOAD))
    what = "Without progress for so long, what is missing counts as missing."
    return [*options, _time("--patience", "patience_s", plan.patience_s, what, LOAD)]


def written(*, with_groups: bool) -> list[Option]:
    """Return which files are written."""
    options = [
        Option(
            ["--json", "json_file"],
            WRITTEN,
            **_FILE,
            metavar="FILE",
            help="The record of the run, for compare.",
        ),
        Option(
            ["--html", "html_file"],
            WRITTEN,
            **_FILE,
            metavar="FILE",
            help="One page with plots.",
        ),
    ]
    if with_groups:
        options.append(
            Option(
                ["--groups-file"],
                WRITTEN,
                **_FILE,
                metavar="FILE",
                help="Write the groups that the run needs, for the relay's --groups, and end.",
            )
        )
    return options
