"""The sheet's own frames, as nearly all are: decoded in one typed step, judged in one function.

What is plain is decided here and nowhere else: exactly the sheet's keys with values of their usual
types, an id of printable ASCII, and no fault. Of any other frame None is returned: the codec's
general way then says what it means. Where both take a frame it means the same to both
(tests/protocol/test_plain.py).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from relay.errors import FrameError, JidError, Refusal
from relay.protocol.content import decode_object, digest_of
from relay.protocol.frames import delivered_to_group, delivered_to_user
from relay.protocol.jid import MAX_LENGTH, chat_in
from relay.protocol.nesting import has_few_brackets
from relay.protocol.stanza import MAX_ID_CHARS, Ack, Send
from relay.protocol.times import message_time, read_time

_FAULTS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, FrameError, JidError)


# Within these lengths, and in ASCII, an id is printable or is left to the general way.
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
_Jid = Annotated[str, msgspec.Meta(max_length=MAX_LENGTH)]


class _Key(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    remoteJid: _Jid
    id: _Id
    fromMe: bool | None = None


class _Element(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    key: _Key
    message: msgspec.Raw
    messageTimestamp: str | int | None = None


class _Relay(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    add: Literal["relay"]


class _AckBody(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={"author": "from", "message_id": "id", "chat": "to"},
    gc=False,
):
    message_id: _Id
    ack: Literal[2, 3, 4]
    author: _Jid
    chat: _Jid
    cmd: Literal["ack", "acks"] = "ack"
    t: str | int | None = None
    participant: _Jid | None = None  # of an ack in a group; who acks is who is logged in (R14)


_decode_action = msgspec.json.Decoder(tuple[Literal["action"], _Relay, list[_Element]]).decode
_decode_ack = msgspec.json.Decoder(tuple[Literal["Msg", "MsgInfo"], _AckBody]).decode


def sends_in(
    payload: bytes, author: str, *, now_s: int, most: int, nesting: int
) -> list[Send | Refusal] | None:
    """Return the messages of an `action` that has no more than `most`.

    `payload` is no longer than a message may be. With more brackets than `nesting` it may be nested
    too deep, and is left to the general way.
    """
    sends: list[Send | Refusal] = []
    try:
        _, _, elements = _decode_action(payload)
        # Of the frame, not of what was decoded: a key that comes twice hides what it had first.
        if not 0 < len(elements) <= most or not has_few_brackets(payload, nesting):
            return None
        if not payload.isascii():
            payload.decode()
        for element in elements:
            key, message = element.key, bytes(element.message)
            content = decode_object(message)  # of bytes: faster than of Raw
            if not content or not (key.id.isascii() and key.id.isprintable()):
                return None
            chat, is_group = chat_in(key.remoteJid)
            time_s = message_time(element.messageTimestamp, now_s=now_s)
            if is_group:
                frame = delivered_to_group(author, chat, key.id, message, time_s)
            else:
                frame = delivered_to_user(author, key.id, message, time_s)
            sends.append(Send(chat, is_group, key.id, time_s, digest_of(content), frame))
    except _FAULTS:
        return None
    return sends


def ack_in(payload: bytes) -> Ack | None:
    """Return an ack of one message."""
    try:
        tag, body = _decode_ack(payload)
        author, author_is_group = chat_in(body.author)
        chat, chat_is_group = chat_in(body.chat)
    except _FAULTS:
        return None
    message_id = body.message_id
    if not (message_id.isascii() and message_id.isprintable()):
        return None
    if author_is_group and chat_is_group:
        return None
    time_s = read_time(body.t)
    return Ack(tag, [message_id], body.ack, author, author_is_group, chat, chat_is_group, time_s)
