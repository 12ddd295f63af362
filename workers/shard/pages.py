"""What waits in mailboxes, on its way to readers: a page at a time, as their fronts ask for it."""

from __future__ import annotations

from collections import Counter

from relay.bus.envelopes import Confirmed, Page, Pause, Ready, Seq
from workers.shard.effects import Identity
from workers.shard.readers import LIVE, Reader, ReaderEvent, Readers, ReaderState
from workers.shard.turn import Turn
from workers.store.keys import LAST_SEQ

MAX_PAGE_ENTRIES = 500  # of tiny frames: 1 ms, however often somebody logs in
MAX_CONFIRMED = 1000  # receipts that a batch removes: 7 ms, however many one frame confirms


class Pages:
    """Sends pages, and knows which fronts can take nothing for now."""

    def __init__(self, turn: Turn, readers: Readers) -> None:
        self._turn = turn
        self._readers = readers
        self.full_fronts: set[Identity] = set()  # can take nothing for now
        self._paged: Counter[Identity] = Counter()  # bytes of this batch's pages
        self._removed = 0  # receipts in this batch
        self._confirming: dict[Reader, Seq] = {}  # who has confirmed more, and up to where

    def begin(self) -> None:
        """Start a batch: its pages are counted from nothing."""
        self._paged.clear()
        self._removed = 0

    def end(self) -> None:
        """Go on with what earlier batches have left to remove."""
        while self._confirming and self._removed < MAX_CONFIRMED:
            reader, up_to = self._confirming.popitem()
            self._remove_receipts(reader, up_to)

    @property
    def is_behind(self) -> bool:
        """Whether another batch must follow to remove what was confirmed."""
        return bool(self._confirming)

    def left(self, reader: Reader) -> None:
        """Take it that a reader has ended; of what it confirmed, what is left comes once more."""
        self._confirming.pop(reader, None)

    # ------------------------------------------------------------------------ what fronts say

    def ready(self, front: Identity, ready: Ready) -> None:
        """Send the page that a front asks for, from where it says that its session stands."""
        reader = self._readers.at(front, ready.session)
        if reader is None:
            return
        if ready.pages == reader.pages:
            reader.rewind(ready.cursor)
        elif reader.state is ReaderState.READING:
            return  # a page crossed with it that asks for a `Ready` too
        reader.undergo(ReaderEvent.ASKED)
        self.send(reader, answer=True)

    def pause(self, front: Identity, pause: Pause) -> None:
        """Keep a slow client's entries in its mailbox."""
        reader = self._readers.at(front, pause.session)
        if reader is not None:
            reader.pause(pause.cursor)

    def confirmed(self, front: Identity, confirmed: Confirmed) -> None:
        """Remove the receipts that a client is known to have had (R7)."""
        reader = self._readers.at(front, confirmed.session)
        if reader is None:
            return
        if reader.sent_before:
            batch = self._turn.batch
            reader.recall_receipts(reader.mailbox.receipts_up_to(batch, reader.sent_before))
        # What goes out once more is confirmed once more.
        up_to = min(confirmed.seq, reader.cursor)
        if self._confirming:
            up_to = max(up_to, self._confirming.pop(reader, up_to))
        self._remove_receipts(reader, up_to)

    def _remove_receipts(self, reader: Reader, up_to: Seq) -> None:
        """Remove what a client has confirmed, as much as this batch still may."""
        batch, mailbox, most = self._turn.batch, reader.mailbox, MAX_CONFIRMED - self._removed
        if reader.receipts:
            paged = reader.confirm_receipts(up_to, most)
            for seq in paged:
                mailbox.remove(batch, seq)
            most -= len(paged)
            self._removed += len(paged)
        self._removed += mailbox.confirm(batch, up_to, most)
        if self._removed >= MAX_CONFIRMED:
            self._confirming[reader] = up_to  # there may be more

    # -------------------------------------------------------------------------- to one reader

    def takes_live(self, reader: Reader) -> bool:
        """Tell whether what was appended to its mailbox just now may be sent at once."""
        if reader.state is not LIVE:
            return False
        if self.full_fronts and reader.front in self.full_fronts:
            # Going on from here later would be wrong: if its client became slow, the front has
            # dropped the last that was sent live.
            reader.undergo(ReaderEvent.PASSED_BY)
            self._have_it_ask(reader)
            return False
        return True

    def send(self, reader: Reader, *, answer: bool = False) -> None:
        """Send the next page, as `q` up to the barrier; at the end the reader goes live.

        Without entries a page is sent only where `answer` says that the front waits for one.
        """
        in_queue = reader.barrier > 0
        if reader.front in self.full_fronts:
            reader.undergo(ReaderEvent.HELD_BACK)
            return
        turn = self._turn
        entries, ends = reader.mailbox.stretch(
            turn.batch,
            after=reader.cursor,
            up_to=reader.barrier if in_queue else LAST_SEQ,
            max_bytes=turn.settings.flow.page_bytes,
            max_entries=MAX_PAGE_ENTRIES,
        )
        if entries:
            reader.sent(entries[-1].seq)
            for entry in entries:
                if entry.receipt_for:
                    reader.add_receipt(entry.seq)
        more = not ends
        if in_queue and ends:
            behind = reader.mailbox.stretch(
                turn.batch, after=reader.barrier, up_to=LAST_SEQ, max_bytes=0, max_entries=1
            )
            more = bool(behind.entries)
            reader.leave_queue()
        if entries and not in_queue and not answer:
            # Nobody asked for it, so it may cross a `Ready` of a client that was slow, before which
            # the front drops what comes: only a page that has it ask again hides no gap.
            more = True
        reader.undergo(ReaderEvent.PAGED if more else ReaderEvent.CAUGHT_UP)
        if entries or in_queue or answer:
            reader.count_page()
            turn.to_fronts[reader.front].append(
                Page(reader.number, entries, in_queue, in_queue and ends, more)
            )
            self._paged[reader.front] += sum(len(entry.frame) for entry in entries)
            if self._paged[reader.front] >= turn.settings.flow.link_bytes:
                # As soon as this batch is sent the link is full; many pages must not exceed it by
                # more than one.
                self.front_full(reader.front)

    def _have_it_ask(self, reader: Reader) -> None:
        """Send an empty page, at which the front asks for what waits."""
        reader.count_page()
        self._turn.to_fronts[reader.front].append(
            Page(reader.number, [], queue=False, last=False, more=True)
        )

    # --------------------------------------------------------------------- a front that is behind

    def front_full(self, front: Identity) -> None:
        """Stop sending entries to a front that is behind; they stay in the mailboxes."""
        self.full_fronts.add(front)

    def front_has_room(self, front: Identity) -> None:
        """Go on with the readers of a front that was behind."""
        if front not in self.full_fronts:
            return
        self.full_fronts.discard(front)
        for reader in self._readers.through(front):
            if reader.state is not ReaderState.STARVED:
                continue
            reader.undergo(ReaderEvent.GIVEN_ROOM)
            if reader.barrier:
                self.send(reader, answer=True)
            else:
                self._have_it_ask(reader)

    def front_lost(self, front: Identity) -> None:
        """Forget that a front that died was behind."""
        self.full_fronts.discard(front)
