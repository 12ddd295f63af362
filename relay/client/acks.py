"""The acks of received messages: what the application took, and what the relay has yet to hear."""

from typing import Final

import msgspec

from relay.client.events import Level, MessageKey
from relay.client.memory import Memory


class DueAck(msgspec.Struct, frozen=True):
    """An ack to be written; `t` is when the application took the message, in seconds.

    One that `is_late` follows another: its message does not come again at the next login, so that
    nothing but the client can make good for its loss.
    """

    message: MessageKey
    level: Level
    t: int
    is_late: bool = False


_SHOWN: Final = 1  # taken by the application, and not to be acked yet
# From the writing of a late ack to something that is heard. By then a connection that takes all and
# delivers nothing has been given up by either side.
_SETTLED_S: Final = 60.0


class Acks:
    """Levels of the messages that the application took, and the acks that are due.

    Acks are not answered. Late ones that were written lately are therefore written again by the
    next login: the relay takes a level once.

    The newest `remembered` of each are kept. An ack that is forgotten costs nothing: its message
    comes again and is acked then. A message that is forgotten would be shown again.
    """

    def __init__(self, remembered: int) -> None:
        self._taken: Memory[MessageKey, int] = Memory(remembered)
        self._due: Memory[MessageKey, DueAck] = Memory(remembered)
        # Late acks, and when they were written; the oldest are first.
        self._late: Memory[MessageKey, tuple[DueAck, float]] = Memory(remembered)

    def take(self, message: MessageKey, level: Level, *, now_s: int, held: bool) -> None:
        """Note that the application took the message; a level reached before changes nothing.

        What was still `held` for it comes again until this ack has arrived.
        """
        known = self._taken.get(message) or 0
        if level > known:
            self._taken.put(message, level)
            is_late = level > Level.DELIVERED and known != _SHOWN and not held
            self._due.put(message, DueAck(message, level, now_s, is_late))

    def show(self, message: MessageKey) -> None:
        """Note that the application has the message, and says itself when it is to be acked."""
        self._taken.put(message, self._taken.get(message) or _SHOWN)

    def repeat(self, message: MessageKey, *, now_s: int) -> bool:
        """Return whether this message that came was taken before; it is acked again if it was."""
        level = self._taken.get(message)
        if level is None:
            return False
        if level != _SHOWN:
            self._due.put(message, DueAck(message, Level(level), now_s))
        return True

    def next(self) -> DueAck | None:
        """Return the ack to be written now; it stays the next one until `written`."""
        oldest = self._due.oldest()
        return oldest[1] if oldest else None

    def written(self, ack: DueAck, *, up: float) -> None:
        """Note that `ack` was written; one that rose meanwhile stays due."""
        if self._due.get(ack.message) is ack:
            self._due.forget(ack.message)
        if ack.is_late:
            self._late.put(ack.message, (ack, up))

    def heard(self, *, up: float) -> None:
        """Something was heard on the same connection: what was written long before has arrived."""
        while (oldest := self._late.oldest()) and up - oldest[1][1] >= _SETTLED_S:
            self._late.forget(oldest[0])

    def start_again(self) -> None:
        """Have those late acks written again that may be lost."""
        while oldest := self._late.oldest():
            message, (ack, _) = oldest
            self._late.forget(message)
            due = self._due.get(message)
            if due is None or due.level < ack.level:
                self._due.put(message, ack)
