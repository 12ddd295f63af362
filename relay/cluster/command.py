"""`relay cluster ...`: what an operator of several hosts types."""

from __future__ import annotations

from pathlib import Path

import click

from relay.cluster import asking
from relay.cluster import init as initiation
from relay.cluster.requests import DrainAsked, MoveAsked


@click.group(no_args_is_help=False)
def cluster() -> None:
    """Make several hosts one relay, that a host may leave or lose."""


@cluster.command("init")
@click.argument("hosts", nargs=-1, required=True, metavar="NAME=HOST...")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    default=Path("cluster.toml"),
    show_default=True,
    metavar="FILE",
    help="What to write.",
)
@click.option("--name", default="relay", show_default=True, help="What they are called together.")
@click.option("--witness", default="", metavar="NAME", help="The host that only votes, if any.")
@click.option(
    "--ranges",
    type=int,
    metavar="N",
    help="Parts of the users, for good; as many workers as there will ever be.  [default: 16]",
)
def init(hosts: tuple[str, ...], path: Path, name: str, witness: str, ranges: int | None) -> None:
    """Write the file with which each of the hosts is started, with their secrets.

    \b
    relay cluster init a=10.0.0.1 b=10.0.0.2 c=10.0.0.3
    relay cluster init a=10.0.0.1 b=10.0.0.2 w=10.0.0.3 --witness w

    HOST is an address or a name by which the other hosts reach it. Of three hosts one may be lost,
    of five two. Two cannot tell a lost one from one that is cut off: a witness votes with them.
    """
    for line in initiation.init(hosts, path=path, name=name, witness=witness, ranges=ranges):
        click.echo(line)


_FILE = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("cluster.toml"),
    show_default=True,
    metavar="FILE",
    help="The file of the cluster.",
)


@cluster.command("status")
@_FILE
def status(path: Path) -> None:
    """Say who lives, who owns which range since when, and how far the standbys are."""
    for line in asking.status_lines(path):
        click.echo(line)


@cluster.command("drain")
@click.argument("host")
@click.option("--undo", is_flag=True, help="Let it own its share again.")
@_FILE
def drain(host: str, undo: bool, path: Path) -> None:
    """Let HOST own nothing: its ranges move to others, one after the other.

    Then it may stop without a pause for anybody; the others remember it until --undo.
    """
    click.echo(asking.settle(path, DrainAsked(host, drained=not undo)))


@cluster.command("move")
@click.argument("range_", type=int, metavar="RANGE")
@click.argument("host", metavar="HOST", required=False, default="")
@_FILE
def move(range_: int, host: str, path: Path) -> None:
    """Let RANGE be owned by HOST from here on; without HOST by whom it would be anyway."""
    click.echo(asking.settle(path, MoveAsked(range_, host)))
