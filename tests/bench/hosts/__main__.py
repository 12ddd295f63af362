"""`python -m tests.bench.hosts`: three hosts beside one, and what it costs to lose one."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from relay.cluster.jetstream import ApiError
from relay.cluster.natswire import WireLost
from relay.loadgen.run.processes import machine_busy_s
from relay.loadgen.run.servers import RunFailed
from tests.bench.command import (
    Duration,
    Measurement,
    json_option,
    rate_option,
    rounds_option,
    seconds_option,
    tool,
    within_option,
)
from tests.bench.hosts import plan
from tests.bench.hosts.ordeals import Away, Loss, Move, away, lose, move
from tests.bench.hosts.plan import HOSTS, PARTS, Side
from tests.bench.hosts.prices import Run, measure, prices
from tests.bench.hosts.relays import Loaded, ThreeHosts, idle_cores, running_hosts, running_one
from tests.bench.hosts.report import as_json, faults, shown
from tests.bench.peers.clients import Refused
from tests.bench.peers.drive import DriveFailed, Load
from tests.bench.peers.wires import WireBroken
from tests.bench.progress import Steps, steps

_FAILURES: Final = (
    RunFailed,
    DriveFailed,
    WireBroken,
    Refused,
    WireLost,
    ApiError,
    TimeoutError,
    AssertionError,
    OSError,
)
_USERS: Final = 60
_INTERVAL_S: Final = 0.5
_BUSY_INTERVAL_S: Final = 0.2
_MOVING_USERS: Final = 20
_IDLE_S: Final = 2.0
_MOST_TEXT: Final = 400

_EXAMPLES: Final = """\b
Parts:
  price  messages/s, CPU a message and ack 1: one host and three, saturated and with time to spare
  loss   SIGKILL of a whole host under a chat: each user's time to its next ack 1
  move   a planned move of a range under load: for how long none of its acks came
  away   a host away for a while of chat: how long until its standbys have caught up

\b
Examples:
  make hosts
  python -m tests.bench.hosts --parts price --in-flight 1,4 --rounds 3
  python -m tests.bench.hosts --parts loss --losses 5 --json loss.json
  python -m tests.bench.hosts --parts away --away 3m --within 10m
