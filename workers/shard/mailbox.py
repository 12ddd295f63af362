"""A mailbox: what waits for one device of one user, in order, within limits.

Its entries are in the store. In memory are only totals, and those only while the user has a session
or a batch touches them: an absent user costs nothing but pages on disk. While nobody is logged in
the totals are kept in the store too. Without them, as after a crash, the mailbox is counted anew:
of a session that is announced when something of it changes, for a worker that comes back to ten
thousand would need as long for that as for everything else; of all others at once.

Entry formats: `m` frame; `g` seq of the body and its length; `r` a receipt; `R` a receipt that is
found by message and acker too, because its author was absent.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

import msgspec

from relay.bus.envelopes import NO_SEQ, Entry, Receipt, Seq
from relay.errors import MailboxFull
from relay.protocol import frames
from relay.settings.tables import MailboxSettings
from workers.store.batch import Batch
from workers.store.keys import box_of, receipt_key

MESSAGE: Final[int] = ord("m")
GROUP_MESSAGE: Final[int] = ord("g")
RECEIPT: Final[int] = ord("r")
FINDABLE_RECEIPT: Final[int] = ord("R")

_REFERENCE = Struct(">cQI")
_TOTALS = Struct(">IQIQ")

_encode_receipt = msgspec.msgpack.Encoder().encode
_decode_receipt = msgspec.msgpack.Decoder(Receipt).decode


# Looking for them reads the mailbox from its start, so they go by the thousand.
MAX_RECEIPTS_EVICTED = 1000


class Stretch(NamedTuple):
    """Entries of a mailbox in order; `ends` tells that nothing follows within what was asked."""

    entries: list[Entry]
    ends: bool


class Mailbox:
    """The totals of one mailbox, and every change of it.

    `transmitted` is the seq up to which entries have been sent towards a session at least once;
    those may be evicted when it is full, later ones never (2.7). `written` is how far its front has
    confirmed that: all that is left of it when the front dies.
    """

    __slots__ = (
        "box",
        "evicted",
        "is_counted",
        "messages",
        "no_messages_up_to",
        "no_receipts_up_to",
        "receipts",
        "size",
        "transmitted",
        "written",
    )

    def __init__(self, box: bytes) -> None:
        self.box = box
        self.is_counted = False  # while it is not, `messages`, `size` and `receipts` say nothing
        self.messages = 0
        self.size = 0  # bytes of the messages' frames
        self.receipts = 0
        self.transmitted = NO_SEQ
        self.written = NO_SEQ
        self.evicted = 0  # since someone last counted them
        # Up to here nothing is left to evict, so that the next search need not look there: what was
        # removed lies in its way until the journal is folded.
        self.no_messages_up_to = NO_SEQ
        self.no_receipts_up_to = NO_SEQ

    @classmethod
    def load(cls, batch: Batch, user: str) -> Self:
        """Return the mailbox of `user`; it is counted if its totals are kept."""
        mailbox = cls(box_of(user))
        totals = batch.get_totals(mailbox.box)
        if totals is not None:
            mailbox.messages, mailbox.size, mailbox.receipts, mailbox.transmitted = _TOTALS.unpack(
                totals
            )
            mailbox.written = mailbox.transmitted
            mailbox.is_counted = True
        return mailbox

    def count(self, batch: Batch) -> None:
        """Count what it holds, unless that is known."""
        if self.is_counted:
            return
        self.is_counted = True
        for _, entry in batch.scan_mail(self.box):
            self._count(entry, 1)

    def save(self, batch: Batch) -> None:
        """Keep the totals in the store, for as long as the user has no session."""
        assert self.is_counted, "an absent user's mailbox is counted when it is loaded"
        if self.messages or self.receipts:
            totals = _TOTALS.pack(self.messages, self.size, self.receipts, self.transmitted)
            batch.put_totals(self.box, totals)
        else:
            batch.delete_totals(self.box)

    def add_message(self, batch: Batch, seq: Seq, frame: bytes, limits: MailboxSettings) -> None:
        """Queue a 1-1 message as entry `seq`, which must be higher than any before.

        Raises:
            MailboxFull: over the limits, and nothing in it may be evicted. Answer 507.
        """
        if not self.is_counted:
            self.count(batch)
        length = len(frame)
        if self.messages >= limits.max_entries or self.size + length > limits.max_bytes:
            self._make_room(batch, length, limits)
        batch.put_mail(self.box, seq, b"m" + frame)
        self.messages += 1
        self.size += length

    def add_group_message(
        self, batch: Batch, seq: Seq, length: int, limits: MailboxSettings
    ) -> None:
        """Queue a reference to the group message stored as body `seq`, of `length` bytes.

        Raises:
            MailboxFull: as for `add_message`. Skip this member's copy.
        """
        if not self.is_counted:
            self.count(batch)
        if self.messages >= limits.max_entries or self.size + length > limits.max_bytes:
            self._make_room(batch, length, limits)
        batch.put_mail(self.box, seq, _REFERENCE.pack(b"g", seq, length))
        self.messages += 1
        self.size += length

    def add_receipt(
        self,
        batch: Batch,
        seq: Seq,
        receipt: Receipt,
        limits: MailboxSettings,
        *,
        author_is_absent: bool,
    ) -> bool:
        """Queue a receipt as entry `seq`; False if it was dropped because too many wait.

        While the author is absent a higher level takes the place of a lower one (2.4.5).
        """
        if not self.is_counted:
            self.count(batch)
        if author_is_absent:
            return self._add_findable(batch, seq, receipt, limits.max_receipts)
        if self.receipts >= limits.max_receipts and not self._has_room_for_receipt(
            batch, limits.max_receipts
        ):
            return False
        batch.put_mail(self.box, seq, b"r" + _encode_receipt(receipt))
        self.receipts += 1
        return True

    def _has_room_for_receipt(self, batch: Batch, max_receipts: int) -> bool:
        """Tell whether one more may wait; give up the oldest that were sent if that helps."""
        if self.receipts >= max_receipts and self.transmitted > self.no_receipts_up_to:
            sent = self.receipts_up_to(batch, self.transmitted)
            for seq in sent[:MAX_RECEIPTS_EVICTED]:
                self.remove(batch, seq)
                self.evicted += 1
            if len(sent) <= MAX_RECEIPTS_EVICTED:
                self.no_receipts_up_to = self.transmitted
        return self.receipts < max_receipts

    def make_receipts_findable(self, batch: Batch) -> None:
        """Prepare the receipts that wait for the author's absence, when its session ends."""
        self.count(batch)
        if not self.receipts:
            return
        found = [
            (seq, _decode_receipt(entry[1:]))
            for seq, entry in batch.scan_mail(self.box)
            if entry[0] == RECEIPT
        ]
        for seq, receipt in found:
            self.remove(batch, seq)
            self._add_findable(batch, seq, receipt, None)

    def _add_findable(
        self, batch: Batch, seq: Seq, receipt: Receipt, max_receipts: int | None
    ) -> bool:
        key = receipt_key(self.box, receipt.message_id, receipt.acker, receipt.group)
        earlier_seq = batch.get_receipt(key)
        if earlier_seq is not None:
            earlier = batch.pop_mail(self.box, earlier_seq)
            assert earlier is not None, f"receipt {earlier_seq} is known but not in the mailbox"
            self._count(earlier, -1)
            known = _decode_receipt(earlier[1:])
            if known.level > receipt.level:
                receipt = known
        elif max_receipts is not None and not self._has_room_for_receipt(batch, max_receipts):
            return False
        batch.put_mail(self.box, seq, b"R" + _encode_receipt(receipt))
        self.receipts += 1
        batch.put_receipt(key, seq)
        return True

    def stretch(
        self, batch: Batch, *, after: Seq, up_to: Seq, max_bytes: int, max_entries: int
    ) -> Stretch:
        """Return the entries in (after, up_to], as many as fit; at least one where there is one."""
        entries: list[Entry] = []
        if self.is_counted and not self.messages and not self.receipts:
            return Stretch(entries, ends=True)  # most logins; a search is a tenth of their cost
        room = max_bytes
        for seq, raw in batch.scan_mail(self.box, after=after):
            if seq > up_to:
                break
            entry = _open(batch, seq, raw)
            room -= len(entry.frame)
            if entries and (room < 0 or len(entries) >= max_entries):
                return Stretch(entries, ends=False)
            entries.append(entry)
        return Stretch(entries, ends=True)

    def receipts_up_to(self, batch: Batch, seq: Seq) -> list[Seq]:
        """Return the receipts among the entries up to `seq`, in order."""
        self.count(batch)
        if not self.receipts:
            return []
        found: list[Seq] = []
        for entry_seq, raw in batch.scan_mail(self.box):
            if entry_seq > seq:
                break
            if raw[0] in (RECEIPT, FINDABLE_RECEIPT):
                found.append(entry_seq)
        return found

    def expire(self, batch: Batch, before: Seq, max_entries: int) -> int:
        """Remove up to `max_entries` entries that are older than seq `before`; return how many."""
        due: list[Seq] = []
        for seq, _ in batch.scan_mail(self.box):
            if seq >= before or len(due) >= max_entries:
                break
            due.append(seq)
        for seq in due:
            self.remove(batch, seq)
        return len(due)

    def check_room(self, batch: Batch, length: int, limits: MailboxSettings) -> None:
        """Tell whether a message of `length` bytes could be queued; nothing changes.

        Raises:
            MailboxFull: as for `add_message`.
        """
        if not self.is_counted:
            self.count(batch)
        if self.messages >= limits.max_entries or self.size + length > limits.max_bytes:
            self._evictable(batch, length, limits)

    def _make_room(self, batch: Batch, length: int, limits: MailboxSettings) -> None:
        due = self._evictable(batch, length, limits)
        for seq in due:
            self.remove(batch, seq)
        if due:
            self.no_messages_up_to = due[-1]
        self.evicted += len(due)

    def _evictable(self, batch: Batch, length: int, limits: MailboxSettings) -> list[Seq]:
        """Return the oldest messages that were transmitted, as many as make enough room."""
        due: list[Seq] = []
        messages, size = self.messages, self.size
        for seq, raw in batch.scan_mail(self.box, after=self.no_messages_up_to):
            if messages < limits.max_entries and size + length <= limits.max_bytes:
                break
            if seq > self.transmitted:
                if not due:
                    # Not `transmitted`, which may be lower than what was let go since.
                    self.no_messages_up_to = Seq(seq - 1)
                raise MailboxFull(
                    f"{self.messages} messages of {self.size} bytes wait for the recipient, "
                    f"who has taken none of them; at most {limits.max_entries} "
                    f"of {limits.max_bytes} bytes may"
                )
            if raw[0] in (MESSAGE, GROUP_MESSAGE):
                due.append(seq)
                messages -= 1
                size -= _length(raw)
        return due

    def remove(self, batch: Batch, seq: Seq) -> bool:
        """Remove entry `seq`; False if it was gone already."""
        if not self.is_counted:
            self.count(batch)
        raw = batch.pop_mail(self.box, seq)
        if raw is None:
            return False
        kind = raw[0]
        if kind == MESSAGE:
            self.messages -= 1
            self.size -= len(raw) - 1
            return True
        self._count(raw, -1)
        if kind == GROUP_MESSAGE:
            batch.release_body(_REFERENCE.unpack(raw)[1])
        elif kind == FINDABLE_RECEIPT:
            receipt = _decode_receipt(raw[1:])
            batch.delete_receipt(
                receipt_key(self.box, receipt.message_id, receipt.acker, receipt.group)
            )
        return True

    def _count(self, raw: bytes, sign: int) -> None:
        if raw[0] in (MESSAGE, GROUP_MESSAGE):
            self.messages += sign
            self.size += sign * _length(raw)
        else:
            self.receipts += sign


