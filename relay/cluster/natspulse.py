"""Whether the server at the other end of a connection is still there: pings, and who answers."""

from enum import Enum, auto
from typing import Final

INTERVAL_S: Final = 1.0
MOST_UNANSWERED: Final = 2
# A server that sends much answers behind it: what it sends is a sign of life too. But not for
# ever, as it may no longer hear us.
MOST_UNANSWERED_WHILE_HEARD: Final = 10


class Due(Enum):
    """What is to be done now."""

    NOTHING = auto()
    PING = auto()
    GIVE_UP = auto()


class Pulse:
    """Counts pings and their answers. Times are in seconds, of a clock that only grows."""

    def __init__(self, now_s: float) -> None:
        self.next_s = now_s + INTERVAL_S  # when to ask for `due` again
        self._unanswered = 0
        self._heard_s = now_s

    def heard(self, now_s: float) -> None:
        """Note that something came."""
        self._heard_s = now_s

    def answered(self) -> None:
        """Note that a ping was answered."""
        self._unanswered = 0

    def due(self, now_s: float) -> Due:
        """Return what is due; a ping counts as sent. To be asked when all that came is read."""
        if now_s < self.next_s:
            return Due.NOTHING
        silent = now_s - self._heard_s >= MOST_UNANSWERED * INTERVAL_S
        most = MOST_UNANSWERED if silent else MOST_UNANSWERED_WHILE_HEARD
        if self._unanswered >= most:
            return Due.GIVE_UP
        self._unanswered += 1
        self.next_s = now_s + INTERVAL_S
        return Due.PING
