"""What is posted: an event as its receiver reads it, and several as one request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple, assert_never

import msgspec

from relay.protocol.jid import group_jid, user_com
from relay.webhooks.events import (
    Event,
    GroupChanged,
    MailboxFull,
    MessageQueued,
    Place,
    UserOffline,
    UserOnline,
    id_of,
)

BATCH: Final = "events.batch"
TEST: Final = "webhook.test"

# The last millisecond that RFC 3339 can tell.
_LAST_MS: Final = 253_402_300_799_999

_encode: Final = msgspec.json.Encoder().encode


class Noted(NamedTuple):
    """An event and where a worker keeps it."""

    place: Place
    event: Event


class _Element(msgspec.Struct):
    message: msgspec.Raw


_decode_frame: Final = msgspec.json.Decoder(tuple[str, msgspec.Raw, tuple[_Element]]).decode


def body_of(noted: Sequence[Noted]) -> tuple[str, bytes]:
    """Return the id and the content of one request for events, at least one, in their order.

    The id of one event is its own; that of several is made of theirs. So it is the same for the
    same content.
    """
    if len(noted) == 1:
        return id_of(noted[0].place), _encode(told(noted[0]))
    ids = [id_of(each.place) for each in noted]
    name = blake2b(" ".join(ids).encode(), digest_size=16).hexdigest()
    data = {"events": [told(each) for each in noted]}
    return f"bat_{name}", _encode(_envelope(BATCH, noted[0].event.at_ms, data))


def body_of_test(number: str, now_ms: int) -> tuple[str, bytes]:
    """Return the same for an event that tells nothing."""
    return f"tst_{number}", _encode(_envelope(TEST, now_ms, {}))


def told(noted: Noted) -> dict[str, Any]:
    """Return what a receiver is told of one event, ready for JSON."""
    place, event = noted
    kind: str = event.what.__struct_config__.tag  # type: ignore[assignment]
    return _envelope(kind, event.at_ms, _data(place.owner, event)) | {
        "id": id_of(place),
        "seq": place.seq,
    }


def _envelope(kind: str, at_ms: int, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "timestamp": _timestamp(at_ms), "data": data}


def _timestamp(at_ms: int) -> str:
    """Return a time as RFC 3339 has it, in UTC."""
    at_ms = min(max(at_ms, 0), _LAST_MS)
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def _data(owner: str, event: Event) -> dict[str, Any]:
    what = event.what
    match what:
        case MessageQueued():
            data = {"user": user_com(owner), **_message(what)}
            data |= {"messageTimestamp": what.time_s, "size": what.size}
            return data | ({"message": _message_in(what.frame)} if what.frame else {})
        case UserOnline():
            return {"user": user_com(owner)}
        case UserOffline(waiting):
            return {"user": user_com(owner), "waiting": waiting}
        case GroupChanged(change, subject, members):
            data = {"group": group_jid(owner), "change": change}
            return data | {"subject": subject, "participants": members}
        case MailboxFull():
            of_what = "author_share" if what.is_share else "mailbox"
            return {"user": user_com(owner), "full": of_what, **_message(what)}
        case _:
            assert_never(what)


def _message(what: MessageQueued | MailboxFull) -> dict[str, Any]:
    return {
        "author": user_com(what.author),
        "group": group_jid(what.group) if what.group else None,
        "id": what.message_id,
    }


def _message_in(frame: bytes) -> msgspec.Raw | None:
    try:
        return _decode_frame(frame)[2][0].message
    except msgspec.DecodeError:  # no frame that a client could have sent
        return None
