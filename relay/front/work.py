"""What the frames of one session ask of workers, handed on in pieces that its budget allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from relay.bus.envelopes import Acked
from relay.errors import Refusal
from relay.front.answers import Answers
from relay.front.budget import TOLD_UNITS, Budget
from relay.front.login import Login
from relay.front.output import Output
from relay.protocol.stanza import Ack, Send

# Of all who have nothing waiting: an empty list for each takes 56 bytes.
_NO_IDS: Final[list[str]] = []


class Work:
    """The sends and acks of one frame after another.

    What the budget has no room for waits here, at most the rest of one frame: the session takes no
    other meanwhile.
    """

    __slots__ = ("_ack", "_answers", "_budget", "_ids", "_login", "_out", "_sends")

    def __init__(self, login: Login, answers: Answers, budget: Budget, out: Output) -> None:
        self._login = login
        self._answers = answers
        self._budget = budget
        self._out = out
        self._sends: Sequence[Send | Refusal] = ()
        self._ack: Ack | None = None
        self._ids = _NO_IDS

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._sends or self._ids)

    def send(self, elements: Sequence[Send | Refusal]) -> None:
        """Send messages in order, or refuse them in their turn."""
        self._sends = elements
        self.go_on()

    def ack(self, ack: Ack) -> None:
        """Tell the session's worker what its user says of messages, in pieces."""
        self._ack, self._ids = ack, ack.message_ids
        self.go_on()

    def go_on(self) -> None:
        """Hand on what waits, as far as there is room."""
        budget = self._budget
        if self._sends:
            taken = 0
            for element in self._sends:
                if budget.is_full:
                    break
                taken += 1
                self._answers.take(element, self._login.user)
            self._sends = self._sends[taken:]
        while self._ids and not budget.is_full:
            assert self._ack is not None, "its ids wait"
            piece, self._ids = self._ids[: budget.room], self._ids[budget.room :]
            self.tell(self._ack, piece)

    def give_up(self) -> int:
        """Forget what waits; return how many acked ids that are: of sends their author knows."""
        given_up = len(self._ids)
        self._sends, self._ids = (), _NO_IDS
        return given_up

    def tell(self, ack: Ack, ids: list[str]) -> None:
        """Tell it of these now; there is room in the budget."""
        acked = Acked(
            self._login.user,
            ids,
            ack.level,
            ack.author,
            ack.author_is_group,
            ack.chat,
            ack.chat_is_group,
            -1 if ack.time_s is None else ack.time_s,
        )
        self._out.request(self._login.slot, acked, durable=True)
        budget = self._budget
        budget.told += len(ids)
        if budget.told >= TOLD_UNITS:
            self._out.tell_when_done(budget.count_told())
