"""The sends under way: each is kept, and written to every new connection, until it is answered."""

import bisect
import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from relay.client.events import Failed, Sent, Waiting


class _Send(msgspec.Struct):
    chat: str
    message: Mapping[str, Any]
    frame: str
    seq: int
    tries: int = 0  # so often the relay could not take it


class ClientOutbox:
    """Sends in the order in which they were submitted, at most `limit` of them.

    A chat whose send the relay could not take is **held** for some time: that send and all that
    the chat has not been told yet wait, so that they keep their order.
    """

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._seq = 0
        self._sends: dict[str, _Send] = {}  # by message id
        # For the present connection, in order; those of held chats apart, with their `seq`.
        self._unwritten: dict[str, None] = {}
        self._held: dict[str, list[tuple[int, str]]] = {}  # by chat
        self._held_until: dict[str, float] = {}  # by chat
        # When to look at those; never later than the first may be told more.
        self.due_at = math.inf

    def __len__(self) -> int:
        return len(self._sends)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._sends

    @property
    def has_room(self) -> bool:
        """Whether another send may be added."""
        return len(self._sends) < self._limit

    @property
    def waiting(self) -> list[Waiting]:
        """The sends without an answer, oldest first."""
        return [Waiting(name, send.chat, send.message) for name, send in self._sends.items()]

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
        self._seq += 1
        self._sends[message_id] = _Send(chat, message, frame, self._seq)
        if chat in self._held:
            self._held[chat].append((self._seq, message_id))
        else:
            self._unwritten[message_id] = None

    def start_again(self) -> None:
        """Have everything written again: what an earlier connection took may be lost."""
        self._unwritten = dict.fromkeys(self._sends)
        self._held.clear()
        self._held_until.clear()
        self.due_at = math.inf

    def next_frame(self, *, up: float) -> str | None:
        """Return the frame to be written now; it stays the next one until `written`."""
        self._release(up)
        message_id = next(iter(self._unwritten), None)
        return None if message_id is None else self._sends[message_id].frame

    def written(self) -> None:
        """Note that the frame that `next_frame` returned last was written."""
        del self._unwritten[next(iter(self._unwritten))]

    def delay(self, message_id: str, *, until: float) -> None:
        """Have a send that is under way written again, before all that its chat waits to be told.

        Two delays of one chat are the longer one.
        """
        send = self._sends[message_id]
        send.tries += 1
        chat = send.chat
        if chat not in self._held:
            mine = [each for each in self._unwritten if self._sends[each].chat == chat]
            self._held[chat] = [(self._sends[each].seq, each) for each in mine]
            for each in mine:
                del self._unwritten[each]
        if not _holds(self._held[chat], (send.seq, message_id)):
            bisect.insort(self._held[chat], (send.seq, message_id))
        self._held_until[chat] = max(until, self._held_until.get(chat, until))
        self.due_at = min(self.due_at, until)

    def tries_of(self, message_id: str) -> int:
        """Return how often a send that is under way was delayed."""
        return self._sends[message_id].tries

    def chat_of(self, message_id: str) -> str:
        """Return where a send that is under way goes."""
        return self._sends[message_id].chat

    def _release(self, up: float) -> None:
        if up < self.due_at:
            return  # of thousands of chats, where a flood of sends is refused, none is looked at
        for chat, until in list(self._held_until.items()):
            if until <= up:
                del self._held_until[chat]
                self._unwritten |= {message_id: None for _, message_id in self._held.pop(chat)}
        self.due_at = min(self._held_until.values(), default=math.inf)

    def accept(self, message_id: str, chat: str, *, t: int) -> Sent | None:
        """End a send by ack 1; None where no such send to this chat is under way."""
        send = self._sends.get(message_id)
        if send is None or send.chat != chat:
            return None
        self._remove(message_id)
        return Sent(message_id, chat, t)

    def fail(
        self, message_id: str, code: int, reason: str, retry_after: float | None = None
    ) -> Failed:
        """End a send that is under way by a refusal."""
        chat = self._remove(message_id).chat
        return Failed(message_id, chat, code, reason, retry_after)

    def fail_largest(self, code: int, reason: str) -> Failed | None:
        """End the send whose frame is the longest; None where none is under way."""
        if not self._sends:
            return None
        largest = max(self._sends, key=lambda message_id: len(self._sends[message_id].frame))
        return self.fail(largest, code, reason)

    def _remove(self, message_id: str) -> _Send:
        send = self._sends.pop(message_id)
        self._unwritten.pop(message_id, None)
        held = self._held.get(send.chat, [])
        if _holds(held, (send.seq, message_id)):
            del held[bisect.bisect_left(held, (send.seq, message_id))]
        return send


def _holds(held: list[tuple[int, str]], each: tuple[int, str]) -> bool:
    # Sorted, and of thousands where a flood of sends is refused: `in` would look at all.
    at = bisect.bisect_left(held, each)
    return at < len(held) and held[at] == each
