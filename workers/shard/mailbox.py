"""A mailbox: what waits for one device of one user, in order, within limits.

Its entries are in the store. In memory are only totals, and those only while the user has a session
or a batch touches them: an absent user costs nothing but pages on disk. While nobody is logged in
the totals are kept in the store too. Without them, as after a crash, the mailbox is counted anew:
of a session that is announced when something of it changes, for a worker that comes back to ten
thousand would need as long for that as for everything else; of all others at once.

Entry formats: `m` frame; `g` seq of the body and its length; `r` a receipt; `s` several receipts,
their number and what they say; `R` a receipt that is found by message and acker too, because its
author was absent. Several receipts are written, sent and confirmed as one. Each has a number of its
own, of which the last is the entry's, so that they can be taken apart.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice
from struct import Struct
from typing import Final, NamedTuple, Self

import msgspec

from relay.bus.envelopes import NO_SEQ, Entry, Receipt, Seq
from relay.errors import MailboxFull, ShareFull
from relay.protocol import frames
from workers.shard.manyreceipts import ManyReceipts
from workers.shard.room import Room
from workers.shard.shares import Part, Shares
from workers.store.batch import Batch
from workers.store.keys import box_of, receipt_key

MESSAGE: Final[int] = ord("m")
GROUP_MESSAGE: Final[int] = ord("g")
RECEIPT: Final[int] = ord("r")
MANY_RECEIPTS: Final[int] = ord("s")
FINDABLE_RECEIPT: Final[int] = ord("R")

_REFERENCE = Struct(">cQI")
_TOTALS = Struct(">IQIQ")
_MANY = Struct(">cH")

_encode = msgspec.msgpack.Encoder().encode
_decode_receipt = msgspec.msgpack.Decoder(Receipt).decode
_decode_many = msgspec.msgpack.Decoder(ManyReceipts).decode


class Evicted(NamedTuple):
    """A message that a full mailbox gave up; `author` is empty for one of a group."""

    author: str
    seq: Seq
    length: int


class Stretch(NamedTuple):
    """Entries of a mailbox in order; `ends` tells that nothing follows within what was asked."""

    entries: list[Entry]
    ends: bool


class Mailbox:
    """The totals of one mailbox, and every change of it.

    `processed` is the seq up to which its client is known to have had the entries (R7). Those may
    be evicted when it is full, later ones never (2.7).
    """

    __slots__ = (
        "_all",
        "_plain",
        "box",
        "evicted",
        "is_counted",
        "messages",
        "processed",
        "receipts",
        "shares",
        "size",
    )

    def __init__(self, box: bytes) -> None:
        self.box = box
        self.is_counted = False  # while it is not, `messages`, `size` and `receipts` say nothing
        self.messages = 0
        self.size = 0  # bytes of the messages' frames
        self.receipts = 0
        self.processed = NO_SEQ
        self.evicted: list[Evicted] | tuple[()] = ()  # since someone last took them
        self.shares: Shares | None = None  # once an author might have too much
        # How far a search for what may be evicted has come: what was removed lies in its way until
        # the journal is folded. None: nobody has searched.
        self._all: Part | None = None
        # The receipts that cannot be found by message and acker, in order; some may be gone. As
        # most mailboxes have none, no list for them.
        self._plain: list[Seq] | tuple[()] = ()

    @classmethod
    def load(cls, batch: Batch, user: str) -> Self:
        """Return the mailbox of `user`; it is counted if its totals are kept."""
        mailbox = cls(box_of(user))
        totals = batch.get_totals(mailbox.box)
        if totals is not None:
            mailbox.messages, mailbox.size, mailbox.receipts, mailbox.processed = _TOTALS.unpack(
                totals
            )
            mailbox.is_counted = True
        return mailbox

    def count(self, batch: Batch) -> None:
        """Count what it holds, unless that is known."""
        if self.is_counted:
            return
        self.is_counted = True
        plain = []
        for seq, entry in batch.scan_mail(self.box):
            self._count(entry, 1)
            if entry[0] in (RECEIPT, MANY_RECEIPTS):
                plain.append(seq)
        self._plain = plain

    def save(self, batch: Batch) -> None:
        """Keep the totals in the store, for as long as the user has no session."""
        assert self.is_counted, "an absent user's mailbox is counted when it is loaded"
        if self.messages or self.receipts:
            totals = _TOTALS.pack(self.messages, self.size, self.receipts, self.processed)
            batch.put_totals(self.box, totals)
        else:
            batch.delete_totals(self.box)

    def add_message(self, batch: Batch, seq: Seq, author: str, frame: bytes, room: Room) -> None:
        """Queue a 1-1 message as entry `seq`, which must be higher than any before.

        Raises:
            MailboxFull: over the limits, and nothing in it may be evicted. Answer 507.
        """
        if not self.is_counted:
            self.count(batch)
        length = len(frame)
        if self.messages >= room.share_entries or self.size + length > room.share_bytes:
            self._make_room(batch, author, length, room)
        batch.put_mail(self.box, seq, b"m" + frame)
        self.messages += 1
        self.size += length
        if self.shares is not None:
            self.shares.add(author, length)

    def is_roomy(self, length: int, room: Room) -> bool:
        """Whether a message of `length` bytes goes in whoever wrote it, as it is for most."""
        return (
            self.is_counted
            and self.messages < room.share_entries
            and self.size + length <= room.share_bytes
        )

    def expect_group_message(self, batch: Batch, author: str, length: int, room: Room) -> None:
        """Count an entry that refers to a group message of `length` bytes.

        The caller puts it, as for many mailboxes it is the same (`refer_to_body`).

        Raises:
            MailboxFull: as for `add_message`. Skip this member's copy.
        """
        if not self.is_counted:
            self.count(batch)
        if self.messages >= room.share_entries or self.size + length > room.share_bytes:
            self._make_room(batch, author, length, room)
        self.messages += 1
        self.size += length
        if self.shares is not None:
            self.shares.add(author, length)

    def add_receipt(
        self, batch: Batch, seq: Seq, receipt: Receipt, room: Room, *, author_is_absent: bool
    ) -> bool:
        """Queue a receipt as entry `seq`; False if it was dropped because too many wait.

        While the author is absent a higher level takes the place of a lower one (2.4.5).
        """
        if not self.is_counted:
            self.count(batch)
        if author_is_absent:
            return self._add_findable(batch, seq, receipt, room.max_receipts)
        if self.receipts >= room.max_receipts:
            return False
        batch.put_mail(self.box, seq, b"r" + _encode(receipt))
        self.receipts += 1
        if self._plain:
            self._plain.append(seq)
        else:
            self._plain = [seq]
        return True

    def add_many_receipts(self, batch: Batch, seq: Seq, many: ManyReceipts) -> None:
        """Queue receipts for an author who is there; the last of them is number `seq`.

        There must be room for them, and the mailbox be counted.
        """
        count = len(many.times_s)
        batch.put_mail(self.box, seq, _MANY.pack(b"s", count) + _encode(many))
        self.receipts += count
        if self._plain:
            self._plain.append(seq)
        else:
            self._plain = [seq]

    def make_receipts_findable(self, batch: Batch, most: int) -> int:
        """Prepare some `most` of its receipts for the author's absence; return how many.

        `is_findable` tells whether that was all of them.
        """
        self.count(batch)
        plain = self._plain
        if not plain:
            return 0
        taken = done = 0
        while done < most and taken < len(plain):
            seq = plain[taken]
            taken += 1
            entry = batch.pop_mail(self.box, seq)
            if entry is None:
                done += 1
                continue
            receipts = receipts_of(entry)
            self.receipts -= len(receipts)
            for each, receipt in zip(numbers_of(seq, entry), receipts, strict=True):
                self._add_findable(batch, each, receipt, None)
            done += len(receipts)
        del plain[:taken]
        return done

    @property
    def is_findable(self) -> bool:
        """Whether every receipt is found by its message and acker; only where it is counted."""
        return not self._plain

    def _add_findable(
        self, batch: Batch, seq: Seq, receipt: Receipt, max_receipts: int | None
    ) -> bool:
        key = receipt_key(self.box, receipt.message_id, receipt.acker, receipt.group)
        other_seq = batch.get_receipt(key)
        if other_seq is not None:
            other = batch.pop_mail(self.box, other_seq)
            assert other is not None, f"receipt {other_seq} is known but not in the mailbox"
            self._count(other, -1)
            known = _decode_receipt(other[1:])
            if known.level > receipt.level:
                receipt = known
            seq = max(seq, other_seq)
        elif max_receipts is not None and self.receipts >= max_receipts:
            return False
        batch.put_mail(self.box, seq, b"R" + _encode(receipt))
        self.receipts += 1
        batch.put_receipt(key, seq)
        return True

    def confirm(self, batch: Batch, seq: Seq, most: int) -> int:
        """Take it that the client has had everything up to `seq`; remove receipts among it.

        Up to `most` of them, and none that it got from a page, which whoever sent it removes.
        Return how many.
        """
        if seq > self.processed:
            self.processed = seq
        plain = self._plain
        if not plain:
            return 0
        count = min(bisect_right(plain, seq), most)
        for each in plain[:count]:
            entry = batch.pop_mail(self.box, each)
            if entry is not None:
                self.receipts -= 1 if entry[0] == RECEIPT else receipts_in(entry)
        del plain[:count]  # moves pointers only, however many a client leaves unconfirmed
        return count

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
            if raw[0] == MANY_RECEIPTS:
                several = _open_many(seq, raw)
                room -= sum(len(each.frame) for each in several)
                if entries and (room < 0 or len(entries) >= max_entries):
                    return Stretch(entries, ends=False)
                entries += several
                continue
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
            if raw[0] in (RECEIPT, MANY_RECEIPTS, FINDABLE_RECEIPT):
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

    def check_room(self, batch: Batch, author: str, length: int, room: Room) -> None:
        """Tell whether a message of `length` bytes could be queued; nothing changes.

        Raises:
            MailboxFull: as for `add_message`.
        """
        if not self.is_counted:
            self.count(batch)
        if self.messages >= room.share_entries or self.size + length > room.share_bytes:
            self._evictable(batch, author, length, room)

    def _make_room(self, batch: Batch, author: str, length: int, room: Room) -> None:
        due = self._evictable(batch, author, length, room)
        for seq, _ in due:
            self.remove(batch, seq)
        self.evicted = [*self.evicted, *(_evicted(seq, raw) for seq, raw in due)]

    def _evictable(
        self, batch: Batch, author: str, length: int, room: Room
    ) -> list[tuple[Seq, bytes]]:
        """Return what is to go for a message of `author`: his own, or of who has most (2.7)."""
        over = self.messages + 1 - room.max_entries
        over_size = self.size + length - room.max_bytes
        part = self._full_share(batch, author, length, room)
        if part is not None:
            over = max(over, part.messages + 1 - room.share_entries)
            over_size = max(over_size, part.size + length - room.share_bytes)
            due = self._search(batch, part, author, over, over_size)
            if due is None:
                raise ShareFull(
                    f"{part.messages} messages of this author, {part.size} bytes, wait for the"
                    f" recipient and are not acked; at most {room.share_entries} may, and at most"
                    f" {room.share_bytes} bytes"
                )
            return due
        if over <= 0 and over_size <= 0:
            return []
        everybodys = self._all = self._all or Part()
        everybodys.messages = self.messages
        if self.shares is not None and not everybodys.is_vain(self.processed, over, over_size):
            # Of so many authors each may have a share; to search for more may be to read it often.
            most = room.named // 4
            for name, named in islice(self.shares.by_most(in_bytes=over <= 0), most):
                due = self._search(batch, named, name, over, over_size)
                if due is not None:
                    return due
        due = self._search(batch, everybodys, None, over, over_size)
        if due is None:
            raise MailboxFull(
                f"{self.messages} messages, {self.size} bytes, wait for the recipient and are not"
                f" acked; at most {room.max_entries} may, and at most {room.max_bytes} bytes"
            )
        return due

    def _full_share(self, batch: Batch, author: str, length: int, room: Room) -> Part | None:
        """Return the part of an author who has as much as one may, None of any other.

        And where it is not known: too much was read lately to find out.
        """
        shares = self.shares
        if shares is None or shares.must_count(author, length, room):
            if not room.may_look_at(self.messages + self.receipts):
                return None
            messages = (
                (self._author(batch, raw), _length(raw))
                for _, raw in batch.scan_mail(self.box)
                if raw[0] in (MESSAGE, GROUP_MESSAGE)
            )
            shares = self.shares = Shares.of(messages, room)
        return shares.full(author, length, room)

    def _search(
        self, batch: Batch, part: Part, author: str | None, messages: int, size: int
    ) -> list[tuple[Seq, bytes]] | None:
        """Return the oldest of a part that make so much room, None where they do not.

        All of them are enough for anything: what is left then is empty.
        """
        if not part.messages:
            return []
        if part.is_vain(self.processed, messages, size):
            return None
        due: list[tuple[Seq, bytes]] = []
        due_size = 0
        for seq, raw in batch.scan_mail(self.box, after=part.searched):
            if seq > self.processed:
                break
            if raw[0] not in (MESSAGE, GROUP_MESSAGE):
                continue
            if author is not None and self._author(batch, raw) != author:
                continue
            due.append((seq, raw))
            due_size += _length(raw)
            if len(due) >= messages and due_size >= size:
                break
        part.searched = Seq(due[0][0] - 1) if due else self.processed
        if (len(due) >= messages and due_size >= size) or len(due) == part.messages:
            return due
        part.looked_to, part.found, part.found_size = self.processed, len(due), due_size
        return None

    def _author(self, batch: Batch, raw: bytes) -> str:
        """Return who wrote the message of an entry."""
        return frames.author_of(raw if raw[0] == MESSAGE else batch.get_body(body_of(raw)[0]))

    def remove(self, batch: Batch, seq: Seq) -> bool:
        """Remove entry `seq`; False if it was gone already."""
        if not self.is_counted:
            self.count(batch)
        raw = batch.pop_mail(self.box, seq)
        if raw is None:
            return False
        kind = raw[0]
        if self.shares is not None and kind in (MESSAGE, GROUP_MESSAGE):
            if self.messages == 1:
                self.shares = None
            else:
                self.shares.remove(self._author(batch, raw), _length(raw))
        if kind == MESSAGE:
            self.messages -= 1
            self.size -= len(raw) - 1
            return True
        if kind == GROUP_MESSAGE:
            _, body, length = _REFERENCE.unpack(raw)
            self.messages -= 1
            self.size -= length
            batch.release_body(body)
            return True
        self._count(raw, -1)
        if kind == FINDABLE_RECEIPT:
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
            self.receipts += sign * receipts_in(raw)


def refer_to_body(seq: Seq, length: int) -> bytes:
    """Return the entry of a group message that is stored as body `seq`."""
    return _REFERENCE.pack(b"g", seq, length)


def body_of(raw: bytes) -> tuple[Seq, int]:
    """Return the seq and length of the body that a group message's entry refers to."""
    _, seq, length = _REFERENCE.unpack(raw)
    return seq, length


