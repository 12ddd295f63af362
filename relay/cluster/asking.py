"""What `relay cluster` says to an operator, and waits for: how it is, drains and moves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import click

from relay.cluster.caller import Caller
from relay.cluster.health import Overview, lag_of
from relay.cluster.jetstream import ApiError, get_batch
from relay.cluster.natswire import WireLost
from relay.cluster.requests import ClusterStatus, DrainAsked, HostStatus, MoveAsked
from relay.operating.tables import table

_READ_S: Final = 2.0
# As the server writes the time of a record: RFC 3339, of nine digits behind the point.
_TIME: Final = "Nats-Time-Stamp"


def words_of(seen: Overview, addresses: dict[str, str]) -> str:
    """Return how a cluster is, for people."""
    status = seen.status
    living = sum(host.life == "living" for host in status.hosts.values())
    lines = [
        f"cluster {seen.cluster}, seen by {status.seen_by}: {living} of {len(status.hosts)} live"
    ]
    if status.accord.number:
        lines.append(f"settings {status.accord}")
    elif status.has_majority:
        lines.append("settings: each host goes by its own files, until one is told to reload")
    else:
        lines.append("settings: nobody can tell without a majority")
    if status.moving is not None:
        lines.append(f"range {status.moving} is being moved")
    lines.append("")
    lines.append(
        table(
            ("host", "address", "life", "version", "settings", "fronts", "owns", "leads", "state"),
            [
                (
                    name,
                    addresses.get(name, ""),
                    host.life,
                    host.version,
                    str(host.accord or ""),
                    str(host.fronts),
                    str(owned_by(status, name)),
                    str(sum(each.leader == name for each in status.ranges)),
                    _state_of(host),
                )
                for name, host in status.hosts.items()
            ],
        )
    )
    lines.append("")
    lines.append(
        table(
            ("range", "owner", "epoch", "log", "leader", "standbys"),
            [
                (
                    str(number),
                    each.owner or "nobody",
                    str(each.epoch),
                    str(each.last),
                    each.leader,
                    ", ".join(
                        f"{host} -{lag}" if (lag := lag_of(each, host)) else host
                        for host in each.standing
                    ),
                )
                for number, each in enumerate(status.ranges)
            ],
        )
    )
    return "\n".join(lines)


def _state_of(host: HostStatus) -> str:
    if host.drained:
        return "drained"
    if host.lacks_room:
        return "full"
    return "stops" if host.stops else ""


def owned_by(status: ClusterStatus, host: str) -> int:
    """Return how many ranges a host owns."""
    return sum(each.owner == host for each in status.ranges)


def drain(caller: Caller, host: str, *, within_s: float) -> Iterator[str]:
    """Have a host own nothing, and wait until it does; yield how far that is.

    Raises:
        click.ClickException: it was refused, or takes longer than `within_s`, and goes on.
    """
    caller.settle(DrainAsked(host))
    yield f"{host} is to own nothing from here on; that is remembered until --undo"
    left = -1
    for status in caller.watch(within_s=within_s):
        if not status.hosts[host].drained:
            continue  # it has not heard of it yet
        lost = [number for number, each in enumerate(status.ranges) if each.lost]
        stay = [number for number in lost if status.ranges[number].owner in ("", host)]
        owned = owned_by(status, host) - sum(status.ranges[n].owner == host for n in stay)
        if owned == 0 and stay:
            raise click.ClickException(_words_of_lost(status, stay[0]))
        if owned == 0:
            yield f"{host} owns nothing, and sends its clients away; it may stop"
            return
        if owned != left:
            left = owned
            yield f"{host} owns {owned} ranges yet"
    raise click.ClickException(
        f"{host} owns ranges after {within_s:g} s yet; they go on moving: `relay cluster status`"
        " says what is amiss"
    )


def _words_of_lost(status: ClusterStatus, number: int) -> str:
    """Return what an operator has to know of a range that can go nowhere."""
    range_ = status.ranges[number]
    owner = f"{range_.owner} keeps it" if range_.owner else "nobody owns it"
    return (
        f"range {number} cannot move, and {owner}: its log has less than {range_.lost} has."
        " Keep the data of all hosts; what to do is in docs/operating.md, `A log that lost data`."
        " Other ranges may move."
    )


def move(caller: Caller, range_: int, to: str, *, within_s: float) -> Iterator[str]:
    """Have a range be owned by a host, and wait until it is; yield how that went.

    Raises:
        click.ClickException: it was refused, or takes longer than `within_s`, and goes on.
    """
    before = None
    for status in caller.watch(within_s=_READ_S):
        if range_ < len(status.ranges):
            before = status.ranges[range_]
            if before.lost:
                raise click.ClickException(_words_of_lost(status, range_))
        break
    caller.settle(MoveAsked(range_, to))
    if before is not None and before.owner == to:
        yield f"range {range_} is owned by {to} already, and stays there"
        return
    yield f"range {range_} is to be owned by {to}; it goes there once it has all of its log"
    for status in caller.watch(within_s=within_s):
        now = status.ranges[range_]
        if now.owner == to:
            stood = _pause_s(caller, range_, now.epoch)
            how_long = "" if stood is None else f"; its log took no record for {stood:.2f} s"
            yield f"range {range_} is owned by {to}, since record {now.epoch}{how_long}"
            return
    raise click.ClickException(
        f"range {range_} is not there after {within_s:g} s; it goes on: `relay cluster status`"
    )


def _pause_s(caller: Caller, range_: int, epoch: int) -> float | None:
    """Return the time between an owner's first record and the last one before; None: unknown."""
    stream = f"{caller.cluster.name}-{range_}"
    try:
        records = get_batch(caller.wire(), stream, epoch - 1, 2, 1 << 20, _READ_S)
    except (WireLost, ApiError, TimeoutError, click.ClickException):
        return None
    if [each.sequence for each in records] != [epoch - 1, epoch]:
        return None
    try:
        last, first = (_seconds(each.headers.get(_TIME, "")) for each in records)
    except ValueError:
        return None
    return first - last


def _seconds(stamp: str) -> float:
    """Return a time of a record, in seconds since 1970."""
    whole, _, part = stamp.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{part or 0}")
