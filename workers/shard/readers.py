"""The sessions that a worker serves: who is logged in through which front, how far it has read.

A session is a cursor in its mailbox. While it is LIVE the cursor is at the end, and what is
appended is sent at once. In every other state entries stay in the mailbox, and pages are read from
behind the cursor when the front asks. So a live message cannot overtake a queued one, and nothing
is buffered for a slow reader.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator

from workers.shard.effects import Identity
from workers.shard.mailbox import Mailbox


class State(enum.Enum):
    """What a session waits for."""

    LIVE = enum.auto()  # nothing: the cursor is at the mailbox's end
    READING = enum.auto()  # a page is on its way; the front will ask for the next
    PAUSED = enum.auto()  # its reader is slow; the front will say when it is ready
    STARVED = enum.auto()  # its front is slow; gets its page when the link has credit again


class Session:
    """One bound connection of `user`."""

    __slots__ = (
        "asked_ms",
        "barrier",
        "cursor",
        "front",
        "is_announced",
        "mailbox",
        "number",
        "pages",
        "receipts",
        "sent_before",
        "state",
        "takeovers",
        "user",
    )

    def __init__(self, front: Identity, number: int, user: str, mailbox: Mailbox) -> None:
        self.front = front
        self.number = number  # unique within its front
        self.user = user
        self.mailbox = mailbox
        self.is_announced = False  # logged in with an earlier incarnation of the worker
        self.asked_ms = 0  # when it logged in, if it is announced
        self.state = State.READING
        self.cursor = 0  # the last entry that was sent to the front
        self.barrier = 0  # while over 0: entries up to here go into `q` frames
        self.pages = 0  # sent to the front since the session was opened
        # Entries to remove when a pong confirms them, in order. An empty deque takes 600 bytes, and
        # few sessions need one.
        self.receipts: deque[int] | tuple[()] = ()
        # An earlier incarnation of the worker sent entries up to here. Those of them that are
        # receipts are not among `receipts` until a pong confirms some.
        self.sent_before = 0
        self.takeovers: list[int] = []  # when this user's sessions were taken over, in ms

    def add_receipt(self, seq: int) -> None:
        """Note that the entry `seq`, higher than any before, is a receipt that was sent."""
        if isinstance(self.receipts, deque):
            self.receipts.append(seq)
        else:
            self.receipts = deque((seq,))

    def confirm_receipts(self, seq: int) -> list[int]:
        """Forget the receipts up to `seq` and return them."""
        confirmed = []
        while self.receipts and self.receipts[0] <= seq:
            confirmed.append(self.receipts.popleft())
        if not self.receipts:
            self.receipts = ()
        return confirmed

    def forget_receipts(self) -> None:
        """Forget all of them; they stay in the mailbox."""
        self.receipts = ()
        self.sent_before = 0

    def recall_receipts(self, seqs: list[int]) -> None:
        """Note which of the entries that were `sent_before` are receipts, in order."""
        self.sent_before = 0
        if seqs:
            self.receipts = deque((*seqs, *self.receipts))

    def sent(self, seq: int) -> None:
        """Note that the entry `seq` went to the front."""
        self.cursor = seq
        if seq > self.mailbox.transmitted:
            self.mailbox.transmitted = seq

    def wrote(self, seq: int) -> None:
        """Note that the front has written everything up to `seq` to the client."""
        if seq > self.mailbox.written:
            self.mailbox.written = seq

    def pause(self, cursor: int) -> None:
        """Take it that the front has written up to `cursor` and drops what was sent behind it."""
        self.wrote(cursor)
        if self.state is State.READING:
            # Its front will say how far it is when it has written the page that is on its way.
            self.mailbox.transmitted = max(self.mailbox.written, cursor)
        else:
            self.rewind(cursor)
            self.state = State.PAUSED

    def rewind(self, cursor: int) -> None:
        """Go on behind `cursor`; what was sent after it was not written and comes again."""
        self.cursor = cursor
        self.mailbox.transmitted = max(self.mailbox.written, cursor)
        self.sent_before = min(self.sent_before, cursor)
        while self.receipts and self.receipts[-1] > cursor:
            self.receipts.pop()


class Sessions:
    """All sessions of a worker, by connection and by user."""

    def __init__(self) -> None:
        self._by_connection: dict[tuple[Identity, int], Session] = {}
        self._by_user: dict[str, Session] = {}
        # Without a frame of Python's own: it is asked twice a message.
        self.of_user = self._by_user.get

    def __len__(self) -> int:
        return len(self._by_user)

    def add(self, session: Session) -> None:
        """Make `session` the one of its user, who must have no other."""
        assert session.user not in self._by_user, "a user has one session a device"
        self._by_connection[session.front, session.number] = session
        self._by_user[session.user] = session

    def discard(self, session: Session) -> None:
        """Forget `session`."""
        del self._by_connection[session.front, session.number]
        del self._by_user[session.user]

    def at(self, front: Identity, number: int) -> Session | None:
        """Return the session of a connection, or None if it was taken over or has ended."""
        return self._by_connection.get((front, number))

    def through(self, front: Identity) -> list[Session]:
        """Return the sessions whose connections `front` holds."""
        return [session for session in self._by_user.values() if session.front == front]

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_user.values())
