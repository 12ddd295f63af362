"""Whether a store is true to itself: every index, count and reference agrees with every other.

Memory is bounded however large the store is. Where two trees must name the same things in different
orders, each bucket of them has one number, to which one tree adds what the other takes away; only
buckets that do not come to zero are looked at one by one.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from zlib import crc32

import lmdb
import msgspec

from relay.bus.envelopes import Durable, GroupCopy
from relay.protocol.slots import SLOT_COUNT, shard_ranges, slot_of
from relay.protocol.stanza import LEVEL_STORED
from workers.shard import mailbox, messages, outbox
from workers.store.journal import FOLDED_NAME, IDENTITY_NAME
from workers.store.keys import (
    SEQ_BYTES,
    box_of,
    box_of_receipt,
    pack_seq,
    pack_slot,
    parse_message_key,
    receipt_key,
    slot_at,
    slot_of_message,
    split_box,
    split_outgoing,
    unpack_seq,
)
from workers.store.meta import Mark
from workers.store.schema import TREES, decode_keys, unpack_count
from workers.store.snapshot import Snapshot, find_gaps
from workers.tools.progress import Progress

MAX_FINDINGS: Final = 200

_MESSAGE_KINDS: Final = (mailbox.MESSAGE, mailbox.GROUP_MESSAGE)
_MAX_LEVEL: Final = 4  # PROTOCOL R18
_MALFORMED: Final = (ValueError, IndexError, struct.error, msgspec.DecodeError)


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong: in which store and tree, at which key, and what."""

    store: str
    tree: str
    key: str
    problem: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.store, self.tree, self.key))) + ": " + self.problem


class Report(msgspec.Struct):
    """What a check has found; of the findings the first are kept, and all are counted."""

    stores: int = 0
    items: int = 0
    total: int = 0
    findings: list[Finding] = []

    def add(self, store: str, tree: str, key: str, problem: str) -> None:
        """Note a finding."""
        self.total += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(store, tree, key, problem))


def check_stores(
    snapshots: Mapping[int, Snapshot],
    report: Report,
    *,
    generation: int,
    workers: int,
    began: Callable[[str], None] = lambda name: None,
) -> None:
    """Check the stores of one data directory, whose snapshots are of one moment.

    `began` is told the name of each store before it is read.
    """
    progress = Progress("checked", sum(map(_size, snapshots.values())))
    for gap in find_gaps(snapshots):
        report.add(f"worker-{gap.older}", "meta", "", f"is older than the other stores: {gap.why}")
    for index, snapshot in snapshots.items():
        name = f"worker-{index}"
        began(name)
        wanted = Mark(generation, workers, index)
        found = snapshot.mark()
        if found != wanted:
            report.add(name, "meta", "mark", f"it is the store of {found}, not of {wanted}")
        _StoreCheck(name, snapshot, wanted, report, progress).run()
    progress.end()


def check_store(name: str, snapshot: Snapshot, report: Report) -> None:
    """Check one store by itself; what others know of it is left out."""
    progress = Progress("checked", _size(snapshot))
    mark = snapshot.mark()
    if mark is None:
        report.add(name, "meta", "mark", "it does not say whose store it is")
    _StoreCheck(name, snapshot, mark, report, progress).run()
    progress.end()


def _size(snapshot: Snapshot) -> int:
    return sum(snapshot.count(tree) for tree in TREES)


class _Balance:
    """Compares two multisets without keeping them, as one number a bucket."""

    def __init__(self) -> None:
        self._sums = [0] * SLOT_COUNT

    def add(self, bucket: int, item: bytes, times: int = 1) -> None:
        # Python's hash of bytes is keyed, 64 bits wide and cheap. The high bit counts items.
        self._sums[bucket] += times * (1 << 64 | hash(item) & 0xFFFF_FFFF_FFFF_FFFF)

    def uneven(self) -> set[int]:
        """Return the buckets in which one side has what the other has not."""
        return {bucket for bucket, total in enumerate(self._sums) if total}


