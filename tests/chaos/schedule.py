"""Which fault comes when: drawn from a seed before the run, so that a run can be told again."""

from __future__ import annotations

from random import Random
from typing import Literal

import msgspec

Target = Literal["worker", "front", "supervisor", "tree"]
Deed = Literal["kill", "pause", "renew"]

# What dies how often. Workers most, since they hold what was promised.
_KILLS: dict[Target, int] = {"worker": 45, "front": 25, "supervisor": 15, "tree": 15}
_PAUSES: dict[Target, int] = {"worker": 50, "front": 35, "supervisor": 15}
# Pauses and rolling restarts besides, for each kill.
_PAUSES_PER_KILL = 0.5
_RENEWALS_PER_KILL = 0.1
# A kill is sometimes followed at once by another one, which meets processes in their boot.
_ENCORE = 0.2
_ENCORE_S = (0.05, 1.0)
_PAUSE_S = (1.0, 3.0)


class Fault(msgspec.Struct, frozen=True):
    """SIGKILL, or SIGSTOP and after `pause_s` SIGCONT, to one process; "tree" is all of them.

    "renew" is the SIGUSR2 that asks the supervisor for a rolling restart. `at_s` counts from the
    start of the load.
    """

    at_s: float
    deed: Deed
    target: Target
    index: int = 0
    pause_s: float = 0.0

    def __str__(self) -> str:
        name = f"{self.target} {self.index}" if self.target in ("worker", "front") else self.target
        pause = f" for {self.pause_s:.1f} s" if self.deed == "pause" else ""
        return f"{self.deed} {name}{pause}"


def draw_faults(
    random: Random, *, seconds: float, kills_per_minute: float, workers: int, fronts: int
) -> list[Fault]:
    """Return the faults of a run in order of time, all within `seconds`.

    There are exactly as many kills as the rate asks for, at independent times.
    """
    counts = {"worker": workers, "front": fronts}

    def draw(deed: Deed, weights: dict[Target, int], at_s: float) -> Fault:
        [target] = random.choices(list(weights), list(weights.values()))
        index = random.randrange(counts.get(target, 1))
        pause_s = random.uniform(*_PAUSE_S) if deed == "pause" else 0.0
        return Fault(at_s, deed, target, index, pause_s)

    faults: list[Fault] = []
    kills = round(seconds / 60 * kills_per_minute)
    while len(faults) < kills:
        at_s = random.uniform(0, seconds)
        faults.append(draw("kill", _KILLS, at_s))
        if len(faults) < kills and random.random() < _ENCORE:
            encore_s = min(seconds, at_s + random.uniform(*_ENCORE_S))
            faults.append(draw("kill", _KILLS, encore_s))
    faults += [
        draw("pause", _PAUSES, random.uniform(0, seconds))
        for _ in range(round(kills * _PAUSES_PER_KILL))
    ]
    faults += [
        Fault(random.uniform(0, seconds), "renew", "supervisor")
        for _ in range(round(kills * _RENEWALS_PER_KILL))
    ]
    return sorted(faults, key=lambda fault: fault.at_s)
