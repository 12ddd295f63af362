"""Who chats with whom, on which host; which loads; and what of it fits into the time."""

from __future__ import annotations

from typing import Final, NamedTuple

from relay.protocol.slots import ShardMap
from tests.bench.peers.drive import Load

PARTS: Final = ("price", "loss", "move", "away")
HOSTS: Final = "abc"
# What is expected, on two cores, of what is not measured: to start and stop, and to be whole again.
ONE_HOST_S: Final = 4.0
HOSTS_S: Final = 35.0  # ranges are spread once all have been there for 20 s
WARM_UP_S: Final = 1.0
LOSS_S: Final = 45.0  # until all are served, and the lost host is back and owns its share
MOVE_S: Final = 12.0  # until another engine leads its log
BACK_S: Final = 40.0  # until the host that was away has caught up, and owns its share
_FIRST_NUMBER: Final = 918_000_000_000


class Person(NamedTuple):
    """A user: where it connects first, and whom it writes to, whose mailbox is in which range."""

    name: str
    other: str
    range_: int
    host: int


class Side(NamedTuple):
    """What is measured beside the others: one host, or several with so many records in flight."""

    hosts: int
    in_flight: int = 0

    @property
    def name(self) -> str:
        """What it is called."""
        if self.hosts == 1:
            return "one host"
        return f"{self.hosts} hosts, {self.in_flight} in flight"


def loads(rate: float) -> list[Load]:
    """Return the loads of the price."""
    return [
        Load("Saturation: 8 messages under way a pair", window=8),
        Load(f"Time to spare: {rate:,.0f} messages a second", rate=rate),
    ]


def people(count: int, *, ranges: int, hosts: int, only: int | None = None) -> list[Person]:
    """Return `count` users in pairs, an even number, spread over ranges and hosts alike.

    What they write goes to every range as often; with `only`, to that range alone.
    """
    assert count % 2 == 0, f"{count} users are no pairs"
    shards = ShardMap(ranges)
    names: list[str] = []
    number = _FIRST_NUMBER
    for index in range(count):
        wanted = index % ranges if only is None else only
        while shards.owner_of(str(number)) != wanted:
            number += 1
        names.append(str(number))
        number += 1
    return [
        Person(name, other := names[index ^ 1], shards.owner_of(other), _host(index, ranges, hosts))
        for index, name in enumerate(names)
    ]


def _host(index: int, ranges: int, hosts: int) -> int:
    """Return a host so that each has people of each range, and most pairs are on two."""
    return (index // ranges + index) % hosts


def round_s(seconds: float) -> float:
    """Return what one round of the price takes, of one host and of several that are there."""
    return ONE_HOST_S + 2 * len(loads(1)) * (WARM_UP_S + seconds)
