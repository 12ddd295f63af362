"""Another program in the supervisor's process: the code in place is tried first, then executed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from typing import Final

from relay import log, signals
from relay.supervision.children import Children
from relay.supervision.course import Course
from relay.supervision.events import NotRenewed, Rehearsed
from relay.supervision.handover import Handover, Rehearsal, execute

# For the import of all that a process is, on a machine that is busy.
REHEARSAL_S: Final = 60.0
# Between the last signal that is taken and the execution of the next program: what had come before
# is done by then.
RENEW_AFTER_S: Final = 0.05
# For messages that are on their way, and for a process that ends just now.
RENEW_WITHIN_S: Final = 5.0


class Renewal:
    """That of one supervisor; what came of its steps is for the fleet."""

    def __init__(
        self,
        course: Course,
        children: Children,
        *,
        collect_exits: Callable[[], None],
        handover: Callable[[], Handover],
    ) -> None:
        """`handover` returns what a successor is to take over, as it is when it is called."""
        self._course = course
        self._children = children
        self._collect_exits = collect_exits
        self._handover = handover
        self._rehearsal: Rehearsal | None = None

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The one in which the code is tried, while it is."""
        return self._rehearsal.process if self._rehearsal is not None else None

    def rehearse(self) -> Rehearsed | None:
        """Begin to try the code in place; what is returned says why that cannot be."""
        try:
            self._rehearsal = Rehearsal(self._handover())
        except OSError as error:
            return Rehearsed(f"the code that is in place cannot be started: {error}")
        self._course.later(REHEARSAL_S, self._rehearsal.give_up)
        return None

    def has_ended(self, pid: int) -> Rehearsed | None:
        """Return how the trial went that was the process `pid`; None: it is none of this."""
        if self._rehearsal is None or self._rehearsal.process.pid != pid:
            return None
        refusal, self._rehearsal = self._rehearsal.end(), None
        return Rehearsed(refusal)

    def begin(self) -> None:
        """Execute the code in place as soon as nothing is on its way that would be lost.

        No signal comes until it has begun, or is given up.
        """
        signals.hold()
        give_up_s = self._course.now_s + RENEW_WITHIN_S
        self._course.later(RENEW_AFTER_S, partial(self._go_on, give_up_s))

    def _go_on(self, give_up_s: float) -> None:
        if self._course.fleet.is_stopping:
            signals.release()
            return
        self._collect_exits()
        self._children.read()
        if not (self._children.are_quiet and self._course.is_idle):
            if self._course.now_s < give_up_s:
                self._course.later(RENEW_AFTER_S, partial(self._go_on, give_up_s))
            else:
                self._give_up("a process has closed its channel, and has not ended")
            return
        log.flush()
        try:
            execute(self._handover())
        except OSError as error:
            self._give_up(f"the code in place cannot be executed: {error}")

    def _give_up(self, reason: str) -> None:
        signals.release()
        self._course.happened(NotRenewed(reason))
