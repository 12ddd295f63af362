"""What is amiss in a cluster, in words, from what its hosts say. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from relay.cluster.requests import ClusterStatus, HostStatus, RangeStatus
from relay.cluster.view import CAUGHT_UP_RECORDS
from relay.disk.accord import Origin

# A log that is trimmed has ten minutes of records, and those that a standby lacks.
FULL: Final = 0.7


class Overview(msgspec.Struct, frozen=True):
    """A cluster as its hosts see it: one of them, and what the others add.

    `answered` are the hosts whose agents said something. `amiss` is empty where all is well.
    """

    cluster: str
    answered: tuple[str, ...]
    amiss: tuple[str, ...]
    status: ClusterStatus


def overview(
    cluster: str, hosts: Collection[str], said: Mapping[str, ClusterStatus], *, standbys: int
) -> Overview:
    """Return what is to be told of a cluster where at least one host has `said` something.

    Whoever sees a majority knows best; of several that do, who is heard by most.
    """
    best = max(said.values(), key=lambda each: (each.has_majority, len(_living(each))))
    answered = tuple(host for host in hosts if host in said)
    amiss = tuple(_amiss(best, said, standbys=standbys))
    return Overview(cluster=cluster, answered=answered, amiss=amiss, status=best)


def lag_of(range_: RangeStatus, host: str) -> int:
    """Return how many records of its log a standby lacks."""
    return max(0, range_.last - range_.standing[host])


def _living(status: ClusterStatus) -> list[str]:
    return [name for name, host in status.hosts.items() if host.life == "living"]


def _amiss(
    best: ClusterStatus, said: Mapping[str, ClusterStatus], *, standbys: int
) -> Iterator[str]:
    living = _living(best)
    if not best.has_majority:
        count = len(best.hosts)
        yield f"{best.seen_by} sees {len(living)} of {count} hosts, no majority: it serves nobody"
    for name, host in best.hosts.items():
        if name in said and name not in living and host.life != "agentless":
            yield f"host {name} answers, but {best.seen_by} does not hear it: it is cut off"
        elif host.life == "agentless":
            yield f"host {name} has no agent, and its workers serve on: see its log"
        elif name not in living:
            yield f"host {name} is silent"
        elif name not in said:
            yield f"host {name} lives, but its agent does not answer"
        if host.lacks_room and name in living:
            yield f"the disk of {name} is full: it gives its ranges away, and needs room"
        if name in living:
            yield from _amiss_of_accord(name, host, best.accord)
        for range_, lacks in host.behind.items():
            if name in living:
                yield f"the engine of {name} lacks {lacks} records of the log of range {range_}"
    for name, other in said.items():
        if name in living and other.isolated:
            yield f"host {name} serves nobody: it was without a majority"
    may_have = [name for name in best.hosts if name in living and best.hosts[name].serves]
    wanted = min(standbys, len(may_have) - 1)
    for number, each in enumerate(best.ranges):
        yield from _amiss_in(number, each, wanted, has_engines=best.has_engines)


def _amiss_of_accord(name: str, host: HostStatus, accord: Origin) -> Iterator[str]:
    if host.accord_refused:
        yield f"host {name} does not take settings {accord.number}: {host.accord_refused}"
    elif host.accord and host.accord != accord.number:
        yield f"host {name} goes by settings {host.accord}, and not by {accord.number}"


def _amiss_in(number: int, range_: RangeStatus, wanted: int, *, has_engines: bool) -> Iterator[str]:
    if range_.lost:
        yield f"range {number}: its log lost what {range_.lost} has, so nobody takes it over"
    if not range_.owner:
        yield f"range {number} is owned by nobody: its users get no ack"
    if has_engines and not range_.leader:
        yield f"the log of range {number} is led by nobody"
    if range_.fill >= FULL:
        yield f"the log of range {number} is {range_.fill:.0%} full: see which standby lacks it"
    if len(range_.standing) < wanted:
        yield f"range {number} has {len(range_.standing)} of {wanted} standbys"
    for host in range_.standing:
        if (lag := lag_of(range_, host)) > CAUGHT_UP_RECORDS:
            yield f"the standby of range {number} on {host} lacks {lag} records"
