"""A rolling restart: every process is renewed, one after another, while the others serve."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum, auto

from relay.supervision.seats import Seat


class RollStep(Enum):
    """What is to be done with the seat whose turn it is."""

    WAIT = auto()
    SPAWN = auto()  # start the successor
    DISMISS = auto()  # tell the one that leaves to stop


class Rolling:
    """One rolling restart over `seats`, in their order."""

    def __init__(self, seats: Iterable[Seat]) -> None:
        self._to_renew = deque(seats)
        self._turn: Seat | None = None

    def turn(self) -> Seat | None:
        """Return the seat whose turn it is, None when all are renewed.

        With a new turn, whoever sits there becomes the one that leaves. To be asked whenever
        something has happened, and then `step_of` that seat.
        """
        if self._turn is None or _is_renewed(self._turn):
            self._turn = self._to_renew.popleft() if self._to_renew else None
            if self._turn:
                # One that is dead just now is renewed by its restart.
                self._turn.leaving, self._turn.child = self._turn.child, None
        return self._turn


def step_of(seat: Seat) -> RollStep:
    """Return what to do with `seat` while it is its turn."""
    leaving, child = seat.leaving, seat.child
    if child is not None:
        may_go = leaving is not None and child.ready and not leaving.dismissed
        return RollStep.DISMISS if may_go else RollStep.WAIT
    if leaving is not None and seat.role == "worker":
        # A store has one holder, so a worker's successor starts when the worker is gone.
        return RollStep.WAIT if leaving.dismissed else RollStep.DISMISS
    # The successor of a front listens on the same port before the front goes, so that no client
    # finds it closed. A successor that died is the backoff's to start again.
    return RollStep.WAIT if seat.waits else RollStep.SPAWN


def _is_renewed(seat: Seat) -> bool:
    return seat.leaving is None and seat.child is not None and seat.child.ready
