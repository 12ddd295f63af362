"""Where the copies of each range are to be: which host prefers to own it, who stands by.

It follows from what all hosts know alike, so nobody has to tell it: the list of hosts, in the order
in which they came, and which of them are to have nothing. Owners are balanced within one. A host
that comes, at the end of the list, takes its share and moves nothing else. One that is drained
gives each range to the one that stood by first, and moves nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from zlib import crc32

import msgspec


class Plan(msgspec.Struct, frozen=True):
    """What placement follows from; `hosts` in the order in which they came, without witnesses.

    Hosts of `away` are to have nothing: they are drained, or lost for good, and keep their place in
    the list. `pins` are ranges that an operator has moved, and where to. `begins` are the records
    behind which the logs begin, of each range, where that is a backup's end.
    """

    hosts: tuple[str, ...]
    ranges: int
    standbys: int
    away: frozenset[str] = frozenset()
    pins: Mapping[int, str] = {}
    begins: tuple[int, ...] = ()

    def begins_behind(self, range_: int) -> int:
        """Return the record behind which the log of a range begins: no store is of use before."""
        return self.begins[range_] if self.begins else 0

    @property
    def origin(self) -> int:
        """A number that differs where `begins` does; 0: the logs begin empty."""
        return crc32(msgspec.msgpack.encode(self.begins)) if self.begins else 0

    @property
    def mark(self) -> int:
        """A number that differs where the plan does: only hosts of one plan move ranges."""
        parts = (
            (self.hosts, self.ranges, self.standbys),
            (sorted(self.away), sorted(self.pins.items())),
        )
        return crc32(msgspec.msgpack.encode(parts))

    def ranked(self, range_: int) -> tuple[str, ...]:
        """Return all hosts that may have a copy of a range, the first in rank first."""
        ranked = _ranked(range_, self.hosts, self.ranges, self.away)
        pin = self.pins.get(range_)
        if pin not in ranked:
            return ranked
        return (pin, *(host for host in ranked if host != pin))


def copies(
    range_: int,
    hosts: Sequence[str],
    standbys: int,
    *,
    ranges: int,
    away: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Return the hosts that are to have a copy of a range: who prefers to own it, then standbys.

    There are fewer where fewer hosts are left. See `Plan` for what comes in.
    """
    return Plan(tuple(hosts), ranges, standbys, away).ranked(range_)[: standbys + 1]


@lru_cache(maxsize=1024)
def _ranked(
    range_: int, hosts: tuple[str, ...], ranges: int, away: frozenset[str]
) -> tuple[str, ...]:
    """Rank by who would be the owner if all before were away."""
    ranked: list[str] = []
    while len(ranked) < len(frozenset(hosts) - away):
        ranked.append(_owners(hosts, ranges, away | frozenset(ranked))[range_])
    return tuple(ranked)


@lru_cache(maxsize=1024)
def _owners(hosts: tuple[str, ...], ranges: int, away: frozenset[str]) -> tuple[str, ...]:
    """Return the owner of each range; at least one host is not away."""
    owners = [hosts[0]] * ranges
    here = [hosts[0]]
    for host in hosts[1:]:
        # It takes one range after the other from whoever has most, until nobody has two more.
        here.append(host)
        while True:
            richest = max(here, key=owners.count)
            if owners.count(richest) - owners.count(host) < 2:
                break
            owners[owners.index(richest)] = host
    for host in hosts:
        if host in away:
            here.remove(host)
            for range_ in range(ranges):
                if owners[range_] == host:
                    owners[range_] = min(here, key=owners.count)
    return tuple(owners)
