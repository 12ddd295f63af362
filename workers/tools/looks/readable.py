"""A store's keys, for people."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from workers.store.keys import (
    SEQ_BYTES,
    box_of_receipt,
    parse_message_key,
    split_box,
    split_outgoing,
    split_owned,
    unpack_seq,
)

# What reading a key or a value ends with that no worker has written.
MALFORMED: Final = (ValueError, IndexError, struct.error, msgspec.DecodeError)


def readable(tree: str, key: bytes) -> str:
    """Return a key of a tree for people; one that is malformed as hexadecimal digits."""
    try:
        return READABLE.get(tree, _owned)(key)
    except MALFORMED:
        return key.hex()


def _mail(key: bytes) -> str:
    return f"{split_box(key[:-SEQ_BYTES])[0]} {unpack_seq(key)}"


def _receipt(key: bytes) -> str:
    return split_box(box_of_receipt(key))[0] + " " + key[2:].split(b"\0")[2].decode()


def _message(key: bytes) -> str:
    author, recipient, group = parse_message_key(key)
    message_id = key[: key.index(b"\0")].decode()
    return f"{message_id!r} of {author} to {recipient or group}" + (
        f" in {group}" if recipient and group else ""
    )


def _seq(key: bytes) -> str:
    return str(unpack_seq(key))


def _outgoing(key: bytes) -> str:
    return "for worker {} {}".format(*split_outgoing(key))


def _owned(key: bytes) -> str:
    owner, own_key = split_owned(key)
    text = own_key.decode(errors="replace")
    return f"{owner} {text if text.isprintable() and chr(0xFFFD) not in text else own_key.hex()}"


# By tree; all others are of extensions.
READABLE: Final[Mapping[str, Callable[[bytes], str]]] = {
    "mail": _mail,
    "boxes": lambda key: split_box(key)[0],
    "receipts": _receipt,
    "messages": _message,
    "expiry": _seq,
    "bodies": _seq,
    "holders": _seq,
    "outbox": _outgoing,
    "meta": bytes.decode,
}
