"""What the owner of a range of a cluster has to say of what a majority has yet to confirm.

A batch's record goes on its way to the log, and the worker decides on the next one meanwhile, which
sees what the one before has changed. What each has to say waits here, in order, and so does what
had no record: a refusal, or the answer to a repeat of what is still on its way. If this process
ends, nobody has heard anything of what was never confirmed, and whoever sent it sends it again.

A batch that ends waits until the log has room for the record of the next one. So with one record on
its way at a time the next batch begins when that is confirmed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from workers.links import Links, Written
from workers.rangelog import RangeLog
from workers.shard.effects import Effects, Identity
from workers.store.store import Store

_clock_s: Final = time.perf_counter


class _Waiting(NamedTuple):
    number: int  # of the record up to which all must be confirmed
    written: Written


class Unconfirmed:
    """The queue of one worker.

    Its calls raise what the log does, and StoreWriteError where the disk refuses a record that is
    confirmed. Then the process has to end, and what waits is not said.
    """

    def __init__(
        self, log: RangeLog, store: Store, links: Links, hear: Callable[[Effects], object]
    ) -> None:
        """Wait for the `log` that `store` follows; `hear` is told what goes out by `links`."""
        self.descriptor = log.descriptor
        self._log = log
        self._store = store
        self._links = links
        self._hear = hear
        self._waiting: deque[_Waiting] = deque()

    @property
    def due_ms(self) -> int:
        """When `tick` is to be called next."""
        return self._log.due_ms

    def put(self, effects: Effects) -> list[Identity]:
        """Say what a batch has to say as soon as all is confirmed that it may rest on.

        Wait until there is room for another record. Return the fronts that are full now.
        """
        written, full = self._links.write(effects)
        self._waiting.append(_Waiting(self._store.given, written))
        self._say()
        while not self._log.has_room:
            self._log.wait()
            self._say()
        return full

    def look(self) -> None:
        """Say what has been confirmed by now."""
        self._log.look()
        self._say()

    def tick(self, clock_ms: int) -> None:
        """Have the log do what is due."""
        self._log.tick(clock_ms)
        self._say()

    def rest(self, for_s: float) -> None:
        """Let so much time pass, and say meanwhile what is confirmed."""
        until_s = _clock_s() + for_s
        while self._waiting and (left_s := until_s - _clock_s()) > 0:
            self._log.look(left_s)
            self._say()
        time.sleep(max(0.0, until_s - _clock_s()))

    def finish(self) -> None:
        """Wait until all is confirmed, and say it."""
        while self._waiting or self._store.given > self._store.last_number:
            self._log.wait()
            self._say()

    def make_way(self) -> None:
        """Wait for all if it is time to fold, as that takes nothing that is not confirmed."""
        if self._store.is_time_to_fold:
            self.finish()

    def _say(self) -> None:
        store, waiting = self._store, self._waiting
        store.confirm()
        confirmed = store.last_number
        while waiting and waiting[0].number <= confirmed:
            written = waiting.popleft().written
            self._hear(written.effects)
            self._links.say(written)
