"""`relay cluster backup` and `restore`, beside what else an operator of several hosts types."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from relay.cluster.backups import BackupUnusable
from relay.cluster.caller import cluster_of
from relay.cluster.command import cluster
from relay.operating.commands import PARTLY
from relay.settings.load import draft_settings
from workers.tools.apart import UNUSABLE, Ended, run
from workers.tools.clusterbackup import ClusterBackup
from workers.tools.clusterrestore import ClusterRestore, prepared, restore_alone

__all__ = ["cluster"]

_PATH = click.Path(path_type=Path)
_FILE = click.option(
    "--config",
    "path",
    type=_PATH,
    default=Path("cluster.toml"),
    show_default=True,
    metavar="FILE",
    help="The file of the cluster.",
)


@cluster.command("backup")
@click.argument("directory", metavar="DIR", type=_PATH)
@_FILE
@click.option(
    "--host-name",
    "host_name",
    default="",
    metavar="NAME",
    help="Which host is asked first.  [default: the first of the file]",
)
@click.pass_context
def backup(context: click.Context, directory: Path, path: Path, host_name: str) -> int:
    """Copy all ranges to DIR, which is not there yet, while the hosts serve, and check the copy.

    On any machine with the file that reaches one of the hosts. DIR is a directory of this machine;
    until the backup is whole it is called DIR.part. It needs twice the room of the largest range
    beside all of them.

    All that was acked before it began is in it, as of one moment of all ranges; so are groups, bans
    and revoked tokens that were made by the API. A groups file, keys and settings are not, nor who
    is drained or where a range was moved. `relay check DIR` looks at it again.

    Exit codes: 0 done, 1 there is no backup, or something is wrong with the data, 2 bad usage, or
    DIR cannot be used, 130 interrupted.
    """
    directory = directory.absolute()
    cluster_of(path, host_name)  # which complains of what is no such file
    settings = draft_settings(path, {"cluster.host_name": host_name or _first(path)}).checked()

    def tell(ended: Ended) -> None:
        _tell(directory, ended)

    return run(
        context,
        directory,
        lambda began: ClusterBackup(settings, directory, began).make(),
        tell,
    )


@cluster.command("restore")
@click.argument("directory", metavar="DIR", type=_PATH)
@_FILE
@click.option(
    "--within-s",
    type=click.FloatRange(1.0, 86_400.0),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait while nothing more comes about.",
)
@click.option(
    "--without-cluster",
    "alone",
    type=_PATH,
    metavar="DATA",
    help="Make DATA, a data directory for a relay on one host, in place of all that.",
)
@click.pass_context
def restore(
    context: click.Context, directory: Path, path: Path, within_s: float, alone: Path | None
) -> int:
    """Give the backup DIR to hosts that begin, as many as you like, and wait until all is there.

    \b
    relay cluster init a=... b=... c=... d=... e=... --backup DIR
    ... copy cluster.toml to the hosts, start each; they wait
    relay cluster restore DIR

    On any machine with DIR and the file that reaches one of the hosts. Each has to have an empty
    data directory. Nobody is served before a range's store is handed out. Where it is interrupted
    run it again.

    What came after the backup is lost by that, and what was delivered since is delivered once more.

    Exit codes: 0 done, 1 not all is restored, 2 bad usage, DIR is no whole backup, or the hosts are
    not for it, 3 it is, but hosts are missing that are to stand by, 130 interrupted.
    """
    if alone is not None:
        to = alone.absolute()
        return run(
            context,
            to,
            lambda began: restore_alone(directory, to, began),
            lambda ended: _tell(to, ended),
        )
    try:
        cluster_settings = cluster_of(path)
        manifest = prepared(directory, cluster_settings, path)
        unsafe = ClusterRestore(directory, manifest, cluster_settings, within_s=within_s).run()
    except BackupUnusable as error:
        sys.stderr.write(f"{context.command_path}: {error}\n")
        return UNUSABLE
    click.echo(f"{directory} is restored: {len(manifest.ranges)} ranges, each with an owner")
    if unsafe:
        click.echo(
            f"too few stand by range {', '.join(map(str, sorted(unsafe)))}, yet: see `relay"
            " cluster status`",
            err=True,
        )
    return PARTLY if unsafe else 0


def _first(path: Path) -> str:
    return cluster_of(path).host_name


def _tell(directory: Path, ended: Ended) -> None:
    for finding in ended.report.findings:
        click.echo(str(finding))
    report = ended.report
    if report.total:
        click.echo(f"{directory}: {report.total:,} findings")
    else:
        click.echo(
            f"{directory}: {report.stores:,} stores, {report.items:,} items: nothing is wrong"
        )
    if ended.note:
        click.echo(ended.note)
