"""A rolling restart: every process is renewed, one after another, while the others serve."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from relay.process.control import Stop
from relay.process.exitcodes import CANNOT_BOOT
from relay.supervision.actions import Action, SetTimer, instruct
from relay.supervision.events import KillDue
from relay.supervision.seats import Incarnation, Seat

# Of one that is to succeed another, after which what it was made of is taken for broken.
MOST_DEATHS: Final = 3


class RollStep(Enum):
    """What is to be done with the seat whose turn it is."""

    WAIT = auto()
    SPAWN = auto()  # start the successor
    DISMISS = auto()  # tell the one that leaves to stop


class Rolling:
    """One rolling restart over `seats`, in their order; who sits there now is to be renewed."""

    def __init__(self, seats: Iterable[Seat]) -> None:
        self._to_renew = deque((seat, seat.child) for seat in seats)
        self._turn: Seat | None = None

    def turn(self) -> Seat | None:
        """Return the seat whose turn it is, None when all are renewed.

        With a new turn, whoever is to be renewed becomes the one that leaves. To be asked whenever
        something has happened, and then `step_of` that seat.
        """
        if self._turn is None or _is_renewed(self._turn):
            self._turn, old = self._to_renew.popleft() if self._to_renew else (None, None)
            if self._turn and self._turn.child is old:
                self._turn.leaving, self._turn.child = old, None
            # Else it has died meanwhile: whoever has its place, or is to have it, is new.
        return self._turn

    def gives_up(self, seat: Seat, *, exit_code: int | None) -> bool:
        """Tell whether it is over, since a successor on `seat` has died; it is to be asked then.

        So whoever has yet to be renewed stays, the predecessor on `seat` too where it has not been
        told to go.
        """
        if seat is not self._turn:
            return False
        if exit_code != CANNOT_BOOT and seat.backoff.deaths < MOST_DEATHS:
            return False
        leaving = seat.leaving
        if leaving is not None and not leaving.dismissed:
            seat.child, seat.leaving = leaving, None
        return True


def step_of(seat: Seat) -> RollStep:
    """Return what to do with `seat` while it is its turn."""
    leaving, child = seat.leaving, seat.child
    if child is not None:
        may_go = leaving is not None and child.has_begun and not leaving.dismissed
        return RollStep.DISMISS if may_go else RollStep.WAIT
    if leaving is not None and seat.role != "front":
        # A store has one holder, so a worker's successor starts when the worker is gone. So have
        # the admin's sockets.
        return RollStep.WAIT if leaving.dismissed else RollStep.DISMISS
    # The successor of a front listens on the same port before the front goes, so that no client
    # finds it closed. A successor that died is the backoff's to start again.
    return RollStep.WAIT if seat.waits else RollStep.SPAWN


def dismiss(child: Incarnation, *, within_s: float) -> list[Action]:
    """Tell `child` to stop, and kill it after that time."""
    child.dismissed = True
    return [*instruct([child], Stop(within_s)), SetTimer(within_s, KillDue(child.number))]


def _is_renewed(seat: Seat) -> bool:
    return seat.leaving is None and seat.child is not None and seat.child.has_begun