def receipt_of(raw: bytes) -> Receipt:
    """Return what the entry of a single receipt says."""
    return _decode_receipt(raw[1:])


def receipts_in(raw: bytes) -> int:
    """Return how many receipts an entry has that is no message."""
    return _MANY.unpack_from(raw)[1] if raw[0] == MANY_RECEIPTS else 1


def receipts_of(raw: bytes) -> Sequence[Receipt]:
    """Return what an entry says that is no message."""
    if raw[0] == MANY_RECEIPTS:
        return _decode_many(raw[_MANY.size :]).singly()
    return (_decode_receipt(raw[1:]),)


def numbers_of(seq: Seq, raw: bytes) -> Sequence[Seq]:
    """Return the number of each receipt of the entry `seq`."""
    return [Seq(each) for each in range(seq - receipts_in(raw) + 1, seq + 1)]


def author_of(raw: bytes) -> str:
    """Return who wrote the message of an entry that is no group's."""
    return frames.author_of(raw)


def unpack_totals(raw: bytes) -> tuple[int, int, int, Seq]:
    """Return (messages, bytes, receipts, processed) as they are kept for an absent user."""
    messages, size, receipts, processed = _TOTALS.unpack(raw)
    return messages, size, receipts, processed


def _length(raw: bytes) -> int:
    """Return how many bytes the frame of a message entry has."""
    return len(raw) - 1 if raw[0] == MESSAGE else body_of(raw)[1]


