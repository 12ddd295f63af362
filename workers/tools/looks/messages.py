"""What is known of messages, against the mailboxes where they wait and the lists to expire."""

from __future__ import annotations

from collections import Counter
from typing import Final
from zlib import crc32

from relay.protocol.slots import SLOT_COUNT, Slot
from relay.protocol.stanza import LEVEL_STORED
from workers.shard import mailbox, messages
from workers.store.keys import (
    box_of,
    pack_seq,
    pack_slot,
    slot_at,
    slot_of_message,
    unpack_seq,
)
from workers.store.schema import decode_keys
from workers.tools.looks.inspection import Inspection
from workers.tools.looks.readable import MALFORMED, readable

_MAX_LEVEL: Final = 4  # PROTOCOL R18


def look_at_message(store: Inspection, key: bytes, value: bytes) -> None:
    """Look at one record, and at the entry that it names."""
    store.listed.add(crc32(key) % SLOT_COUNT, key, -1)
    recipient, message = messages.parse(key, value)
    store.check_slot("messages", key, slot_of_message(key))
    store.check_seq("messages", key, message.seq)
    if not recipient:
        return  # the group's own record, by which a repeat is recognised
    if not LEVEL_STORED <= message.level <= _MAX_LEVEL:
        store.found("messages", key, f"has the level {message.level}")
    entry_key = box_of(recipient) + pack_seq(message.seq)
    entry = store.snapshot.get("mail", entry_key)
    if entry is None:
        return  # acked, evicted or expired
    wanted = mailbox.GROUP_MESSAGE if message.group else mailbox.MESSAGE
    if message.level > LEVEL_STORED:
        store.found("messages", key, f"is acked, but entry {message.seq} still waits")
    elif entry[:1] != bytes([wanted]):
        store.found("messages", key, f"names entry {message.seq}, which is of another kind")
    if entry[:1] in (b"m", b"g") and message.seq > store.forgotten:
        store.queued.add(slot_at(entry_key), entry_key, -1)


def look_at_expiry(store: Inspection, key: bytes, value: bytes) -> None:
    """Look at one list of messages."""
    seq = unpack_seq(key)
    store.check_seq("expiry", key, seq)
    for listed in decode_keys(value):
        record = store.snapshot.get("messages", listed)
        if record is None:
            store.found("expiry", key, f"lists {readable('messages', listed)}: no such record")
            continue
        store.listed.add(crc32(listed) % SLOT_COUNT, listed)
        _, message = messages.parse(listed, record)
        if message.seq > seq:
            text = readable("messages", listed)
            store.found("expiry", key, f"lists {text} of seq {message.seq}, which is later")


def name_uneven_mail(store: Inspection) -> None:
    """Name the entries that have not one record, once both trees have been looked at."""
    slots = store.queued.uneven()
    if not slots:
        return
    waiting: Counter[bytes] = Counter()
    for slot in slots:
        for key, raw in store.snapshot.items("mail", pack_slot(Slot(slot))):
            if slot_at(key) != slot:
                break
            if raw[:1] in (b"m", b"g") and unpack_seq(key) > store.forgotten:
                waiting[key] += 1
    for key, value in store.snapshot.items("messages"):
        try:
            if slot_of_message(key) in slots:
                recipient, message = messages.parse(key, value)
                if recipient:
                    waiting[box_of(recipient) + pack_seq(message.seq)] -= 1
        except MALFORMED:
            continue  # found before
    for key, count in waiting.items():
        if count > 0:
            store.found("mail", key, "has no record among the messages")
        elif count < 0 and store.snapshot.get("mail", key) is not None:
            store.found("mail", key, f"has {1 - count} records among the messages")


def name_uneven_expiry(store: Inspection) -> None:
    """Name the records that not one list names, once both trees have been looked at."""
    buckets = store.listed.uneven()
    if not buckets:
        return
    listed: Counter[bytes] = Counter()
    for _, value in store.snapshot.items("expiry"):
        try:
            keys = decode_keys(value)
        except MALFORMED:
            continue
        listed.update(key for key in keys if crc32(key) % SLOT_COUNT in buckets)
    for key, _ in store.snapshot.items("messages"):
        if crc32(key) % SLOT_COUNT in buckets and listed[key] != 1:
            store.found("messages", key, f"is listed {listed[key]} times to expire")
