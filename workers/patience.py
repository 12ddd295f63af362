"""What goes on while a commit waits for a majority, and until when it may wait."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from relay.clock import clock_ms
from relay.errors import NotConfirmed
from relay.process.channel import ChildEnd
from relay.process.control import FromSupervisor, PeerGone, Stop
from relay.process.duties import Duties

# Of the time that a stop leaves: what is not confirmed by then will not be, and more is to do.
_SHARE_OF_STOP: Final = 0.7


class Patience:
    """The worker's signs of life, and what its supervisor says, while nothing else may go on.

    An election in the log takes seconds, and being cut off takes as long as it takes. What the
    supervisor says meanwhile is heard when it is over: a batch goes by what held as it began.
    """

    def __init__(self, control: ChildEnd, duties: Duties) -> None:
        self._control = control
        self._duties = duties
        self.came: list[FromSupervisor | PeerGone] = []  # that nobody has taken
        self._ends_ms = math.inf

    def live_on(self) -> None:
        """Do what must be done all the same.

        Raises:
            NotConfirmed: the process has to end.
        """
        now = clock_ms()
        self._duties.tick(now)
        if not (self.came and isinstance(self.came[-1], PeerGone)):
            self.came += self._control.receive()
            for message in self.came:
                self._look_at(message, now)
        if now >= self._ends_ms:
            raise NotConfirmed("no majority has confirmed the last record")

    def put(self, messages: Iterable[FromSupervisor | PeerGone]) -> None:
        """Have `take` return them first: they came before there was this."""
        self.came += messages

    def take(self) -> list[FromSupervisor | PeerGone]:
        """Return what the supervisor has said since the last time, in order."""
        messages = [*self.came, *self._control.receive()]
        self.came.clear()
        for message in messages:
            self._look_at(message, clock_ms())
        return messages

    def _look_at(self, message: FromSupervisor | PeerGone, now: int) -> None:
        match message:
            case Stop(deadline_s):
                self._ends_ms = min(self._ends_ms, now + int(1000 * deadline_s * _SHARE_OF_STOP))
            case PeerGone():
                self._ends_ms = now
            case _:
                pass
