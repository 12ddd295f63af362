"""The relay under test as a run sees it, on one host or on several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any, Protocol

from .checker import Violation
from .ledger import Ledger


class Ground(Protocol):
    """Processes that are started, suffer the faults of a schedule, and leave nothing behind."""

    done: Counter[str]  # faults, by deed and target
    story: list[tuple[float, str]]

    def urls(self, user: int) -> list[str]:
        """Return where the user of that number connects, its first choice first."""

    async def start(self) -> None:
        """Start, and return when the relay serves; from then on it is kept running.

        Raises:
            FleetError: it does not come up.
        """

    async def ready(self) -> None:
        """Wait until all of it serves.

        Raises:
            FleetError: it does not, or has ended of itself.
        """

    async def failed(self) -> None:
        """Return never; raise FleetError when the relay ends of itself."""

    async def storm(self) -> None:
        """Carry out the faults, each at its time."""

    async def calm(self) -> None:
        """End what faults are still on."""

    def orphans(self) -> list[Any]:
        """Return the living processes that no living supervisor started."""

    async def books(self) -> list[Violation]:
        """Return what is wrong with what the relay has written, when it writes no more."""

    async def stop(self) -> list[Violation]:
        """Stop the relay in order; return what is wrong with how it went."""

    def complaints(self) -> list[Violation]:
        """Return what the log tells of crashes, hangs and errors that no fault explains."""

    def report(self, ledger: Ledger, steady: Collection[str]) -> list[str]:
        """Return what this relay has to tell beside what every run tells.

        `steady` are the users who were always there.
        """

    def close(self) -> None:
        """End whatever there is of it."""
