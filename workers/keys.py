"""The store's keys: how a user, a message and an entry become bytes that sort as they must.

All of a user's keys begin with its slot, so that a slot is one contiguous range of the tree. Parts
that vary in length end in NUL, which neither a jid nor a message id can hold.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

from relay.core.slots import slot_of

DEFAULT_DEVICE = "0"  # R27: clients that name no device share it
SEQ_BYTES = 8
LAST_SEQ = 2**64 - 1

# LMDB allows 511 bytes a key. A longer id (128 characters may be 512 bytes) is hashed; the
# marker cannot begin a real id, since ids hold no control characters (R21).
_MAX_PLAIN_ID_BYTES = 64
_HASHED_ID = b"\x01"

_SLOT = Struct(">H")
_SEQ = Struct(">Q")

pack_slot = _SLOT.pack
pack_seq = _SEQ.pack


def unpack_seq(key: bytes) -> int:
    """Return the sequence number that `key` ends in."""
    return int.from_bytes(key[-SEQ_BYTES:], "big")


def box_of(user: str, device: str = DEFAULT_DEVICE) -> bytes:
    """Return the prefix of every mailbox key of one device of `user`."""
    return pack_slot(slot_of(user)) + user.encode() + b"\0" + device.encode() + b"\0"


def message_prefix(message_id: str, author: str) -> bytes:
    """Return what all records of the pair (author, id) begin with, whoever the recipient."""
    return id_prefix(message_id) + author.encode() + b"\0"


def message_key(message_id: str, author: str, recipient: str, group: str) -> bytes:
    """Return the key of what is known of one message towards one recipient.

    A group's own record, the one that a repeat is recognised by, has an empty recipient.
    """
    return b"%b%b%b\0%b" % (
        message_prefix(message_id, author),
        pack_slot(slot_of(recipient or group)),
        recipient.encode(),
        group.encode(),
    )


def id_prefix(message_id: str) -> bytes:
    """Return what all records of one message id begin with, whoever its author."""
    encoded = message_id.encode()
    if len(encoded) > _MAX_PLAIN_ID_BYTES:
        return _HASHED_ID + blake2b(encoded, digest_size=16).hexdigest().encode() + b"\0"
    return encoded + b"\0"


def split_message_key(key: bytes, prefix: bytes) -> tuple[str, str, str]:
    """Return (author, recipient, group) of a message key that begins with `prefix`, the id's."""
    author, _, rest = key[len(prefix) :].partition(b"\0")
    recipient, _, group = rest[_SLOT.size :].partition(b"\0")
    return author.decode(), recipient.decode(), group.decode()


def receipt_key(box: bytes, message_id: str, acker: str, group: str) -> bytes:
    """Return the key under which an absent author's receipt is found, to replace it (2.4.5)."""
    return b"%b%b%b\0%b" % (box, id_prefix(message_id), acker.encode(), group.encode())
