"""What is to be handed to the application: messages and other events, in the order they came."""

from collections import deque

import msgspec

from relay.client.events import Event, Message, MessageKey
from relay.client.limits import Limits


class _Held(msgspec.Struct, frozen=True):
    seq: int
    size: int
    message: Message


class Inbox:
    """Events that the application has not taken yet, within `limits`.

    Messages beyond the bounds are left behind at the relay, and so is everything after the first
    of them, or their order would change. Of all other events the newest are kept.
    """

    def __init__(self, limits: Limits) -> None:
        self.left_behind = False  # messages are at the relay that have to be fetched again
        self.dropped_notices = 0
        self._limits = limits
        self._next_seq = 0
        # Both are read in order of their sequence numbers.
        self._messages: deque[_Held] = deque()
        self._notices: deque[tuple[int, Event]] = deque()
        self._keys: set[MessageKey] = set()  # of `_messages`
        self._bytes = 0

    def __contains__(self, message: MessageKey) -> bool:
        return message in self._keys

    @property
    def fetch_is_due(self) -> bool:
        """Whether what was left behind is to be fetched: the held messages are taken."""
        return self.left_behind and not self._messages

    def hold(self, message: Message, size: int) -> bool:
        """Hold a message of `size` bytes that is not here yet; False where it is left behind.

        The first one is held whatever its size.
        """
        limits = self._limits
        full = len(self._messages) >= limits.held_messages or (
            self._messages and self._bytes + size > limits.held_bytes
        )
        if self.left_behind or full:
            self.left_behind = True
            return False
        self._messages.append(_Held(self._seq(), size, message))
        self._keys.add(message.key)
        self._bytes += size
        return True

    def note(self, event: Event) -> None:
        """Hold an event that is no message."""
        if len(self._notices) >= self._limits.held_notices:
            self._notices.popleft()
            self.dropped_notices += 1
        self._notices.append((self._seq(), event))

    def next(self) -> Event | None:
        """Return the next event, or None.

        A message stays the next event until `take`; every other one is gone.
        """
        if self._messages and (not self._notices or self._messages[0].seq < self._notices[0][0]):
            return self._messages[0].message
        return self._notices.popleft()[1] if self._notices else None

    def take(self, message: MessageKey) -> None:
        """Note that the application took the message; one that is not the first stays."""
        if self._messages and self._messages[0].message.key == message:
            self._bytes -= self._messages.popleft().size
            self._keys.discard(message)

    def _seq(self) -> int:
        self._next_seq += 1
        return self._next_seq