class _StoreCheck:
    def __init__(
        self, name: str, snapshot: Snapshot, mark: Mark | None, report: Report, progress: Progress
    ) -> None:
        self._name = name
        self._snapshot = snapshot
        self._mark = mark
        self._report = report
        self._progress = progress
        self._slots = range(SLOT_COUNT)
        self._owner_of_slot: list[int] = []
        if mark is not None:
            ranges = shard_ranges(mark.workers)
            self._slots = ranges[mark.index]
            self._owner_of_slot = [w for w, slots in enumerate(ranges) for _ in slots]
        self._last_seq = snapshot.last_seq()
        self._forgotten = snapshot.forgotten()
        # Message entries of mailboxes, and the records of messages that wait there; by slot.
        self._queued = _Balance()
        # Messages that lists in `expiry` name, and those there are; by checksum.
        self._listed = _Balance()
        # References from mailboxes, and holders counted; by the body's seq.
        self._held = _Balance()
        self._boxes_with_totals = 0
        self._findable = 0

    def run(self) -> None:
        looks: dict[str, Callable[[bytes, bytes], None]] = {
            "messages": self._look_at_message,
            "expiry": self._look_at_expiry,
            "receipts": self._look_at_receipt,
            "bodies": self._look_at_body,
            "holders": self._look_at_holders,
            "outbox": self._look_at_outgoing,
            "meta": self._look_at_meta,
        }
        try:
            self._look_at_mail()
            self._look_at_totals()
            for tree, look in looks.items():
                for key, value in self._items(tree):
                    try:
                        look(key, value)
                    except _MALFORMED as error:
                        self._found(tree, key, f"is malformed: {error}")
            self._name_uneven_mail()
            self._name_uneven_expiry()
            self._name_uneven_bodies()
        except lmdb.Error as error:
            self._report.add(self._name, "", "", f"data.mdb cannot be read further: {error}")
        self._report.stores += 1

    def _items(self, tree: str) -> Iterator[tuple[bytes, bytes]]:
        for item in self._snapshot.items(tree):
            self._progress.advance()
            self._report.items += 1
            yield item

    def _found(self, tree: str, key: bytes, problem: str) -> None:
        self._report.add(self._name, tree, _readable(tree, key), problem)

    def _check_seq(self, tree: str, key: bytes, seq: int) -> None:
        if not 0 < seq <= self._last_seq:
            self._found(tree, key, f"has the seq {seq}, but the last one given is {self._last_seq}")

    def _check_slot(self, tree: str, key: bytes, slot: int) -> None:
        if slot not in self._slots:
            self._found(tree, key, f"is in slot {slot}, which this worker does not own")

    # ------------------------------------------------------------------------------- mailboxes

    def _look_at_mail(self) -> None:
        box, counted = b"", _Totals()
        for key, raw in self._items("mail"):
            if key[:-SEQ_BYTES] != box or not box:
                self._check_totals(box, counted)
                box, counted = key[:-SEQ_BYTES], _Totals()
                self._check_box("mail", key, box)
            try:
                self._look_at_entry(key, box, raw, counted)
            except _MALFORMED as error:
                self._found("mail", key, f"is malformed: {error}")
        self._check_totals(box, counted)

    def _check_box(self, tree: str, key: bytes, box: bytes) -> None:
        try:
            user, _ = split_box(box)
            if slot_of(user) != slot_at(box):
                self._found(tree, key, f"is in slot {slot_at(box)}, not in that of its user")
            self._check_slot(tree, key, slot_at(box))
        except _MALFORMED as error:
            self._found(tree, key, f"is malformed: {error}")

    def _look_at_entry(self, key: bytes, box: bytes, raw: bytes, counted: _Totals) -> None:
        seq = unpack_seq(key)
        self._check_seq("mail", key, seq)
        kind = raw[0]
        if kind in _MESSAGE_KINDS:
            length = len(raw) - 1
            if kind == mailbox.GROUP_MESSAGE:
                body, length = mailbox.body_of(raw)
                self._held.add(body % SLOT_COUNT, _reference(body, length))
            counted.messages += 1
            counted.size += length
            if seq > self._forgotten:
                self._queued.add(slot_at(key), key)
        elif kind in (mailbox.RECEIPT, mailbox.FINDABLE_RECEIPT):
            counted.receipts += 1
            receipt = mailbox.receipt_of(raw)
            if box_of(receipt.author) != box:
                self._found("mail", key, f"is a receipt for {receipt.author}")
            if kind == mailbox.RECEIPT:
                counted.unfindable += 1
                return
            self._findable += 1
            place = receipt_key(box, receipt.message_id, receipt.acker, receipt.group)
            if self._snapshot.get("receipts", place) != pack_seq(seq):
                self._found("mail", key, "is a receipt that the index of receipts does not name")
        else:
            self._found("mail", key, f"has the unknown kind {kind}")

    def _check_totals(self, box: bytes, counted: _Totals) -> None:
        kept = self._snapshot.get("boxes", box) if box else None
        if kept is None:
            return  # its user has a session, or had one when the worker died
        self._boxes_with_totals += 1
        try:
            totals = mailbox.unpack_totals(kept)
        except _MALFORMED as error:
            self._found("boxes", box, f"is malformed: {error}")
            return
        found = (counted.messages, counted.size, counted.receipts)
        if totals[:3] != found:
            self._found(
                "boxes",
                box,
                "counts {} messages of {} bytes and {} receipts".format(*totals)
                + ", but there are {} of {} and {}".format(*found),
            )
        if totals[3] > self._last_seq:
            self._found("boxes", box, f"says that entry {totals[3]} was sent")
        if counted.unfindable:
            self._found("boxes", box, f"lacks {counted.unfindable} receipts in its index")

    def _look_at_totals(self) -> None:
        if self._snapshot.count("boxes") == self._boxes_with_totals:
            return
        for box, _ in self._items("boxes"):
            self._check_box("boxes", box, box)
            first = next(self._snapshot.items("mail", box), (b"", b""))[0]
            if first[:-SEQ_BYTES] != box:
                self._found("boxes", box, "counts an empty mailbox")

    def _look_at_receipt(self, key: bytes, value: bytes) -> None:
        box = box_of_receipt(key)
        self._check_slot("receipts", key, slot_at(box))
        raw = self._snapshot.get("mail", box + value)
        if raw is None or raw[0] != mailbox.FINDABLE_RECEIPT:
            self._found("receipts", key, f"names entry {unpack_seq(value)}, which is no receipt")
            return
        receipt = mailbox.receipt_of(raw)
        if key != receipt_key(box, receipt.message_id, receipt.acker, receipt.group):
            self._found("receipts", key, f"names entry {unpack_seq(value)}, another receipt")

    # -------------------------------------------------------------------------------- messages

    def _look_at_message(self, key: bytes, value: bytes) -> None:
        self._listed.add(crc32(key) % SLOT_COUNT, key, -1)
        recipient, message = messages.parse(key, value)
        self._check_slot("messages", key, slot_of_message(key))
        self._check_seq("messages", key, message.seq)
        if not recipient:
            return  # the group's own record, by which a repeat is recognised
        if not LEVEL_STORED <= message.level <= _MAX_LEVEL:
            self._found("messages", key, f"has the level {message.level}")
        entry_key = box_of(recipient) + pack_seq(message.seq)
        entry = self._snapshot.get("mail", entry_key)
        if entry is None:
            return  # acked, evicted or expired
        wanted = mailbox.GROUP_MESSAGE if message.group else mailbox.MESSAGE
        if message.level > LEVEL_STORED:
            self._found("messages", key, f"is acked, but entry {message.seq} still waits")
        elif entry[:1] != bytes([wanted]):
            self._found("messages", key, f"names entry {message.seq}, which is of another kind")
        if entry[:1] in (b"m", b"g") and message.seq > self._forgotten:
            self._queued.add(slot_at(entry_key), entry_key, -1)

    def _look_at_expiry(self, key: bytes, value: bytes) -> None:
        seq = unpack_seq(key)
        self._check_seq("expiry", key, seq)
        for listed in decode_keys(value):
            record = self._snapshot.get("messages", listed)
            if record is None:
                self._found("expiry", key, f"lists {_readable('messages', listed)}: no such record")
                continue
            self._listed.add(crc32(listed) % SLOT_COUNT, listed)
            _, message = messages.parse(listed, record)
            if message.seq > seq:
                text = _readable("messages", listed)
                self._found("expiry", key, f"lists {text} of seq {message.seq}, which is later")

    # ---------------------------------------------------------------------------------- bodies

    def _look_at_body(self, key: bytes, value: bytes) -> None:
        self._check_seq("bodies", key, unpack_seq(key))
        count = self._snapshot.get("holders", key)
        if count is None:
            self._found("bodies", key, "has no count of holders")
            return
        reference = _reference(unpack_seq(key), len(value))
        self._held.add(unpack_seq(key) % SLOT_COUNT, reference, -unpack_count(count))

    def _look_at_holders(self, key: bytes, value: bytes) -> None:
        if self._snapshot.get("bodies", key) is None:
            self._found("holders", key, f"counts {unpack_count(value)} holders of a missing body")

    # -------------------------------------------------------------------------- outbox and meta

    def _look_at_outgoing(self, key: bytes, value: bytes) -> None:
        peer, seq = split_outgoing(key)
        self._check_seq("outbox", key, seq)
        entry: Durable = outbox.decode(value)
        if entry.seq != seq:
            self._found("outbox", key, f"holds entry {entry.seq}")
        if seq <= self._snapshot.confirmed(peer):
            self._found("outbox", key, "was confirmed, but waits still")
        if self._mark is None:
            return
        if peer == self._mark.index or peer >= self._mark.workers:
            self._found("outbox", key, f"is for worker {peer} of {self._mark.workers}")
            return
        content = entry.content
        users = content.members if isinstance(content, GroupCopy) else [content.author]
        for user in users:
            if self._owner_of_slot[slot_of(user)] != peer:
                self._found("outbox", key, f"is for {user}, whom worker {peer} does not serve")

    def _look_at_meta(self, key: bytes, value: bytes) -> None:
        name, _, peer = key.partition(b":")
        if name in (b"mark", IDENTITY_NAME):
            return
        if name == FOLDED_NAME and len(value) == SEQ_BYTES:
            return
        if name not in (b"seq", b"forgotten", b"applied", b"confirmed") or len(value) != SEQ_BYTES:
            self._found("meta", key, "is unknown or malformed")
        elif name in (b"forgotten", b"confirmed") and unpack_seq(value) > self._last_seq:
            self._found("meta", key, f"is {unpack_seq(value)}, beyond the last seq")
        if (
            peer
            and self._mark
            and int(peer) not in set(range(self._mark.workers)) - {self._mark.index}
        ):
            self._found("meta", key, f"is of no peer of worker {self._mark.index}")

    # ------------------------------------------------------------------------- naming the uneven

    def _name_uneven_mail(self) -> None:
        slots = self._queued.uneven()
        if not slots:
            return
        waiting: Counter[bytes] = Counter()
        for slot in slots:
            for key, raw in self._snapshot.items("mail", pack_slot(slot)):
                if slot_at(key) != slot:
                    break
                if raw[:1] in (b"m", b"g") and unpack_seq(key) > self._forgotten:
                    waiting[key] += 1
        for key, value in self._snapshot.items("messages"):
            try:
                if slot_of_message(key) in slots:
                    recipient, message = messages.parse(key, value)
                    if recipient:
                        waiting[box_of(recipient) + pack_seq(message.seq)] -= 1
            except _MALFORMED:
                continue  # found before
        for key, count in waiting.items():
            if count > 0:
                self._found("mail", key, "has no record among the messages")
            elif count < 0 and self._snapshot.get("mail", key) is not None:
                self._found("mail", key, f"has {1 - count} records among the messages")

    def _name_uneven_expiry(self) -> None:
        buckets = self._listed.uneven()
        if not buckets:
            return
        listed: Counter[bytes] = Counter()
        for _, value in self._snapshot.items("expiry"):
            try:
                keys = decode_keys(value)
            except _MALFORMED:
                continue
            listed.update(key for key in keys if crc32(key) % SLOT_COUNT in buckets)
        for key, _ in self._snapshot.items("messages"):
            if crc32(key) % SLOT_COUNT in buckets and listed[key] != 1:
                self._found("messages", key, f"is listed {listed[key]} times to expire")

    def _name_uneven_bodies(self) -> None:
        buckets = self._held.uneven()
        if not buckets:
            return
        held: Counter[tuple[int, int]] = Counter()
        for _, raw in self._snapshot.items("mail"):
            if raw[:1] != b"g":
                continue
            try:
                body, length = mailbox.body_of(raw)
            except _MALFORMED:
                continue
            if body % SLOT_COUNT in buckets:
                held[body, length] += 1
        lengths: dict[int, set[int]] = {}
        for body, length in held:
            lengths.setdefault(body, set()).add(length)
        for key, value in self._snapshot.items("bodies"):
            body = unpack_seq(key)
            if body % SLOT_COUNT not in buckets:
                continue
            counted = unpack_count(self._snapshot.get("holders", key) or b"\0\0\0\0")
            there = sum(held[body, length] for length in lengths.get(body, ()))
            if counted != there:
                self._found("bodies", key, f"counts {counted} holders, but {there} refer to it")
            if lengths.pop(body, {len(value)}) != {len(value)}:
                self._found("bodies", key, f"has {len(value)} bytes, but its holders say another")
        for body in lengths:
            self._found("bodies", pack_seq(body), "is missing, but mailboxes refer to it")


class _Totals:
    """What is counted of one mailbox."""

    __slots__ = ("messages", "receipts", "size", "unfindable")

    def __init__(self) -> None:
        self.messages = 0
        self.size = 0
        self.receipts = 0
        self.unfindable = 0


def _reference(body: int, length: int) -> bytes:
    return mailbox.refer_to_body(body, length)


def _readable(tree: str, key: bytes) -> str:
    """Return a key for people; one that is malformed as hexadecimal digits."""
    try:
        match tree:
            case "mail":
                return f"{split_box(key[:-SEQ_BYTES])[0]} {unpack_seq(key)}"
            case "boxes":
                return split_box(key)[0]
            case "receipts":
                return split_box(box_of_receipt(key))[0] + " " + key[2:].split(b"\0")[2].decode()
            case "messages":
                author, recipient, group = parse_message_key(key)
                message_id = key[: key.index(b"\0")].decode()
                return f"{message_id!r} of {author} to {recipient or group}" + (
                    f" in {group}" if recipient and group else ""
                )
            case "expiry" | "bodies" | "holders":
                return str(unpack_seq(key))
            case "outbox":
                return "for worker {} {}".format(*split_outgoing(key))
            case _:
                return key.decode()
    except _MALFORMED:
        return key.hex()
