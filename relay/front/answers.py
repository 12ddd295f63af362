"""The line of a session's sends: acks 1 and errors in the order of the sends (2.3.4).

A receipt that comes before the ack 1 of its message waits here too, and goes behind it.
"""

from __future__ import annotations

from typing import Final, Protocol

from relay.bus.envelopes import Entry, RequestNumber, SendToGroup, SendToUser, Seq
from relay.errors import Refusal
from relay.front.budget import Budget
from relay.front.output import Output
from relay.front.pending import Pending
from relay.protocol import frames
from relay.protocol.slots import slot_of
from relay.protocol.stanza import Send

_SENDS_PER_SESSION: Final = 1 << 32


class EntryWriter(Protocol):
    """Whoever writes a receipt to the client."""

    def write(self, entry: Entry) -> None:
        """Write it."""


_NO_LINE: Final[dict[int, Pending]] = {}
_NO_IDS: Final[dict[str, Pending]] = {}


class Answers:
    """The sends of one session that have yet to be answered, and the receipts behind them."""

    __slots__ = ("_answered", "_budget", "_line", "_out", "_request", "_stashed", "by_id")

    def __init__(self, session: int, budget: Budget, out: Output) -> None:
        """Begin with the requests of the session of that number, which no other session has.

        Each that waits takes a unit of `budget`.
        """
        self._budget = budget
        self._out = out
        self._request = session * _SENDS_PER_SESSION  # the last one given out
        self._answered = self._request  # the last of them that was answered
        # The sends behind it, and the latest of each id (for reading only): those of one who has
        # never sent are everybody's, which saves an idle session 128 bytes.
        self._line = _NO_LINE
        self.by_id = _NO_IDS
        # The seqs of the receipts that wait. Few sessions need them.
        self._stashed: dict[Seq, None] | None = None

    def __bool__(self) -> bool:
        return bool(self._line)

    def take(self, element: Send | Refusal, author: str) -> None:
        """Send a message on, or refuse it in its turn (R23)."""
        if isinstance(element, Refusal):
            # It goes nowhere, but sends before it may not be answered yet.
            if self._line:
                self._await(Pending("", "", False, frames.refusal(element)))
            else:
                self._out.frames.append(frames.refusal(element))
            return
        if self.by_id is _NO_IDS:
            self._line, self.by_id = {}, {}
        chat, message_id, is_group = element.chat, element.message_id, element.is_group
        pending = self.by_id[message_id] = Pending(message_id, chat, is_group)
        send = (SendToGroup if is_group else SendToUser)(
            self._await(pending),
            author,
            chat,
            message_id,
            element.time_s,
            element.digest,
            element.frame,
        )
        self._out.request(slot_of(chat), send, durable=True)

    def _await(self, pending: Pending) -> RequestNumber:
        self._request += 1
        self._line[self._request] = pending
        budget = self._budget  # as `Budget.take` does, without a call for each message
        room = budget.room = budget.room - 1
        if room <= 0:
            budget.is_full = True
        return RequestNumber(self._request)

    def stored(self, request: RequestNumber, author: str, time_s: int) -> bool:
        """Answer a send with ack 1; False where it is not in the line."""
        pending = self._line.get(request)
        if pending is None:
            return False
        if pending.is_group:
            pending.answer = frames.stored_for_group(
                message_id=pending.message_id, author=author, group=pending.chat, time_s=time_s
            )
        else:
            pending.answer = frames.stored_for_user(
                message_id=pending.message_id,
                author=author,
                recipient=pending.chat,
                time_s=time_s,
            )
        return True

    def refused(self, request: RequestNumber, code: int, reason: str) -> bool:
        """Answer a send with an error (R29); False where it is not in the line."""
        pending = self._line.get(request)
        if pending is None:
            return False
        pending.answer = frames.refusal(
            Refusal(
                code,
                reason,
                tag="action",
                message_id=pending.message_id,
                retry_after_s=1 if code == 503 else None,
            )
        )
        return True

    def settle(self, receipts: EntryWriter) -> bool:
        """Write the answers that are complete from the oldest send on, and the receipts of each.

        Return whether the budget was used up, and there is now room for more.
        """
        line, by_id, budget, next_one = self._line, self.by_id, self._budget, self._answered + 1
        while (pending := line.get(next_one)) is not None and pending.answer is not None:
            self._out.frames.append(pending.answer)
            del line[next_one]
            self._answered = next_one
            next_one += 1
            budget.room += 1
            if by_id.get(pending.message_id) is pending:
                del by_id[pending.message_id]
            if pending.receipts is not None:
                self._write(pending.receipts, receipts)
        return budget.is_full and budget.ease()

    def _write(self, entries: list[Entry], receipts: EntryWriter) -> None:
        for entry in entries:
            if self._stashed is not None:
                self._stashed.pop(entry.seq, None)
            receipts.write(entry)

    def stash(self, entry: Entry) -> bool:
        """Keep a receipt whose message has yet to get its ack 1; False for any other entry."""
        pending = self.by_id.get(entry.receipt_for) if entry.receipt_for else None
        if pending is None:
            return False
        if pending.receipts is None:
            pending.receipts = []
        pending.receipts.append(entry)
        if entry.seq:
            if self._stashed is None:
                self._stashed = {}
            self._stashed[entry.seq] = None
        return True

    def first_stashed(self, default: int) -> int:
        """Return the lowest seq of the receipts that wait, or `default`."""
        return min(self._stashed or (), default=default)

    def forget_receipts(self) -> None:
        """Forget those that wait: they come again, in the pages of a login."""
        for pending in self._line.values():
            pending.receipts = None
        self._stashed = None

    def clear(self) -> None:
        """Forget the line: its answers have no reader."""
        self._line.clear()
        self.by_id.clear()
