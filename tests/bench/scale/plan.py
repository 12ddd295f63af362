"""Which sizes this machine can show, on which cores, under which loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

SIZES: Final = (1, 2, 4, 8)
_PAIRS: Final = 100  # of each worker
_LOADS_PER_CORE: Final = 2  # load processes at most for each of the relay's cores
_MOST_LOADS: Final = 64


class Size(NamedTuple):
    """N workers and N fronts. Clean: on N cores of their own, with others for the load."""

    workers: int
    relay_cpus: tuple[int, ...]  # empty: not pinned, and neither is the load
    load_cpus: tuple[int, ...]
    load_processes: int

    @property
    def is_clean(self) -> bool:
        """Whether the load takes nothing from the relay."""
        return bool(self.relay_cpus)


class Load(NamedTuple):
    """A load that grows with the size: a window a pair, or a rate for each worker."""

    name: str
    window: int = 0
    rate: float = 0.0


def sizes(cpus: Sequence[int], wanted: Sequence[int] = SIZES) -> list[Size]:
    """Return the sizes that these CPUs can show, smallest first.

    A worker and a front share a core, as one core carries both when they are busy. A size is clean
    where as many cores are left for the load. Up to as many workers as cores it is shown all the
    same, crowded: nothing is pinned, and the load takes its part of the cores.
    """
    found = []
    for workers in sorted(set(wanted)):
        if 2 * workers <= len(cpus):
            spare = tuple(cpus[workers:])
            processes = min(len(spare), _LOADS_PER_CORE * workers, _MOST_LOADS)
            found.append(Size(workers, tuple(cpus[:workers]), spare, processes))
        elif workers <= len(cpus):
            found.append(Size(workers, (), (), max(1, len(cpus) // 2)))
    return found


def too_large(cpus: Sequence[int], wanted: Sequence[int] = SIZES) -> list[int]:
    """Return the sizes that are skipped, since this machine has fewer cores."""
    return [workers for workers in sorted(set(wanted)) if workers > len(cpus)]


def command(size: Size, load: Load, *, seconds: float, record: str) -> list[str]:
    """Return the load generator's arguments for one run."""
    given = [
        *("chat", "--pairs", str(_PAIRS * size.workers), "--procs", str(size.load_processes)),
        *("--spawn", f"--workers {size.workers} --fronts {size.workers}"),
        *("--warm-up", "1s", "--for", f"{seconds:g}s", "--json", record),
    ]
    if load.rate:
        given += ["--rate", f"{load.rate * size.workers:g}"]
    else:
        given += ["--window", str(load.window)]
    if size.is_clean:
        given += ["--relay-cpus", _list(size.relay_cpus), "--load-cpus", _list(size.load_cpus)]
    return given


def _list(cpus: Sequence[int]) -> str:
    return ",".join(map(str, cpus))
