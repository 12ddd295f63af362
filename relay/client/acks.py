"""The acks of received messages: what the application took, and what the relay has yet to hear."""

from typing import Final

import msgspec

from relay.client.events import Level, MessageKey
from relay.client.memory import Memory


class DueAck(msgspec.Struct, frozen=True):
    """An ack to be written; `t` is when the application took the message, in seconds."""

    message: MessageKey
    level: Level
    t: int


_SHOWN: Final = 1  # taken by the application, and not to be acked yet


class Acks:
    """Levels of the messages that the application took, and the acks that are due.

    The newest `remembered` of each are kept. An ack that is forgotten costs nothing: its message
    comes again and is acked then. A message that is forgotten would be shown again.
    """

    def __init__(self, remembered: int) -> None:
        self._taken: Memory[MessageKey, int] = Memory(remembered)
        self._due: Memory[MessageKey, DueAck] = Memory(remembered)

    def take(self, message: MessageKey, level: Level, *, now_s: int) -> None:
        """Note that the application took the message; a level reached before changes nothing."""
        if level > (self._taken.get(message) or 0):
            self._taken.put(message, level)
            self._due.put(message, DueAck(message, level, now_s))

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

    def written(self, ack: DueAck) -> None:
        """Note that `ack` was written; one that rose meanwhile stays due."""
        if self._due.get(ack.message) is ack:
            self._due.forget(ack.message)
