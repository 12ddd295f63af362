"""The sends under way: each is kept, and written to every new connection, until it is answered."""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from relay.client.events import Accepted, SendFailed


class _Send(msgspec.Struct, frozen=True):
    chat: str
    message: Mapping[str, Any]
    frame: str


class ClientOutbox:
    """Sends in the order in which they were submitted, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._sends: dict[str, _Send] = {}  # by message id
        self._unwritten: deque[str] = deque()  # ids, for the present connection

    def __len__(self) -> int:
        return len(self._sends)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._sends

    @property
    def has_room(self) -> bool:
        """Whether another send may be added."""
        return len(self._sends) < self._limit

    def repeats(self, message_id: str, chat: str, message: Mapping[str, Any]) -> bool:
        """Return whether exactly this send is under way.

        Raises:
            ValueError: the id is under way with another message.
        """
        send = self._sends.get(message_id)
        if send is None:
            return False
        if send.chat == chat and send.message == message:
            return True
        raise ValueError(f"the id {message_id} is under way with another message")

    def add(self, message_id: str, chat: str, message: Mapping[str, Any], frame: str) -> None:
        """Take over a send that is not under way yet."""
        self._sends[message_id] = _Send(chat, message, frame)
        self._unwritten.append(message_id)

    def start_again(self) -> None:
        """Have everything written again: what an earlier connection took may be lost."""
        self._unwritten = deque(self._sends)

    def next_frame(self) -> str | None:
        """Return the frame to be written now; it stays the next one until `written`."""
        while self._unwritten:
            if send := self._sends.get(self._unwritten[0]):
                return send.frame
            self._unwritten.popleft()  # answered, or given up, before it was written
        return None

    def written(self) -> None:
        """Note that the frame that `next_frame` returned last was written."""
        self._unwritten.popleft()

    def accept(self, message_id: str, chat: str, *, t: int) -> Accepted | None:
        """End a send by ack 1; None where no such send to this chat is under way."""
        send = self._sends.get(message_id)
        if send is None or send.chat != chat:
            return None
        del self._sends[message_id]
        return Accepted(message_id, chat, t)

    def fail(
        self, message_id: str, code: int, reason: str, retry_after_s: float | None = None
    ) -> SendFailed:
        """End a send that is under way by a refusal."""
        chat = self._sends.pop(message_id).chat
        return SendFailed(message_id, chat, code, reason, retry_after_s)

    def fail_largest(self, code: int, reason: str) -> SendFailed | None:
        """End the send whose frame is the longest; None where none is under way."""
        if not self._sends:
            return None
        largest = max(self._sends, key=lambda message_id: len(self._sends[message_id].frame))
        return self.fail(largest, code, reason)
