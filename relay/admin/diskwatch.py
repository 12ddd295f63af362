"""Looks now and then at how much the stores hold, so that it can be told how fast they grow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from relay import clock
from relay.admin.asker import Asker, Seat
from relay.admin.growth import Growth, Look, Outlook
from relay.inquiries.figures import AskFigures, Figures
from relay.process.eventloop import begin_task


class DiskWatch:
    """The one of an admin."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._growth = Growth()
        self._looking: asyncio.Task[None] | None = None

    def refresh(self) -> None:
        """Begin to look, if it is time to; where a worker does not say, the next call tries again.

        Called at each sign of life.
        """
        if self._looking is None and self._growth.is_due(_now_s()):
            self._looking = begin_task(self._look())

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    def outlook(self, told: Mapping[Seat, Figures]) -> Outlook | None:
        """Return how it goes on from what processes told now; None where a worker did not."""
        seats = [seat for seat in self._asker.seats if seat.role == "worker"]
        if not all(seat in told for seat in seats):
            return None
        return self._growth.outlook(_look_at([told[seat] for seat in seats]))

    async def _look(self) -> None:
        try:
            told, silent = await self._asker.ask_all("worker", AskFigures())
            if told and not silent:
                self._growth.add(_look_at([*told.values()]))
        finally:
            self._looking = None


def _look_at(workers: list[Figures]) -> Look:
    return Look(
        _now_s(),
        sum(int(each.gauges["store_bytes"]) for each in workers),
        min(int(each.gauges["room_bytes"]) for each in workers),
    )


def _now_s() -> float:
    return clock.clock_ms() / 1000
