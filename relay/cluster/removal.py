"""`relay cluster add` and `remove`: a file for other hosts, and what is to be done with it.

No host that runs is changed by them; each takes the new file at its next start. The one thing that
is done to what is stored is done by `remove`, where an operator has confirmed it twice: the engines
make the copies that a lost host had anew on others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from relay.cluster.access import login_of, servers_of
from relay.cluster.asking import owned_by
from relay.cluster.caller import CONNECT_S, Caller
from relay.cluster.engineconfig import SYSTEM_USER
from relay.cluster.init import write_new
from relay.cluster.jetstream import ApiError, NoMajority, remove_server, stream_info
from relay.cluster.membership import Changed, with_host, without_host
from relay.cluster.natswire import Wire, WireLost
from relay.cluster.requests import DrainAsked, HostStatus
from relay.settings.clustering import ClusterSettings
from relay.settings.load import draft_settings

_ANSWER_S: Final = 5.0


def add(path: Path, cluster: ClusterSettings, host: str, to: Path) -> Iterator[str]:
    """Write a file to `to` that has a host more, "NAME=ADDRESS"; yield what is to be done.

    Raises:
        NotChanged, SettingsError, click.ClickException: there is no new file; one line says why.
    """
    changed = with_host(_read(path), cluster, host)
    name, _, address = host.partition("=")
    _write(to, changed, name)
    yield f"{to} is written, with {name} at the end of its hosts"
    if changed.is_signed_anew:
        yield (
            f"The certificate was not for {address}: there is a new one, of the same authority, so"
            " hosts with the old file and with the new one let each other in."
        )
    others = ", ".join(cluster.addresses)
    yield f"1. copy it to every host, in place of {path}: {others}, and {name}"
    yield f"2. start {name}: relay serve --config {path} --host-name {name}"
    yield f"3. restart {others}, one after another, each when `relay cluster status` finds all well"
    yield f"From then on {name} counts in majorities, and takes its share, a range at a time."


def remove(path: Path, cluster: ClusterSettings, name: str, to: Path) -> Iterator[str]:
    """Write a file without a host to `to`, and have the engines go on without it; it is gone.

    Raises:
        NotChanged, SettingsError, click.ClickException: nothing was changed; one line says why.
        click.Abort: it was not confirmed, likewise.
    """
    changed = without_host(_read(path), cluster, name)
    with Caller(cluster) as caller:
        gone = _require_gone(caller, name)
        _write(to, changed, next(iter(each for each in cluster.addresses if each != name)))
        try:
            if cluster.has_own_engine:
                _require_copies(caller, name)
            click.confirm(
                f"{name} is to be gone for good: what it has on its disk counts for nothing from"
                " then on, and it may come back only as a new host with an empty one. Go on?",
                abort=True,
            )
            if click.prompt("Type its name to remove it", default="", show_default=False) != name:
                raise click.Abort
            if gone.drained:  # or another one of that name would be, too
                caller.settle(DrainAsked(name, drained=False))
            if cluster.has_own_engine:
                _remove_server(cluster, name)
        except BaseException:
            to.unlink(missing_ok=True)
            raise
    others = ", ".join(each for each in cluster.addresses if each != name)
    yield f"{name} is removed, and {to} is written without it"
    yield f"1. copy it to every other host, in place of {path}: {others}"
    yield f"2. restart {others}, one after another, each when `relay cluster status` finds all well"
    yield f"Never start {name} with its old data again."


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None


def _write(to: Path, changed: Changed, host: str) -> None:
    """Write the file, and take it back where no host could be started with it."""
    write_new(to, changed.text)
    try:
        draft_settings(to, {"cluster.host_name": host}).checked()
    except BaseException:
        to.unlink(missing_ok=True)
        raise


def _require_gone(caller: Caller, name: str) -> HostStatus:
    """Return how a host is that is gone."""
    said = [status for status in caller.statuses().values() if status.has_majority]
    if not said:
        raise click.ClickException("no host sees a majority: nothing can be removed now")
    best = said[0]
    host = best.hosts.get(name, HostStatus("silent"))  # the hosts may have the new file by now
    if host.life != "silent":
        raise click.ClickException(
            f"host {name} lives: `relay cluster drain {name}`, and stop it then"
        )
    if owned_by(best, name):
        raise click.ClickException(f"host {name} owns ranges yet: wait until others have them")
    return host


def _require_copies(caller: Caller, name: str) -> None:
    """Make sure that all that is on a host's disk is on those of others, whole."""
    cluster = caller.cluster
    names = [f"KV_{cluster.name}", *(f"{cluster.name}-{each}" for each in range(cluster.ranges))]
    for stream in names:
        try:
            info = stream_info(caller.wire(), stream, _ANSWER_S)
        except (ApiError, NoMajority, TimeoutError, WireLost) as error:
            raise click.ClickException(f"stream {stream} cannot be asked for: {error}") from None
        copies = info.cluster
        if info.config.num_replicas == 1:
            raise click.ClickException(
                f"stream {stream} has one copy alone, which would come back empty: it is none of"
                " this version's; see to it first"
            )
        # By number: engines that have started since do not know the names of who was lost before.
        whole = [each.name for each in copies.replicas if each.name != name and each.current]
        if copies.leader:
            whole.append(copies.leader)
        if len(whole) < info.config.num_replicas - 1:
            raise click.ClickException(
                f"stream {stream} has too few whole copies without {name}, of"
                f" {', '.join(whole) or 'nobody'}: wait until others have caught up, and ask again"
            )


def _remove_server(cluster: ClusterSettings, name: str) -> None:
    login = login_of(cluster, user=SYSTEM_USER)
    servers = [each for each in servers_of(cluster) if each.host != cluster.addresses[name]]
    try:
        wire = Wire(servers, login, name="operator", connect_s=CONNECT_S)
        with contextlib.closing(wire):
            remove_server(wire, name, _ANSWER_S)
    except (WireLost, ApiError, TimeoutError) as error:
        raise click.ClickException(f"the engines do not remove {name}: {error}") from None
