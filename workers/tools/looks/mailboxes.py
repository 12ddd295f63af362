"""Mailboxes: their entries, the totals kept of them, and the index of receipts."""

from __future__ import annotations

from typing import Final

from relay.protocol.slots import SLOT_COUNT, slot_of
from workers.shard import mailbox
from workers.store.keys import (
    SEQ_BYTES,
    box_of,
    box_of_receipt,
    pack_seq,
    receipt_key,
    slot_at,
    split_box,
    unpack_seq,
)
from workers.tools.looks.inspection import Inspection
from workers.tools.looks.readable import MALFORMED

_MESSAGE_KINDS: Final = (mailbox.MESSAGE, mailbox.GROUP_MESSAGE)
_RECEIPT_KINDS: Final = (mailbox.RECEIPT, mailbox.MANY_RECEIPTS, mailbox.FINDABLE_RECEIPT)


class _Totals:
    """What is counted of one mailbox."""

    __slots__ = ("messages", "receipts", "size", "unfindable")

    def __init__(self) -> None:
        self.messages = 0
        self.size = 0
        self.receipts = 0
        self.unfindable = 0


def look_at_mail(store: Inspection) -> None:
    """Look at every entry, and count each mailbox."""
    box, counted = b"", _Totals()
    for key, raw in store.items("mail"):
        if key[:-SEQ_BYTES] != box or not box:
            _check_totals(store, box, counted)
            box, counted = key[:-SEQ_BYTES], _Totals()
            _check_box(store, "mail", key, box)
        try:
            _look_at_entry(store, key, box, raw, counted)
        except MALFORMED as error:
            store.found("mail", key, f"is malformed: {error}")
    _check_totals(store, box, counted)


def look_at_totals(store: Inspection) -> None:
    """Look at the totals of mailboxes, once `look_at_mail` has seen those that have entries."""
    if store.snapshot.count("boxes") == store.boxes_with_totals:
        return
    for box, _ in store.items("boxes"):
        _check_box(store, "boxes", box, box)
        first = next(store.snapshot.items("mail", box), (b"", b""))[0]
        if first[:-SEQ_BYTES] != box:
            store.found("boxes", box, "counts an empty mailbox")


def look_at_receipt(store: Inspection, key: bytes, value: bytes) -> None:
    """Look at a place in the index of receipts."""
    box = box_of_receipt(key)
    store.check_slot("receipts", key, slot_at(box))
    raw = store.snapshot.get("mail", box + value)
    if raw is None or raw[0] != mailbox.FINDABLE_RECEIPT:
        store.found("receipts", key, f"names entry {unpack_seq(value)}, which is no receipt")
        return
    receipt = mailbox.receipt_of(raw)
    if key != receipt_key(box, receipt.message_id, receipt.acker, receipt.group):
        store.found("receipts", key, f"names entry {unpack_seq(value)}, another receipt")


def _check_box(store: Inspection, tree: str, key: bytes, box: bytes) -> None:
    try:
        user, _ = split_box(box)
        if slot_of(user) != slot_at(box):
            store.found(tree, key, f"is in slot {slot_at(box)}, not in that of its user")
        store.check_slot(tree, key, slot_at(box))
    except MALFORMED as error:
        store.found(tree, key, f"is malformed: {error}")


def _look_at_entry(store: Inspection, key: bytes, box: bytes, raw: bytes, counted: _Totals) -> None:
    seq = unpack_seq(key)
    store.check_seq("mail", key, seq)
    kind = raw[0]
    if kind in _MESSAGE_KINDS:
        length = len(raw) - 1
        if kind == mailbox.GROUP_MESSAGE:
            body, length = mailbox.body_of(raw)
            store.held.add(body % SLOT_COUNT, mailbox.refer_to_body(body, length))
        counted.messages += 1
        counted.size += length
        if seq > store.forgotten:
            store.queued.add(slot_at(key), key)
    elif kind in _RECEIPT_KINDS:
        count, receipts = mailbox.receipts_in(raw), mailbox.receipts_of(raw)
        counted.receipts += count
        if len(receipts) != count:
            store.found("mail", key, f"counts {count} receipts, but has {len(receipts)}")
        for receipt in receipts[:1]:
            if box_of(receipt.author) != box:
                store.found("mail", key, f"is a receipt for {receipt.author}")
        if kind != mailbox.FINDABLE_RECEIPT:
            counted.unfindable += count
            return
        (receipt,) = receipts
        place = receipt_key(box, receipt.message_id, receipt.acker, receipt.group)
        if store.snapshot.get("receipts", place) != pack_seq(seq):
            store.found("mail", key, "is a receipt that the index of receipts does not name")
    else:
        store.found("mail", key, f"has the unknown kind {kind}")


def _check_totals(store: Inspection, box: bytes, counted: _Totals) -> None:
    kept = store.snapshot.get("boxes", box) if box else None
    if kept is None:
        return  # its user has a session, or had one when the worker died
    store.boxes_with_totals += 1
    try:
        totals = mailbox.unpack_totals(kept)
    except MALFORMED as error:
        store.found("boxes", box, f"is malformed: {error}")
        return
    found = (counted.messages, counted.size, counted.receipts)
    if totals[:3] != found:
        store.found(
            "boxes",
            box,
            "counts {} messages of {} bytes and {} receipts".format(*totals)
            + ", but there are {} of {} and {}".format(*found),
        )
    if totals[3] > store.last_seq:
        store.found("boxes", box, f"says that entry {totals[3]} was sent")
    if counted.unfindable:
        store.found("boxes", box, f"lacks {counted.unfindable} receipts in its index")
