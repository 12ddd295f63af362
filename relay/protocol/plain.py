"""The sheet's own frames, as nearly all are: decoded in one typed step, judged in one function.

What is plain is decided here and nowhere else: exactly the sheet's keys with values of their usual
types, an id of printable ASCII, and no fault. Of any other frame None is returned: the codec's
general way then says what it means. Where both take a frame it means the same to both
(tests/protocol/test_plain.py).
"""

from __future__ import annotations

from typing import Final

import msgspec

from relay.errors import FrameError, JidError, Refusal
from relay.protocol.content import decode_object, digest_of
from relay.protocol.frames import delivered_to_group, delivered_to_user
from relay.protocol.jid import chat_in
from relay.protocol.nesting import has_few_brackets
from relay.protocol.stanza import Ack, Send
from relay.protocol.times import message_time, read_time
from relay.protocol.typed import decode_ack, decode_action

_FAULTS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, FrameError, JidError)


def sends_in(
    payload: bytes, author: str, *, now_s: int, most: int, nesting: int
) -> list[Send | Refusal] | None:
    """Return the messages of an `action` that has no more than `most`.

    `payload` is no longer than a message may be. With more brackets than `nesting` it may be nested
    too deep, and is left to the general way.
    """
    sends: list[Send | Refusal] = []
    try:
        _, _, elements = decode_action(payload)
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
        tag, body = decode_ack(payload)
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
