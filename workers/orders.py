"""The orders of an operator for one worker: it carries out one at a time, between its batches."""

from __future__ import annotations

from pathlib import Path

import msgspec

from relay import log
from relay.errors import DiskError
from workers.shard.purging import Purging
from workers.store.orders import Answer, OrderFile, orders_in


class Orders:
    """Looks for orders at sweeps, and says how far the worker is with one."""

    def __init__(self, data: Path, worker: int) -> None:
        self._data = data
        self._worker = worker
        self._file: OrderFile | None = None  # of what is carried out
        self._purging: Purging | None = None
        self._left: set[str] = set()  # the names of those that cannot be carried out

    def current(self) -> Purging | None:
        """Return what is to be done now, None where there is nothing."""
        if self._file is None or not self._file.stands:
            if self._file is not None and self._purging is not None:
                _log("order.withdrawn", self._file, self._purging)
            self._file = self._purging = None
            for file in orders_in(self._data):
                if file.name not in self._left and self._take(file):
                    break
        return self._purging

    def _take(self, file: OrderFile) -> bool:
        try:
            order, answer = file.read(), file.read_answer(self._worker)
        except (OSError, msgspec.DecodeError) as error:
            self._leave(file, str(error))
            return False
        if order is None or self._worker not in order.workers or (answer and answer.is_done):
            return False
        self._file, self._purging = file, Purging(order)
        if answer is not None:
            self._purging.purged.add(answer.purged)  # by an earlier incarnation
        log.get_logger().info("order.taken", order=file.name)
        return True

    def note(self, purging: Purging) -> None:
        """Answer how far it is with what is `current`."""
        file = self._file
        assert file is not None, "nothing is carried out"
        if not file.stands:
            return  # `current` gives it up
        try:
            file.answer(self._worker, Answer(purging.purged, purging.is_done))
        except DiskError as error:
            self._leave(file, str(error))
            self._file = self._purging = None
            return
        if purging.is_done:
            self._file = self._purging = None
            _log("order.done", file, purging)

    def _leave(self, file: OrderFile, reason: str) -> None:
        self._left.add(file.name)
        log.get_logger().warning("order.left", order=file.name, reason=reason)


def _log(event: str, file: OrderFile, purging: Purging) -> None:
    """Log an event with how much has gone."""
    counts = msgspec.structs.asdict(purging.purged)
    log.get_logger().info(event, order=file.name, **counts)
