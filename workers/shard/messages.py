"""What is known of a message towards one recipient: for repeats (R20) and for acks (2.4)."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final, cast

import msgspec

from relay.bus.envelopes import Seq
from relay.protocol.stanza import LEVEL_PLAYED, LEVEL_STORED
from workers.store.batch import Batch
from workers.store.keys import id_prefix, message_key, parse_message_key, split_message_key

_RECORD = Struct(">QQB8s")
# (seq, time_s, level, digest), as in `Known`.
pack: Final[Callable[[Seq, int, int, bytes], bytes]] = _RECORD.pack
unpack = cast("Callable[[bytes], tuple[Seq, int, int, bytes]]", _RECORD.unpack)
NO_DIGEST = bytes(8)
# How many records with one id are looked at to find the only author of it. Few, because a client
# that names neither author nor chat right is rare, honest ids do not repeat, and anyone may ask.
_MAX_SAME_ID = 8


class Known(msgspec.Struct, frozen=True, gc=False):
    """One message towards one recipient, or (with an empty recipient) towards its group.

    `key` is its key in the store, `seq` its entry in the recipient's mailbox, `level` the highest
    ack of the recipient.
    """

    key: bytes
    author: str
    group: str
    seq: Seq
    time_s: int
    level: int
    digest: bytes


def find(
    batch: Batch, message_id: str, author: str, recipient: str, group: str = ""
) -> Known | None:
    """Return the message of that id and author towards that recipient."""
    key = message_key(message_id, author, recipient, group)
    record = batch.get_message(key)
    return None if record is None else known_of(key, record, author, group)


def known_of(key: bytes, record: bytes, author: str, group: str = "") -> Known:
    """Return what the record of the key `key` says of the message of `author`."""
    return Known(key, author, group, *unpack(record))


def find_only_author(batch: Batch, message_id: str, recipient: str) -> Known | None:
    """Return the 1-1 message of that id to `recipient` if exactly one author sent one (2.4.1)."""
    prefix = id_prefix(message_id)
    only: Known | None = None
    for looked_at, (key, record) in enumerate(batch.scan_messages(prefix)):
        if looked_at == _MAX_SAME_ID:
            return None
        author, to, group = split_message_key(key, prefix)
        if to != recipient or group:
            continue
        if only is not None:
            return None
        only = known_of(key, record, author)
    return only


def new_record(*, seq: Seq, time_s: int) -> bytes:
    """Return what is known of a group message towards a member who has not acked it."""
    return pack(seq, time_s, LEVEL_STORED, NO_DIGEST)


def add(batch: Batch, key: bytes, *, seq: Seq, time_s: int, digest: bytes) -> None:
    """Remember the message of the key `key`, which is stored with this batch."""
    batch.add_message(key, pack(seq, time_s, LEVEL_STORED, digest))


def add_unsent(batch: Batch, key: bytes, *, seq: Seq, time_s: int, digest: bytes) -> None:
    """Remember a message that nobody gets, so that nobody can ack it: no level is above its own."""
    batch.add_message(key, pack(seq, time_s, LEVEL_PLAYED, digest))


def raise_level(batch: Batch, message: Known, level: int) -> None:
    """Note how far its recipient is with the message."""
    batch.update_message(message.key, pack(message.seq, message.time_s, level, message.digest))


def parse(key: bytes, record: bytes) -> tuple[str, Known]:
    """Return (recipient, message) of an item of the store; ValueError if it is none."""
    author, recipient, group = parse_message_key(key)
    if len(record) != _RECORD.size:
        raise ValueError(f"a record of {len(record)} bytes")
    return recipient, known_of(key, record, author, group)
