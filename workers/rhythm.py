"""When a worker takes its next batch: at once, or a little later, so that more shares it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from relay.bus.gathering import Gathering, Totals
from relay.process.demand import Demand
from relay.settings.serving import FlowSettings
from workers.inbox import Haste, Received

_clock_s: Final = time.perf_counter


class Rhythm:
    """What `relay.bus.gathering` decides, carried out; its batches are those of the worker."""

    def __init__(self, flow: FlowSettings, rest: Callable[[float], object] | None = None) -> None:
        """Go by `flow`; `rest` lets so many seconds pass, another than doing nothing."""
        self._gathering = Gathering(flow.gather_s, flow.ride_s)
        self._demand = Demand()
        self._rest = rest or time.sleep
        self._has_paused = False
        self._rides = False  # something waits for company
        self._together = 0  # so many sent what was received last and cannot wait
        self._work = self._asked = 0

    def adopt(self, flow: FlowSettings) -> None:
        """Gather for as long as that says from here on."""
        self._gathering.adopt(flow.gather_s, flow.ride_s)

    def close(self) -> None:
        """Measure nothing any more."""
        self._demand.close()

    def pause(self) -> None:
        """Let the time pass that is to be between two batches."""
        now_s = _clock_s()
        rest_s = self._gathering.due_s(now_s) - now_s
        self._has_paused = rest_s > 0
        if self._has_paused:
            self._rest(rest_s)

    def haste(self, received: Sequence[Received], work: int) -> Haste:
        """Return how soon to decide on what was received, which asks for so much work."""
        rides = bool(self._gathering.ride_s(_clock_s()))
        haste, hasty = Haste.NONE, []
        for each in received:
            its = each.haste(rides=rides)
            if its is Haste.NOW:
                hasty.append(each.origin)
            if its > haste:
                haste = its
        # A front gathers for itself: only another one is company.
        self._together = len(set(hasty))
        self._work += work
        self._asked += len(hasty)
        return haste

    def begin_ride(self) -> int:
        """Note that something rides from now on; return for how many ms at most."""
        self._rides = True
        return math.ceil(1000 * self._gathering.ride_s(_clock_s()))

    def begun(self, begun_s: float, fronts: int) -> None:
        """Note that a batch began at that time of `time.perf_counter`: what rode shares it.

        There are so many `fronts` to answer.
        """
        gathering = self._gathering
        if self._rides:
            self._rides = False
            gathering.rode(begun_s, found=bool(self._together))
        gathering.left(begun_s, waited=self._has_paused, together=self._together)
        self._has_paused = False
        if gathering.is_to_measure(begun_s):
            links = max(1, fronts)
            done = Totals(self._demand.runnable_s(), self._work, self._asked, links)
            gathering.measure(begun_s, done)
