"""What operators send: it comes by inquiries, and is decided in a batch like what a front sends.

So it goes by the same steps, is durable before it is answered, and is set aside like any other if
a worker fails at it. Whoever asks may be gone by then; it asks again with the same id (R20).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from relay.bus.envelopes import Refused, RequestNumber, SendToGroup, SendToUser, Stored, ToFront
from relay.inquiries.contract import Later, NoAnswer
from relay.inquiries.sending import AskSend, SendSaid
from workers.inbox import Received
from workers.shard.effects import Effects, Identity

# Whom the shard answers; no front is called so.
IDENTITY: Final[Identity] = b"operator"
# Sends that were not answered yet. An operator's next one comes when the last was.
MAX_WAITING: Final = 64


class Operator:
    """The one of a worker."""

    def __init__(self) -> None:
        self.waits: dict[RequestNumber, Later] = {}  # who is owed an answer
        self._number = 0
        self._sent: list[SendToUser | SendToGroup] = []  # is in no batch yet

    @property
    def has_sent(self) -> bool:
        """Whether something is to be decided."""
        return bool(self._sent)

    def asked(self, asked: AskSend) -> Later | NoAnswer:
        """Take a send for the next batch."""
        if len(self.waits) >= MAX_WAITING:
            return NoAnswer(503, f"{MAX_WAITING} messages of operators wait here already")
        self._number += 1
        number = RequestNumber(self._number)
        kind = SendToGroup if asked.is_group else SendToUser
        self._sent.append(
            kind(
                number,
                asked.author,
                asked.chat,
                asked.message_id,
                asked.time_s,
                asked.digest,
                asked.frame,
            )
        )
        later = self.waits[number] = Later()
        return later

    def take(self) -> Received:
        """Return what was sent, as if it had come from a front."""
        sent, self._sent = self._sent, []
        return Received(IDENTITY, None, sent, size=sum(len(each.frame) for each in sent))

    def hear(self, effects: Effects) -> None:
        """Tell whoever has sent what a batch says, which is committed."""
        self._answer(effects.to_fronts.get(IDENTITY, ()))

    def _answer(self, said: Iterable[ToFront]) -> None:
        for each in said:
            if isinstance(each, Stored):
                self.waits.pop(each.request).say(SendSaid(each.time_s))
            elif isinstance(each, Refused):
                refused = SendSaid(code=each.code, reason=each.reason)
                self.waits.pop(each.request).say(refused)
