"""Bodies of group messages, against their counts and the entries that refer to them."""

from __future__ import annotations

from collections import Counter

from relay.bus.envelopes import Seq
from relay.protocol.slots import SLOT_COUNT
from workers.shard import mailbox
from workers.store.keys import pack_seq, unpack_seq
from workers.store.schema import unpack_count
from workers.tools.looks.inspection import Inspection
from workers.tools.looks.readable import MALFORMED


def look_at_body(store: Inspection, key: bytes, value: bytes) -> None:
    """Look at one body and its count."""
    store.check_seq("bodies", key, unpack_seq(key))
    count = store.snapshot.get("holders", key)
    if count is None:
        store.found("bodies", key, "has no count of holders")
        return
    reference = mailbox.refer_to_body(unpack_seq(key), len(value))
    store.held.add(unpack_seq(key) % SLOT_COUNT, reference, -unpack_count(count))


def look_at_holders(store: Inspection, key: bytes, value: bytes) -> None:
    """Look at one count."""
    if store.snapshot.get("bodies", key) is None:
        store.found("holders", key, f"counts {unpack_count(value)} holders of a missing body")


def name_uneven_bodies(store: Inspection) -> None:
    """Name the bodies that have other holders than are counted, once all have been looked at."""
    buckets = store.held.uneven()
    if not buckets:
        return
    held: Counter[tuple[Seq, int]] = Counter()
    for _, raw in store.snapshot.items("mail"):
        if raw[:1] != b"g":
            continue
        try:
            body, length = mailbox.body_of(raw)
        except MALFORMED:
            continue
        if body % SLOT_COUNT in buckets:
            held[body, length] += 1
    lengths: dict[Seq, set[int]] = {}
    for body, length in held:
        lengths.setdefault(body, set()).add(length)
    for key, value in store.snapshot.items("bodies"):
        body = unpack_seq(key)
        if body % SLOT_COUNT not in buckets:
            continue
        counted = unpack_count(store.snapshot.get("holders", key) or b"\0\0\0\0")
        there = sum(held[body, length] for length in lengths.get(body, ()))
        if counted != there:
            store.found("bodies", key, f"counts {counted} holders, but {there} refer to it")
        if lengths.pop(body, {len(value)}) != {len(value)}:
            store.found("bodies", key, f"has {len(value)} bytes, but its holders say another")
    for body in lengths:
        store.found("bodies", pack_seq(body), "is missing, but mailboxes refer to it")