def _evicted(seq: Seq, raw: bytes) -> Evicted:
    author = author_of(raw) if raw[0] == MESSAGE else ""
    return Evicted(author, seq, _length(raw))


def _open(batch: Batch, seq: Seq, raw: bytes) -> Entry:
    kind = raw[0]
    if kind == MESSAGE:
        return Entry(seq, "", raw[1:])
    if kind == GROUP_MESSAGE:
        return Entry(seq, "", batch.get_body(_REFERENCE.unpack(raw)[1]))
    receipt = _decode_receipt(raw[1:])
    return Entry(seq, receipt.message_id, receipt_frame(receipt))


def _open_many(seq: Seq, raw: bytes) -> list[Entry]:
    receipts = _decode_many(raw[_MANY.size :]).singly()
    return [Entry(seq, each.message_id, receipt_frame(each)) for each in receipts]


def frames_of_many(many: ManyReceipts) -> list[bytes]:
    """Return the frames that the author of the messages gets."""
    if many.group and len(many.message_ids) == 1:
        return frames.group_receipts(
            message_id=many.message_ids[0],
            level=many.level,
            author=many.author,
            group=many.group,
            said=zip(many.ackers, many.times_s, strict=True),
        )
    return [receipt_frame(each) for each in many.singly()]


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
