"""Which fault of which host comes when: drawn from a seed before the run.

A majority is kept: those that take a host, or its vote, never overlap, and the one that was taken
has time to follow again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, Literal, get_args

import msgspec

# What takes a host, or with its engine its vote on what is committed. The supervisor takes all of
# its children along.
Taking = Literal["kill host", "cut", "freeze", "power cut", "kill engine", "kill supervisor"]
# What a process, or an operator, does to a host that goes on.
Small = Literal["kill", "move", "drain"]
Deed = Taking | Small
Target = Literal["worker", "front", "agent", ""]

TAKINGS: Final[tuple[Taking, ...]] = get_args(Taking)
SMALL: Final[tuple[Small, ...]] = get_args(Small)
# Who is started again at once by whoever watches it.
_AT_ONCE: Final = ("kill engine", "kill supervisor")
# From the return of a host to the next one's loss. Who led logs needs some 17 s to follow again.
APART_S: Final = 25.0
_APART_MORE_S: Final = 5.0
_FIRST_S: Final = (4.0, 8.0)
# Longer than a silence that counts as a loss, shorter and longer than an election.
_AWAY_S: Final = (3.0, 11.0)
# Longer than it takes to move some ranges away, and not as long as for all, now and then.
_DRAINED_S: Final = (10.0, 30.0)
_KILLS: Final[dict[Target, int]] = {"worker": 60, "front": 25, "agent": 15}


class HostFault(msgspec.Struct, frozen=True):
    """What happens to a host at `at_s` of the load; `away_s` later it is back.

    `target` and `index` are of the process that is killed there, among those of its kind; a move
    is of the range `index`, to that host.
    """

    at_s: float
    deed: Deed
    host: str
    away_s: float = 0.0
    target: Target = ""
    index: int = 0

    @property
    def takes(self) -> bool:
        """Whether it takes a host, or its vote."""
        return self.deed in TAKINGS

    def __str__(self) -> str:
        match self.deed:
            case "kill":
                return f"kill {self.target} {self.index} of {self.host}"
            case "move":
                return f"move range {self.index} to {self.host}"
            case "drain":
                return f"drain {self.host} for {self.away_s:.1f} s"
            case "kill engine" | "kill supervisor":
                return f"{self.deed} of {self.host}"
        return f"{self.deed} {self.host} for {self.away_s:.1f} s"


def draw_host_faults(
    random: Random,
    *,
    seconds: float,
    hosts: Sequence[str],
    ranges: int,
    kills_per_minute: float,
    moves_per_minute: float,
    drains_per_minute: float,
) -> list[HostFault]:
    """Return the faults of a run in order of time, all over within `seconds`.

    Those that take a host come as close as they may, each kind once before any comes again. One
    host at a time is drained, and any host may be lost meanwhile.
    """
    faults = list(_takings(random, seconds, hosts))
    for _ in range(round(seconds / 60 * kills_per_minute)):
        [target] = random.choices(list(_KILLS), list(_KILLS.values()))
        at_s, host = random.uniform(0, seconds), random.choice(hosts)
        faults.append(HostFault(at_s, "kill", host, target=target, index=random.randrange(ranges)))
    for _ in range(round(seconds / 60 * moves_per_minute)):
        at_s, host = random.uniform(0, seconds), random.choice(hosts)
        faults.append(HostFault(at_s, "move", host, index=random.randrange(ranges)))
    faults += _drains(random, seconds, hosts, count=round(seconds / 60 * drains_per_minute))
    return sorted(faults, key=lambda fault: fault.at_s)


def _drains(
    random: Random, seconds: float, hosts: Sequence[str], *, count: int
) -> Iterator[HostFault]:
    for number in range(count):
        share_s = seconds / count
        away_s = min(random.uniform(*_DRAINED_S), share_s / 2)
        at_s = number * share_s + random.uniform(0, share_s - away_s)
        yield HostFault(at_s, "drain", random.choice(hosts), away_s)


def _takings(random: Random, seconds: float, hosts: Sequence[str]) -> list[HostFault]:
    found: list[HostFault] = []
    left: list[Taking] = []
    at_s = random.uniform(*_FIRST_S)
    while True:
        if not left:
            left = random.sample(TAKINGS, len(TAKINGS))
        deed = left.pop()
        away_s = 0.0 if deed in _AT_ONCE else random.uniform(*_AWAY_S)
        if at_s + away_s > seconds:
            return found
        found.append(HostFault(at_s, deed, random.choice(hosts), away_s))
        at_s += away_s + APART_S + random.uniform(0, _APART_MORE_S)
