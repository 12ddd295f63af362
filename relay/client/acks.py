"""The acks of received messages: what the application took, and what the relay has yet to hear."""

import msgspec

from relay.client.events import Level, MessageKey
from relay.client.memory import Memory


class DueAck(msgspec.Struct, frozen=True):
    """An ack to be written; `t` is when the application took the message, in seconds."""

    message: MessageKey
    level: Level
    t: int


class Acks:
    """Levels of the messages that the application took, and the acks that are due.

    The newest `remembered` of each are kept. An ack that is forgotten costs nothing: its message
    comes again and is acked then. A message that is forgotten would be shown again.
    """

    def __init__(self, remembered: int) -> None:
        self._taken: Memory[MessageKey, Level] = Memory(remembered)
        self._due: Memory[MessageKey, DueAck] = Memory(remembered)

    def take(self, message: MessageKey, level: Level, *, now_s: int) -> None:
        """Note that the application took the message; a level reached before changes nothing."""
        if level > (self._taken.get(message) or 0):
            self._taken.put(message, level)
            self._due.put(message, DueAck(message, level, now_s))

    def repeat(self, message: MessageKey, *, now_s: int) -> bool:
        """Return whether this message that came was taken before; if so, it is acked again."""
        level = self._taken.get(message)
        if level is None:
            return False
        self._due.put(message, DueAck(message, level, now_s))
        return True

    def next(self) -> DueAck | None:
        """Return the ack to be written now; it stays the next one until `written`."""
        oldest = self._due.oldest()
        return oldest[1] if oldest else None

    def written(self, ack: DueAck) -> None:
        """Note that `ack` was written; one that rose meanwhile stays due."""
        if self._due.get(ack.message) is ack:
            self._due.forget(ack.message)
