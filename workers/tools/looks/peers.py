"""What a worker has for its peers, and what it has noted of itself and of them."""

from __future__ import annotations

from typing import assert_never

import msgspec

from relay.bus.envelopes import Carry, Content, Durable, GroupCopy, Receipt
from workers.shard import dates, outbox
from workers.shard.noted import decode_notes
from workers.store.journal import OF_JOURNAL
from workers.store.keys import SEQ_BYTES, split_outgoing, unpack_seq
from workers.store.meta import DATES_NAME, DAY_NAME, MARK_NAME, WAITING_NAME
from workers.tools.looks.inspection import Inspection


def look_at_outgoing(store: Inspection, key: bytes, value: bytes) -> None:
    """Look at one entry of the outbox."""
    peer, seq = split_outgoing(key)
    store.check_seq("outbox", key, seq)
    entry: Durable = outbox.decode(value)
    if entry.seq != seq:
        store.found("outbox", key, f"holds entry {entry.seq}")
    if seq <= store.snapshot.confirmed(peer):
        store.found("outbox", key, "was confirmed, but waits still")
    if store.mark is None or store.shards is None:
        return
    if peer == store.mark.index or peer >= store.mark.workers:
        store.found("outbox", key, f"is for worker {peer} of {store.mark.workers}")
        return
    for local in _addressed(entry.content):
        if store.shards.owner_of(local) != peer:
            store.found("outbox", key, f"is for {local}, whom worker {peer} does not serve")


def _addressed(content: Content) -> list[str]:
    """Return the users or groups in whose worker something is to be done."""
    match content:
        case GroupCopy():
            return content.members
        case Receipt():
            return [content.author]
        case Carry():
            return [content.owner]
        case _:
            assert_never(content)


def look_at_meta(store: Inspection, key: bytes, value: bytes) -> None:
    """Look at one counter."""
    name, _, peer = key.partition(b":")
    if name == MARK_NAME or OF_JOURNAL.get(name) == len(value):
        return
    if name == WAITING_NAME:
        try:
            decode_notes(value)
        except msgspec.MsgspecError:
            store.found("meta", key, "is malformed")
        return
    if name == DATES_NAME:
        dates.decode(value)
        return
    if (
        name not in (b"seq", DAY_NAME, b"forgotten", b"applied", b"confirmed")
        or len(value) != SEQ_BYTES
    ):
        store.found("meta", key, "is unknown or malformed")
    elif name in (b"forgotten", b"confirmed") and unpack_seq(value) > store.last_seq:
        store.found("meta", key, f"is {unpack_seq(value)}, beyond the last seq")
    mark = store.mark
    if peer and mark and int(peer) not in set(range(mark.workers)) - {mark.index}:
        store.found("meta", key, f"is of no peer of worker {mark.index}")