def refer_to_body(seq: Seq, length: int) -> bytes:
    """Return the entry of a group message that is stored as body `seq`."""
    return _REFERENCE.pack(b"g", seq, length)


def body_of(raw: bytes) -> tuple[Seq, int]:
    """Return the seq and length of the body that a group message's entry refers to."""
    _, seq, length = _REFERENCE.unpack(raw)
    return seq, length


def receipt_of(raw: bytes) -> Receipt:
    """Return what a receipt's entry says."""
    return _decode_receipt(raw[1:])


def unpack_totals(raw: bytes) -> tuple[int, int, int, Seq]:
    """Return (messages, bytes, receipts, transmitted) as they are kept for an absent user."""
    messages, size, receipts, transmitted = _TOTALS.unpack(raw)
    return messages, size, receipts, transmitted


def _length(raw: bytes) -> int:
    """Return how many bytes the frame of a message entry has."""
    return len(raw) - 1 if raw[0] == MESSAGE else body_of(raw)[1]


def _open(batch: Batch, seq: Seq, raw: bytes) -> Entry:
    kind = raw[0]
    if kind == MESSAGE:
        return Entry(seq, "", raw[1:])
    if kind == GROUP_MESSAGE:
        return Entry(seq, "", batch.get_body(_REFERENCE.unpack(raw)[1]))
    receipt = _decode_receipt(raw[1:])
    return Entry(seq, receipt.message_id, receipt_frame(receipt))


def receipt_frame(receipt: Receipt) -> bytes:
    """Return the frame that the author of the message gets."""
    return frames.receipt(
        message_id=receipt.message_id,
        level=receipt.level,
        author=receipt.author,
        acker=receipt.acker,
        group=receipt.group,
        time_s=receipt.time_s,
    )
