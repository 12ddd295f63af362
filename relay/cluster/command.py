"""`relay cluster ...`: what an operator of several hosts types."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from relay.cluster import asking, removal
from relay.cluster import init as initiation
from relay.cluster.accord import accord_of, words_of_all, words_of_differences
from relay.cluster.caller import Caller, cluster_of
from relay.cluster.health import overview
from relay.cluster.requests import DrainAsked, MoveAsked
from relay.operating.commands import PARTLY


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
@click.option(
    "--backup",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Begin with what is in this backup: then `relay cluster restore DIR`.",
)
def init(
    hosts: tuple[str, ...],
    path: Path,
    name: str,
    witness: str,
    ranges: int | None,
    backup: Path | None,
) -> None:
    """Write the file with which each of the hosts is started, with their secrets.

    \b
    relay cluster init a=10.0.0.1 b=10.0.0.2 c=10.0.0.3
    relay cluster init a=10.0.0.1 b=10.0.0.2 w=10.0.0.3 --witness w

    HOST is an address or a name by which the other hosts reach it. Of three hosts one may be lost,
    of five two. Two cannot tell a lost one from one that is cut off: a witness votes with them.
    """
    lines = initiation.init(
        hosts, path=path, name=name, witness=witness, ranges=ranges, backup=backup
    )
    for line in lines:
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


_AS = click.option(
    "--host-name",
    "host_name",
    default="",
    metavar="NAME",
    help="Which host this is: it is asked first.  [default: the first of the file]",
)
_WITHIN = click.option(
    "--within-s",
    type=click.FloatRange(1.0, 86_400.0),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for it; it goes on by itself then.",
)
_NO_WAIT = click.option("--no-wait", "no_wait", is_flag=True, help="Do not wait for it.")
_TO = click.option(
    "--to",
    type=click.Path(path_type=Path),
    default=Path("cluster.new.toml"),
    show_default=True,
    metavar="FILE",
    help="What to write.",
)


@cluster.command("status")
@_FILE
@_AS
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(path: Path, host_name: str, as_json: bool) -> int:
    """Show who lives, who owns which range since when, and how far its standbys are.

    \b
    epoch     the record of its log by which the owner has the range
    log       the last record of its log
    leader    whose engine leads the log; another's than the owner's, so that no loss takes both
    standbys  who could take over, and how many records each lacks

    What is amiss is said in words below. Exit codes: 0 all is well, 1 nobody can be asked, 2 bad
    usage, 3 something is amiss.
    """
    cluster_settings = cluster_of(path, host_name)
    with Caller(cluster_settings) as caller:
        said = caller.statuses()
    if not said:
        raise click.ClickException("engines answer, but no agent does: are the relays running?")
    addresses = dict(cluster_settings.addresses)
    seen = overview(cluster_settings.name, addresses, said, standbys=cluster_settings.standbys)
    if as_json:
        click.echo(msgspec.json.encode(seen).decode())
    else:
        click.echo(asking.words_of(seen, addresses))
        for line in seen.amiss:
            click.echo(f"amiss: {line}", err=True)
    return PARTLY if seen.amiss else 0


@cluster.command("settings")
@_FILE
@click.option(
    "--groups",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The groups file.  [default: server.groups of the file]",
)
@click.option("--all", "shows_all", is_flag=True, help="Show the settings that hold, each of them.")
def settings(path: Path, groups: Path | None, shows_all: bool) -> int:
    """Show which settings hold on all hosts, and where FILE says something else.

    It changes nothing. `relay reload` on a host makes what its files say hold on all of them, but
    for what is old there: what they said when they last agreed, and others have changed since.

    \b
    Exit codes: 0 the files agree, 1 nobody can be asked, 2 bad usage, 3 they differ.
    """
    with Caller(cluster_of(path)) as caller:
        found = accord_of(caller)
    if found is None:
        click.echo("each host goes by its own files, until one is told to reload")
        return 0
    click.echo(f"settings {found.origin}")
    if shows_all:
        click.echo("\n".join(words_of_all(found)))
    differ = list(words_of_differences(found, path, groups))
    for line in differ:
        click.echo(line)
    return PARTLY if differ else 0


@cluster.command("drain")
@click.argument("host")
@click.option("--undo", is_flag=True, help="Let it own its share again.")
@_FILE
@_AS
@_WITHIN
@_NO_WAIT
def drain(
    host: str, undo: bool, path: Path, host_name: str, within_s: float, no_wait: bool
) -> None:
    """Have HOST own nothing and serve nobody, and wait until that is so.

    Its ranges move to others, one after the other, each with a pause of a moment; then its clients
    are sent away, and find another host. Now it may stop without anybody's notice. All hosts
    remember it until --undo, over restarts.
    """
    with Caller(cluster_of(path, host_name)) as caller:
        if undo:
            caller.settle(DrainAsked(host, drained=False))
            click.echo(f"{host} serves again, and takes its share, a range at a time")
            return
        if no_wait:
            caller.settle(DrainAsked(host))
            click.echo(f"{host} is to own nothing from here on; that is remembered until --undo")
            return
        for line in asking.drain(caller, host, within_s=within_s):
            click.echo(line)


@cluster.command("move")
@click.argument("range_", type=int, metavar="RANGE")
@click.argument("host", metavar="HOST", required=False, default="")
@_FILE
@_AS
@_WITHIN
@_NO_WAIT
def move(
    range_: int, host: str, path: Path, host_name: str, within_s: float, no_wait: bool
) -> None:
    """Have RANGE be owned by HOST from here on, and wait until it is.

    Without HOST, by whom it would be anyway; that is not waited for.
    """
    with Caller(cluster_of(path, host_name)) as caller:
        if not host:
            caller.settle(MoveAsked(range_, ""))
            click.echo(f"range {range_} goes back to whom it would be of, when all is quiet")
            return
        if no_wait:
            caller.settle(MoveAsked(range_, host))
            click.echo(f"range {range_} is to be owned by {host} from here on")
            return
        for line in asking.move(caller, range_, host, within_s=within_s):
            click.echo(line)


@cluster.command("add")
@click.argument("host", metavar="NAME=HOST")
@_FILE
@_TO
def add(host: str, path: Path, to: Path) -> None:
    """Write a file that has a host more, and say what is to be done with it."""
    for line in removal.add(path, cluster_of(path), host, to):
        click.echo(line)


@cluster.command("remove")
@click.argument("host")
@_FILE
@_TO
def remove(host: str, path: Path, to: Path) -> None:
    """Remove HOST, which is stopped or lost for good; ask twice.

    The engines make the copies that it had anew on other hosts, and a file is written without it.
    Of three hosts none can be removed before another one was added.
    """
    for line in removal.remove(path, cluster_of(path), host, to):
        click.echo(line)