"""


def _parts(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    wanted = [each.strip() for each in value.split(",") if each.strip()]
    if not wanted or set(wanted) - {*PARTS, "all"}:
        raise click.BadParameter(f"{value!r}: all, or of {', '.join(PARTS)}, with commas")
    return tuple(each for each in PARTS if each in wanted or "all" in wanted)


def _in_flight(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    wanted = [each.strip() for each in value.split(",")]
    if not all(each.isdecimal() and 1 <= int(each) <= 16 for each in wanted):
        raise click.BadParameter(f"{value!r} are no whole numbers from 1 to 16, with commas")
    return tuple(dict.fromkeys(map(int, wanted)))


@tool(
    _EXAMPLES,
    done="measured",
    faults="a message was lost or doubled, a user was served no more, or a part failed",
)
@click.option("--parts", callback=_parts, default="all", show_default=True, help="Which, below.")
@click.option(
    "--in-flight",
    callback=_in_flight,
    default="1",
    show_default=True,
    help="cluster.in_flight; of several, with commas, the price each, and the rest the first.",
)
@click.option(
    "--ranges",
    type=click.IntRange(1, 64),
    default=6,
    show_default=True,
    help="Ranges of the three hosts, of which each owns as many, and workers of the one.",
)
@click.option("--pairs", type=click.IntRange(1, 2000), default=200, show_default=True)
@rate_option(300.0, of="in all")
@rounds_option(2, of="price of one host and of three")
@seconds_option(4.0)
@click.option("--losses", type=click.IntRange(1, 20), default=2, show_default=True)
@click.option(
    "--moves",
    type=click.IntRange(1, 50),
    default=4,
    show_default=True,
    help="Of one range after the other, there and back.",
)
@click.option(
    "--away",
    "away_s",
    type=Duration(),
    default="45s",
    show_default=True,
    help="For how long a host is away.",
)
@within_option("6m", "Nothing begins that would not end in this time.")
@json_option()
def hosts(
    parts: tuple[str, ...],
    in_flight: tuple[int, ...],
    ranges: int,
    pairs: int,
    rate: float,
    rounds: int,
    seconds: float,
    losses: int,
    moves: int,
    away_s: float,
    within: float,
    json_file: Path | None,
) -> None:
    """Measure three hosts that are one relay beside one host, and what happens when one goes.

    The hosts are three addresses of this machine, each with its front, its workers and its engine;
    one host has as many workers and fronts, and is measured while the three are idle. All share
    the cores with the load: so messages a second say little, and what a message costs is what to
    compare.

    A host is lost by SIGKILL of all its processes. Then an engine has to be elected wherever that
    host led a log, which takes 4 to 9 s, and elsewhere its ranges are taken over in 1.5 s.
    """
    measurement = Measurement()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of us and of every server
    found = Findings()
    loads = plan.loads(rate)
    ordeals = [part for part in parts if part != "price"]
    count = len(in_flight) * rounds * ("price" in parts) + sum(
        {"loss": losses, "move": moves, "away": 1}[part] for part in ordeals
    )
    with measurement, steps(count, within_s=within) as shown_steps:
        for each in in_flight if "price" in parts else in_flight[:1]:
            side = Side(len(HOSTS), each)
            if not shown_steps.has_time(plan.HOSTS_S, "steps"):
                break
            with found.noting(side.name), running_hosts(ranges=ranges, in_flight=each) as three:
                if "price" in parts:
                    found.idle[side] = idle_cores(three, _IDLE_S)
                    for number in range(1, rounds + 1):
                        if not shown_steps.has_time(plan.round_s(seconds), "steps"):
                            break
                        shown_steps.begin(f"price of one host and {side.name}, round {number}")
                        with running_one(ranges=ranges) as one:
                            found.price(Side(1), number, one, loads, pairs, seconds)
                        found.price(side, number, three, loads, pairs, seconds)
                        shown_steps.end()
                if each == in_flight[0]:
                    found.put_through(
                        three, ordeals, shown_steps, losses=losses, moves=moves, away_s=away_s
                    )
    of_loads = [(load, prices(found.runs, load)) for load in loads]
    click.echo(shown(of_loads, found.idle, found.losses, found.moves, found.aways))
    wrongs = [*found.failures, *faults(found.runs, found.losses)]
    if json_file is not None:
        measurement.write(
            json_file,
            {
                "faults": wrongs,
                **as_json(found.runs, of_loads, found.idle, found.losses, found.moves, found.aways),
            },
        )
    measurement.end(wrongs)


class Findings:
    """What is measured so far, and what could not be."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.idle: dict[Side, dict[str, float]] = {}  # cores, by role
        self.losses: list[Loss] = []
        self.moves: list[Move] = []
        self.aways: list[Away] = []
        self.failures: list[str] = []

    @contextmanager
    def noting(self, what: str) -> Iterator[None]:
        """Note that the block could not be done."""
        try:
            yield
        except _FAILURES as error:
            self.failures.append(f"{what}: {type(error).__name__}: {str(error)[:_MOST_TEXT]}")

    def price(
        self,
        side: Side,
        number: int,
        loaded: Loaded,
        loads: Sequence[Load],
        pairs: int,
        seconds: float,
    ) -> None:
        """Put each load on what is there."""
        with self.noting(f"price of {side.name}, round {number}"):
            for load in loads:
                run = measure(
                    side,
                    loaded,
                    load,
                    number=number,
                    pairs=pairs,
                    warm_up_s=plan.WARM_UP_S,
                    seconds=seconds,
                    machine_s=machine_busy_s,
                )
                self.runs.append(run)

    def put_through(
        self,
        three: ThreeHosts,
        ordeals: Sequence[str],
        shown_steps: Steps,
        *,
        losses: int,
        moves: int,
        away_s: float,
    ) -> None:
        """Put three hosts through each ordeal, as far as there is time."""

        def a_loss(n: int) -> None:
            name = HOSTS[-1 - n % len(HOSTS)]
            self.losses.append(lose(three, name, users=_USERS, interval_s=_INTERVAL_S))

        def a_move(n: int) -> None:
            range_, back = n // 2 % three.ranges, bool(n % 2)
            self.moves.append(move(three, range_, back=back, users=_MOVING_USERS))

        def an_absence(n: int) -> None:
            name = HOSTS[-1]
            found = away(three, name, seconds=away_s, users=_USERS, interval_s=_BUSY_INTERVAL_S)
            self.aways.append(found)

        planned = {
            "move": (moves, plan.MOVE_S, a_move, "a planned move"),
            "loss": (losses, plan.LOSS_S, a_loss, "loss of a host"),
            "away": (1, away_s + plan.BACK_S, an_absence, "a host away"),
        }
        for part, (count, needed_s, act, what) in planned.items():
            if part not in ordeals:
                continue
            for n in range(count):
                if not shown_steps.has_time(needed_s, "steps"):
                    return
                shown_steps.begin(f"{what}, {n + 1} of {count}")
                with self.noting(what):
                    act(n)
                shown_steps.end()


if __name__ == "__main__":
    hosts(prog_name="python -m tests.bench.hosts")
