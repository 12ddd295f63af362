"""The sessions that a worker serves: who reads through which front, and how far each has got.

A reader is a cursor in its user's mailbox. While it is LIVE the cursor is at the end, and what is
appended is sent at once. In every other state entries stay in the mailbox, and pages are read from
behind the cursor when the front asks. So a live message cannot overtake a queued one, and nothing
is buffered for a slow reader.

Nothing outside of this module sets a field of a reader.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from relay.bus import envelopes
from relay.bus.envelopes import NO_SEQ, Seq
from workers.shard.effects import Identity
from workers.shard.mailbox import Mailbox


class ReaderState(enum.Enum):
    """What a reader waits for."""

    # By identity: an enum's own hash is that of its name, in Python, and each step of a login takes
    # several.
    __hash__ = object.__hash__

    LIVE = enum.auto()  # nothing: the cursor is at the mailbox's end
    READING = enum.auto()  # a page is on its way; the front will ask for the next
    PAUSED = enum.auto()  # its client is slow; the front will say when it is ready
    STARVED = enum.auto()  # its front is slow; gets its page when the link has credit again


LIVE: Final = ReaderState.LIVE  # looked at for every message


class ReaderEvent(enum.Enum):
    """What happens to a reader."""

    __hash__ = object.__hash__

    OPENED = enum.auto()  # its session logs in, or is announced, perhaps again
    ASKED = enum.auto()  # the front asks for a page
    CAUGHT_UP = enum.auto()  # a page goes out, with nothing behind it
    PAGED = enum.auto()  # a page goes out, and the front is to ask for more
    HELD_BACK = enum.auto()  # a page is due, but the front's link is full
    GIVEN_ROOM = enum.auto()  # the front's link is full no more
    PASSED_BY = enum.auto()  # something live is due, but the front's link is full
    SLOWED = enum.auto()  # the front says that the client is slow


# What is not here must not happen.
TRANSITIONS: Final = {
    **{(state, ReaderEvent.OPENED): ReaderState.READING for state in ReaderState},
    **{(state, ReaderEvent.ASKED): ReaderState.READING for state in ReaderState},
    (ReaderState.READING, ReaderEvent.CAUGHT_UP): ReaderState.LIVE,
    (ReaderState.READING, ReaderEvent.PAGED): ReaderState.READING,
    (ReaderState.READING, ReaderEvent.HELD_BACK): ReaderState.STARVED,
    (ReaderState.STARVED, ReaderEvent.GIVEN_ROOM): ReaderState.READING,
    (ReaderState.LIVE, ReaderEvent.PASSED_BY): ReaderState.READING,
    (ReaderState.LIVE, ReaderEvent.SLOWED): ReaderState.PAUSED,
    (ReaderState.PAUSED, ReaderEvent.SLOWED): ReaderState.PAUSED,
    (ReaderState.STARVED, ReaderEvent.SLOWED): ReaderState.PAUSED,
    # Its front will say how far it is when it has written the page that is on its way.
    (ReaderState.READING, ReaderEvent.SLOWED): ReaderState.READING,
}


class Reader:
    """One bound connection of `user`, by which `front` knows its `number`."""

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
        "user",
    )

    def __init__(self, front: Identity, number: int, user: str, mailbox: Mailbox) -> None:
        self.front = front
        self.number = number
        self.user = user
        self.mailbox = mailbox
        self.is_announced = False  # logged in with an earlier incarnation of the worker
        self.asked_ms = 0  # when it logged in, if it is announced
        self.state = ReaderState.READING
        self.cursor = NO_SEQ  # the last entry that was sent to the front
        self.barrier = NO_SEQ  # while over 0: entries up to here go into `q` frames
        self.pages = 0  # sent to the front since the session was opened
        # Receipts that went in pages, in order, to remove when they are confirmed; those that went
        # live the mailbox knows. Few readers have any.
        self.receipts: list[Seq] | tuple[()] = ()
        # An earlier incarnation of the worker sent entries up to here. Those of them that are
        # receipts are not among `receipts` until some are confirmed.
        self.sent_before = NO_SEQ

    def undergo(self, event: ReaderEvent) -> None:
        """Change the state as the table says.

        Raises:
            AssertionError: it says nothing of this; nothing changed.
        """
        state = TRANSITIONS.get((self.state, event))
        assert state is not None, f"a reader that is {self.state.name} was {event.name}"
        self.state = state

    # ------------------------------------------------------------------------- login to end

    def open(self, request: envelopes.OpenSession, *, last_seq: Seq) -> None:
        """Read from behind the cursor of `request` on; what waits up to `last_seq` is the queue."""
        self.undergo(ReaderEvent.OPENED)
        self.forget_receipts()
        self.is_announced = request.phase != envelopes.LOGIN
        self.asked_ms = request.asked_ms
        if self.is_announced:
            # What it had from an earlier incarnation still waits to be confirmed.
            self.sent_before = request.cursor
        self.cursor = request.cursor
        self.pages = 0
        self.barrier = NO_SEQ if request.phase == envelopes.LIVE else max(last_seq, Seq(1))

    # ---------------------------------------------------------------------- how far it has got

    def sent(self, seq: Seq) -> None:
        """Note that the entry `seq` went to the front."""
        self.cursor = seq

    def leave_queue(self) -> None:
        """Note that all that goes into `q` frames was sent."""
        self.barrier = NO_SEQ

    def count_page(self) -> None:
        """Note that one more page goes to the front."""
        self.pages += 1

    def pause(self, cursor: Seq) -> None:
        """Take it that the front has written up to `cursor` and drops what was sent behind it."""
        if self.state is not ReaderState.READING:
            self.rewind(cursor)
        self.undergo(ReaderEvent.SLOWED)

    def rewind(self, cursor: Seq) -> None:
        """Go on behind `cursor`; what was sent after it was not written and comes again."""
        self.cursor = cursor
        self.sent_before = min(self.sent_before, cursor)
        while self.receipts and self.receipts[-1] > cursor:
            self.receipts.pop()

    # ------------------------------------------------------------------- receipts on their way

    def add_receipt(self, seq: Seq) -> None:
        """Note that the entry `seq`, no lower than any before, is receipts that went in a page."""
        if not self.receipts:
            self.receipts = [seq]
        elif self.receipts[-1] != seq:
            self.receipts.append(seq)

    def confirm_receipts(self, seq: Seq, most: int) -> Sequence[Seq]:
        """Forget the receipts up to `seq`, the first `most` of them, and return them."""
        confirmed = self.receipts
        if not confirmed or (confirmed[-1] <= seq and len(confirmed) <= most):
            self.receipts = ()
            return confirmed
        count = min(bisect_right(confirmed, seq), most)
        self.receipts, confirmed = confirmed, confirmed[:count]
        del self.receipts[:count]  # moves pointers only, however many a client leaves unconfirmed
        return confirmed

    def forget_receipts(self) -> None:
        """Forget all of them; they stay in the mailbox."""
        self.receipts = ()
        self.sent_before = NO_SEQ

    def recall_receipts(self, seqs: list[Seq]) -> None:
        """Note which of the entries that were `sent_before` are receipts, in order."""
        self.sent_before = NO_SEQ
        if seqs:
            self.receipts = [*seqs, *self.receipts]


class Readers:
    """All readers of a worker, by connection and by user."""

    def __init__(self) -> None:
        self._by_connection: dict[tuple[Identity, int], Reader] = {}
        self._by_user: dict[str, Reader] = {}
        # Without a frame of Python's own: it is asked twice a message.
        self.of_user = self._by_user.get

    def __len__(self) -> int:
        return len(self._by_user)

    def add(self, reader: Reader) -> None:
        """Make `reader` the one of its user, who must have no other."""
        assert reader.user not in self._by_user, "a user has one session a device"
        self._by_connection[reader.front, reader.number] = reader
        self._by_user[reader.user] = reader

    def discard(self, reader: Reader) -> None:
        """Forget `reader`."""
        del self._by_connection[reader.front, reader.number]
        del self._by_user[reader.user]

    def at(self, front: Identity, number: int) -> Reader | None:
        """Return the reader of a connection, or None if it was taken over or has ended."""
        return self._by_connection.get((front, number))

    def through(self, front: Identity) -> list[Reader]:
        """Return the readers whose connections `front` holds."""
        return [reader for reader in self._by_user.values() if reader.front == front]

    def __iter__(self) -> Iterator[Reader]:
        return iter(self._by_user.values())
