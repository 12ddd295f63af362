"""What an operator's command asks the agents of a cluster, from any of its hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from relay.cluster.access import login_of, servers_of
from relay.cluster.names import agent_of
from relay.cluster.natswire import Wire, WireLost
from relay.cluster.requests import (
    Answer,
    ClusterStatus,
    Refused,
    Request,
    RequestUnreadable,
    StatusAsked,
    decode_answer,
    encode,
)
from relay.errors import SettingsError
from relay.operating.tables import table
from relay.settings.clustering import ClusterSettings
from relay.settings.load import draft_settings

CONNECT_S: Final = 2.0
# An agent answers at once, or when a majority has what it was asked for.
ANSWER_S: Final = 6.0
NO_RESPONDERS: Final = 503


def cluster_of(path: Path) -> ClusterSettings:
    """Return the cluster of a settings file, seen from the first of its hosts.

    Raises:
        click.ClickException: it cannot be read, or there is none in it.
    """
    hosts = draft_settings(path, {}).settings.cluster.addresses
    if not hosts:
        raise click.ClickException(
            f"{path} names no hosts: `relay cluster init` writes such a file"
        )
    try:
        settings = draft_settings(path, {"cluster.host_name": next(iter(hosts))}).checked()
    except SettingsError as error:
        raise click.ClickException("; ".join(error.problems)) from None
    return settings.cluster


def ask_one(cluster: ClusterSettings, request: Request) -> Answer:
    """Return the answer of the first host whose agent gives one.

    Raises:
        click.ClickException: none does.
    """
    try:
        wire = Wire(servers_of(cluster), login_of(cluster), name="operator", connect_s=CONNECT_S)
    except WireLost as error:
        raise click.ClickException(f"no host can be reached: {error}") from None
    silent = []
    try:
        for host in cluster.addresses:
            try:
                said = wire.request(
                    agent_of(cluster.name, host), encode(request), timeout_s=ANSWER_S
                )
            except TimeoutError:
                silent.append(host)
                continue
            if said.status == NO_RESPONDERS:
                silent.append(host)
                continue
            return decode_answer(said.payload)
    except (WireLost, RequestUnreadable) as error:
        raise click.ClickException(str(error)) from None
    finally:
        wire.close()
    raise click.ClickException(f"no agent answers, of none of {', '.join(silent)}")


def settle(path: Path, request: Request) -> str:
    """Ask for something to hold from here on; return what was said.

    Raises:
        click.ClickException: it was refused, or nobody answers.
    """
    answer = ask_one(cluster_of(path), request)
    match answer:
        case Refused(reason):
            raise click.ClickException(reason)
        case ClusterStatus():
            raise click.ClickException("an agent answered something else: is it of this version?")
    return answer.said


def status_lines(path: Path) -> Iterator[str]:
    """Yield how the cluster is, as the first agent that answers sees it.

    Raises:
        click.ClickException: nobody answers.
    """
    cluster = cluster_of(path)
    status = ask_one(cluster, StatusAsked())
    if not isinstance(status, ClusterStatus):
        said = status.reason if isinstance(status, Refused) else status.said
        raise click.ClickException(said)
    living = sum(host.life == "living" for host in status.hosts.values())
    count = len(status.hosts)
    sees = "" if status.has_majority else ", which is no majority: nothing is served"
    yield f"cluster {cluster.name}, seen by {status.seen_by}: {living} of {count} live{sees}"
    if status.moving is not None:
        yield f"range {status.moving} is being moved"
    yield ""
    yield table(
        ("host", "address", "life", "version", "fronts", "owns", "state"),
        [
            (
                name,
                cluster.addresses.get(name, ""),
                host.life,
                host.version,
                str(host.fronts),
                str(sum(each.owner == name for each in status.ranges)),
                "drained" if host.drained else "stops" if host.stops else "",
            )
            for name, host in status.hosts.items()
        ],
    )
    for number, each in enumerate(status.ranges):
        if each.lost:
            yield f"range {number}: its log lost what {each.lost} has, so nobody takes it over"
    yield ""
    yield table(
        ("range", "owner", "epoch", "log", "leader", "standbys"),
        [
            (
                str(number),
                each.owner or "nobody",
                str(each.epoch),
                str(each.last),
                each.leader,
                ", ".join(f"{host} {applied}" for host, applied in each.standing.items()),
            )
            for number, each in enumerate(status.ranges)
        ],
    )
