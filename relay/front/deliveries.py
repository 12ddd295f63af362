"""What a session's client is sent of its mailbox: its queue as `q` frames, then live frames.

Entries come from the worker as pages or one by one. The cursor is the entry up to which everything
was taken; a worker's successor, or a `Ready`, goes on behind it.
"""

from __future__ import annotations

import msgspec

from relay.bus.envelopes import NO_SEQ, Confirmed, Entry, Page, Pause, Ready, Seq
from relay.front import pace
from relay.front.answers import Answers
from relay.front.login import Login, Stage
from relay.front.output import Output
from relay.front.pace import TAKES_LIVE, Pace
from relay.protocol.queueframe import QueuePacker

# Looked at for every frame; a member of an enum takes five times as long to find.
_FLOWING = Pace.FLOWING
_LIVE = Stage.LIVE


class Deliveries(msgspec.Struct, eq=False, gc=False):
    """The entries of one session: taken from its worker, written to its client, confirmed."""

    _number: int
    _login: Login
    _out: Output
    # Receipts wait there for the acks 1 before them; None until its client has sent something.
    answers: Answers | None = None
    pace: Pace = Pace.FLOWING
    cursor: Seq = NO_SEQ
    _pages: int = 0  # taken since the worker opened the session
    _confirmed: Seq = NO_SEQ  # the entry up to which the worker was told that all is
    _packer: QueuePacker | None = None  # while the queue is sent
    _queue_has_receipts: bool = False
    _late: list[bytes] | None = None  # frames that go behind the last `q`

    @property
    def written(self) -> Seq:
        """The entry up to which everything has been written; a ping sent now covers that."""
        if self._packer is not None:
            return NO_SEQ  # some of it is not in a `q` yet
        if self.answers is None:
            return self.cursor
        return Seq(min(self.cursor, self.answers.first_stashed(self.cursor + 1) - 1))

    # ------------------------------------------------------------------------ from the worker

    def begin_queue(self, q_frame_bytes: int) -> None:
        """Take everything anew from the mailbox's start, as `q` frames of that size."""
        self.cursor = NO_SEQ
        self.renew(awaits_page=True)
        if self.answers is not None:
            self.answers.forget_receipts()
        self._packer = QueuePacker(q_frame_bytes)
        self._queue_has_receipts = False

    def renew(self, *, awaits_page: bool) -> None:
        """Forget what was agreed with a worker, and what it was told; it starts anew."""
        self.pace = pace.renewed(self.pace, awaits_page=awaits_page)
        self._pages = 0
        self._confirmed = NO_SEQ

    def take_page(self, page: Page) -> bool:
        """Take a stretch of the mailbox; return whether the queue ended with it.

        While a login is being answered it is not taken: it comes again, in the `q` or after the
        refusal.
        """
        self._pages += 1
        if self._login.is_asked:
            self.pace = pace.after(self.pace, pace.PaceEvent.PAGE_MISSED)
            return False
        if page.entries:
            self.cursor = page.entries[-1].seq
        packer = self._packer
        if page.queue and packer is not None:
            queue = [entry for entry in page.entries if not self._stash(entry)]
            self._out.frames += packer.add(entry.frame for entry in queue)
            if not self._queue_has_receipts:
                self._queue_has_receipts = any(entry.receipt_for for entry in queue)
        else:
            for entry in page.entries:
                self.write(entry)
        ends = page.last and packer is not None
        if ends and packer is not None:
            self._out.frames += packer.finish()
            self._packer = None
            if self._queue_has_receipts:
                self._out.receipts += 1
        event = pace.PaceEvent.PAGE_OF_MORE if page.more else pace.PaceEvent.PAGE
        self.pace = pace.after(self.pace, event)
        return ends

    def deliver(self, seq: Seq, receipt_for: str, frame: bytes) -> None:
        """Take a live frame, and write it."""
        if self.takes(seq, receipt_for, frame):
            self._out.frames.append(frame)
            if receipt_for and seq:
                self._out.receipts += 1

    def takes(self, seq: Seq, receipt_for: str, frame: bytes) -> bool:
        """Take a live frame; return whether it is to be written now, behind what was before.

        While the client is slow it stays in the mailbox instead, and a receipt may have to wait.
        """
        if (self.pace is not _FLOWING and self.pace not in TAKES_LIVE) or (
            self._login.stage is not _LIVE and not self._login.has_worker
        ):
            if not seq:
                self._out.count("stray_receipts_dropped")
            return False
        if seq:
            self.cursor = seq
        answers = self.answers
        if receipt_for and answers is not None and receipt_for in answers.by_id:
            return not answers.stash(Entry(seq, receipt_for, frame))
        return True

    def take_receipts(self, seq: Seq, receipt_for: list[str], frames: list[bytes]) -> list[bytes]:
        """Take live receipts that are one entry; return those that are to be written now."""
        if self.answers is None or self.answers.by_id.keys().isdisjoint(receipt_for):
            return frames if self.takes(seq, "", frames[0]) else []
        ids = receipt_for if len(receipt_for) == len(frames) else receipt_for * len(frames)
        return [each for to, each in zip(ids, frames, strict=True) if self.takes(seq, to, each)]

    def _stash(self, entry: Entry) -> bool:
        return self.answers is not None and self.answers.stash(entry)

    def write(self, entry: Entry) -> None:
        """Write an entry, a receipt behind the ack 1 of its message."""
        if entry.receipt_for:
            if self._stash(entry):
                return
            if entry.seq:
                self._out.receipts += 1
        self._out.frames.append(entry.frame)

    def answer(self, frame: bytes) -> None:
        """Write the answer to a request, or another frame that waits nowhere for its client.

        Behind the last `q`, where the queue is being sent (2.2.2).
        """
        if self._login.is_settled:
            self._out.frames.append(frame)
        elif self._login.stage is not Stage.ENDED:
            if self._late is None:
                self._late = []
            self._late.append(frame)

    def write_late(self) -> None:
        """Write what had to wait for the last `q`, or for the answer to a login."""
        if self._late is not None:
            self._out.frames += self._late
            self._late = None

    # -------------------------------------------------------------------------- to the worker

    def confirmed(self, seq: Seq) -> None:
        """The client is known to have everything up to `seq` (R7): tell the worker, once."""
        if self._login.is_served and seq > self._confirmed:
            self._confirmed = seq
            self._ask(Confirmed(self._number, seq), durable=True)

    def slowed(self) -> None:
        """The client does not read what was written: take nothing more for it."""
        self.pace = pace.after(self.pace, pace.PaceEvent.SLOWED)
        self.steer()

    def drained(self) -> None:
        """The client has read what was written."""
        self.pace = pace.after(self.pace, pace.PaceEvent.DRAINED)
        self.steer()

    def steer(self) -> None:
        """Tell the worker what the pace asks for, unless a login is being answered."""
        if not self._login.is_served and self._login.stage is not Stage.QUEUE:
            return
        word, self.pace = pace.said(self.pace)
        if word is pace.Word.PAUSE:
            self._ask(Pause(self._number, self.cursor))
        elif word is pace.Word.READY:
            self._ask(Ready(self._number, self.cursor, self._pages))

    def _ask(self, content: Confirmed | Pause | Ready, *, durable: bool = False) -> None:
        self._out.request(self._login.slot, content, durable=durable)
