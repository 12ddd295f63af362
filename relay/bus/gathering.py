"""How long a process gathers what it has to say: the less time it has to spare, the longer.

A batch costs its sender, its receiver and the kernel some 200 us, however little is in it: threads
are woken, and find their caches cold. So a busy process lets a while pass between two batches, and
more shares the next one. What nobody hurries for may *ride*: it waits a little for company. Who is
alone never waits: nothing has left for long when a lone message comes, and where one wait after
the other brings no company there is none for a while. Pure; times are seconds of one clock, which
only grows.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

# How often the load is measured, at most, and for how long that is remembered.
MEASURE_S: Final = 0.05
_MEMORY_S: Final = 0.25
# Below this share of its time a process has plenty to spare.
_SPARE: Final = 0.05
# For each link waits end with so much work: of twice as much each had a few us less.
_ENOUGH_WORK: Final = 24
# Shorter waits cost more than they bring; the timers of uvloop count whole milliseconds.
_LEAST_S: Final = 0.0005
# So many decisions do not ride: a client may have asked for as much, and goes on when it is done.
MOST_RIDERS: Final = 32
# Acks that are told as one, and receipts that are one entry: less than a worker decides between two
# looks at the clock (workers.inbox), and little beside a page of a mailbox.
MOST_TOGETHER: Final = 64

# A wait pays if it brings company, and waits go on while a third of the last ones did.
_WEIGHT: Final = 1 / 8
_PAYS: Final = 1 / 3
_PAYS_WELL: Final = 0.6
_ON_TRIAL: Final = 0.45  # three waits in vain end a trial
# Between trials: under load the first succeeds, and for a lone writer they are less than 1 %.
_REST_MIN_S: Final = 0.25
_REST_MAX_S: Final = 8.0


class Totals(NamedTuple):
    """What a process has done since it began.

    `runnable_s` is for how long it ran or would have, had a processor been free; `work` counts
    decisions, and `asked` what does not ride. There are so many `links`.
    """

    runnable_s: float
    work: int
    asked: int
    links: int = 1


class Payoff:
    """Whether waits bring company: they end where they do not, and are tried again later.

    Only trying tells: who sends the next message when the last one is answered would send it no
    sooner, and nobody can see from the rate that he waits for himself.
    """

    def __init__(self) -> None:
        self._score = 1.0
        self._rest_s = _REST_MIN_S
        self._rests_until_s = -math.inf

    def allows(self, now_s: float) -> bool:
        """Whether to wait."""
        return now_s >= self._rests_until_s

    def note(self, now_s: float, paid: bool) -> None:
        """Note whether a wait brought company."""
        self._score += _WEIGHT * (paid - self._score)
        if self._score >= _PAYS_WELL:
            self._rest_s = _REST_MIN_S
        elif self._score < _PAYS:
            self._score = _ON_TRIAL
            self._rests_until_s = now_s + self._rest_s
            self._rest_s = min(2 * self._rest_s, _REST_MAX_S)


class Gathering:
    """When what a process has gathered leaves.

    The owner measures when it `is_to_measure`, asks, and notes what came of it.
    """

    def __init__(self, most_s: float = 0.0, most_ride_s: float = 0.0) -> None:
        """Wait for `most_s` at most, and have what rides wait for `most_ride_s`; 0: not at all."""
        self.adopt(most_s, most_ride_s)
        self._wait_s = 0.0
        self._left_s = -math.inf
        self._gathers = Payoff()
        self._rides = Payoff()
        # Of the last moments: which share of its time it was runnable, work and asked a second.
        self._share = self._work_per_s = self._asked_per_s = 0.0
        self._measured_s = -math.inf
        self._totals = Totals(0.0, 0, 0)

    def adopt(self, most_s: float, most_ride_s: float) -> None:
        """Go by other limits from the next measurement on."""
        self._most_s = most_s
        self._most_ride_s = most_ride_s

    def is_to_measure(self, now_s: float) -> bool:
        """Whether the last measurement is long enough ago."""
        return now_s - self._measured_s >= MEASURE_S

    def measure(self, now_s: float, totals: Totals) -> None:
        """Go by what was done since the last time; `is_to_measure` says when."""
        elapsed_s = now_s - self._measured_s
        last, self._measured_s, self._totals = self._totals, now_s, totals
        if elapsed_s == math.inf:
            return
        new = 1 - math.exp(-elapsed_s / _MEMORY_S)
        share = max(0.0, min(1.0, (totals.runnable_s - last.runnable_s) / elapsed_s))
        self._share += new * (share - self._share)
        self._work_per_s += new * ((totals.work - last.work) / elapsed_s - self._work_per_s)
        self._asked_per_s += new * ((totals.asked - last.asked) / elapsed_s - self._asked_per_s)
        self._wait_s = self._wait(totals.links)

    def _wait(self, links: int) -> float:
        """Return how long to gather.

        It grows as the load does. As waits make the process less busy they get shorter: both settle
        where they agree, since what is measured is smoothed. A batch for many receivers costs as
        many times as much. Of a cost that falls with the wait and a latency that grows with it the
        sum is least at the root of that.
        """
        load = max(0.0, self._share - _SPARE) / (1 - _SPARE)
        wait_s = min(self._most_s, self._most_s * load * math.sqrt(links))
        if self._work_per_s * wait_s > _ENOUGH_WORK * links:
            wait_s = _ENOUGH_WORK * links / self._work_per_s
        return wait_s if wait_s >= _LEAST_S else 0.0

    def due_s(self, now_s: float) -> float:
        """Return when what is asked now leaves: `now_s`, or somewhat later."""
        if not self._wait_s or not self._gathers.allows(now_s):
            return now_s
        return max(now_s, self._left_s + self._wait_s)

    def left(self, now_s: float, *, waited: bool, together: int) -> None:
        """Note that a batch left; if it `waited`, how many share it is whether that paid."""
        self._left_s = now_s
        if waited and together:
            self._gathers.note(now_s, together > 1)

    def ride_s(self, now_s: float) -> float:
        """Return how long what rides may wait for something that does not; 0: it leaves too.

        It may only while something is to be expected within that time.
        """
        if self._asked_per_s * self._most_ride_s < 1 or not self._rides.allows(now_s):
            return 0.0
        return self._most_ride_s

    def rode(self, now_s: float, *, found: bool) -> None:
        """Note whether what rode found company in its time."""
        self._rides.note(now_s, found)
