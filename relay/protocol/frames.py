"""The frames that the relay sends, as bytes: keys in the sheet's order, strict JSON (R12, R32)."""

from collections.abc import Iterable, Sequence

import msgspec

from relay.errors import Refusal
from relay.protocol import delivered

_encode = msgspec.json.Encoder().encode
_CHAT = b'"remoteJid": "'  # no member of an `action` frame before it can hold these bytes

AUTH_SUCCESS = b'["auth", {"from": "backend", "status": "success"}]'
DISCONNECT_REPLACED = b'["Cmd", {"type": "disconnect", "kind": "replaced"}]'
DISCONNECT_LOGOUT = b'["Cmd", {"type": "disconnect", "kind": "logout"}]'
DISCONNECT_KICKED = b'["Cmd", {"type": "disconnect", "kind": "kicked"}]'
DISCONNECT_SHUTDOWN = b'["Cmd", {"type": "disconnect", "kind": "shutdown"}]'


def delivered_to_user(
    author: str,
    message_id: str,
    message: bytes,
    time_s: int,
    key_extra: bytes = b"",
    extra: bytes = b"",
) -> bytes:
    """Return the `action` frame that the recipient of a 1-1 message gets.

    `message` is the JSON object as its author wrote it. The extras are further members of the key
    and the element as JSON text that starts with a comma, or empty (R24).
    """
    return (
        b'["action", {"add": "relay"}, [{"key": {"fromMe": false, "id": %b, '
        b'"remoteJid": "%b@s.whatsapp.com"%b}, "message": %b, "messageTimestamp": "%d"%b}]]'
    ) % (_encode(message_id), author.encode(), key_extra, message, time_s, extra)


def delivered_to_group(
    author: str,
    group: str,
    message_id: str,
    message: bytes,
    time_s: int,
    key_extra: bytes = b"",
    extra: bytes = b"",
) -> bytes:
    """Return the `action` frame that every member of `group` gets; see `delivered_to_user`."""
    return (
        b'["action", {"add": "relay"}, [{"key": {"fromMe": false, "id": %b, '
        b'"remoteJid": "%b@g.us"%b}, "participant": "%b@s.whatsapp.net", '
        b'"message": %b, "messageTimestamp": "%d"%b}]]'
    ) % (
        _encode(message_id),
        group.encode(),
        key_extra,
        author.encode(),
        message,
        time_s,
        extra,
    )


def author_of(frame: bytes) -> str:
    """Return who wrote the message in a frame of `delivered_to_user` or `delivered_to_group`.

    Of any other frame, empty. Raises nothing.
    """
    start = frame.find(_CHAT)
    end = frame.find(b"@", start)
    if start < 0 or end < 0:
        return ""
    if not frame.startswith(b"@g.us", end):
        return frame[start + len(_CHAT) : end].decode(errors="replace")
    # Members that the author chose stand before the one that says who it is.
    try:
        (element,) = delivered.decode_to_group(frame)[2]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return element.participant.partition("@")[0]


def id_of(frame: bytes) -> str:
    """Return the id of the message in a frame of `delivered_to_user` or `delivered_to_group`.

    Of any other frame, empty. Raises nothing.
    """
    try:
        return delivered.decode(frame)[2][0].key.id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def stored_for_user(*, message_id: str, author: str, recipient: str, time_s: int) -> bytes:
    """Return the `Msg` ack 1 of a 1-1 send."""
    return (
        b'["Msg", {"id": %b, "ack": 1, "cmd": "ack", "to": "%b@c.us", "t": %d, "from": "%b@c.us"}]'
        % (_encode(message_id), recipient.encode(), time_s, author.encode())
    )


def stored_for_group(*, message_id: str, author: str, group: str, time_s: int) -> bytes:
    """Return the `Msg` ack 1 of a group send; its `from` is the bare local part (R12)."""
    return (
        b'["Msg", {"id": %b, "ack": 1, "cmd": "ack", "to": "%b@g.us", "t": %d, "from": "%b"}]'
        % (
            _encode(message_id),
            group.encode(),
            time_s,
            author.encode(),
        )
    )


def receipt(
    *, message_id: str, level: int, author: str, acker: str, group: str, time_s: int
) -> bytes:
    """Return what the author is told: `Msg` for 1-1 (`group` empty), else `MsgInfo` (R15, R17)."""
    if group:
        return (
            b'["MsgInfo", {"from": "%b@c.us", "ack": %d, "cmd": "ack", "to": "%b@g.us", '
            b'"participant": "%b@c.us", "id": %b, "t": %d}]'
        ) % (
            author.encode(),
            level,
            group.encode(),
            acker.encode(),
            _encode(message_id),
            time_s,
        )
    return (
        b'["Msg", {"id": %b, "ack": %d, "cmd": "ack", "to": "%b@c.us", "t": %d, "from": "%b@c.us"}]'
    ) % (_encode(message_id), level, acker.encode(), time_s, author.encode())


def group_receipts(
    *, message_id: str, level: int, author: str, group: str, said: Iterable[tuple[str, int]]
) -> list[bytes]:
    """Return what the author of a message in a group is told of many, by (acker, time)."""
    before = (
        b'["MsgInfo", {"from": "%b@c.us", "ack": %d, "cmd": "ack", "to": "%b@g.us", '
        b'"participant": "'
    ) % (author.encode(), level, group.encode())
    behind = b'@c.us", "id": %b, "t": ' % _encode(message_id)
    return [b"%b%b%b%d}]" % (before, acker.encode(), behind, time_s) for acker, time_s in said]


def refusal(refusal: Refusal) -> bytes:
    """Return an `error` frame (2.8); keys that are not known are left out."""
    body: dict[str, object] = {
        "from": "backend",
        "type": "error",
        "code": refusal.code,
        "reason": refusal.reason,
    }
    if refusal.tag:
        body["tag"] = refusal.tag
    if refusal.message_id:
        body["id"] = refusal.message_id
    if refusal.retry_after_s is not None:
        body["retryAfter"] = refusal.retry_after_s
    frame = _encode(["error", body])
    return b"%b,%b" % (refusal.prefix.encode(), frame) if refusal.prefix else frame


def auth_success(
    *, caps: Sequence[str] | None, resume: bool, device: str, session_id: str, time_s: int
) -> bytes:
    """Return the answer to a login that succeeded.

    A client of the sheet gets the sheet's two keys. One that named capabilities, be it none, is
    told those granted (E1), one that asked to resume that it did not (E3).
    """
    if caps is None and not resume:
        return AUTH_SUCCESS
    body: dict[str, object] = {"from": "backend", "status": "success"}
    if caps is not None:
        body |= {"caps": caps, "device": device, "sessionId": session_id, "t": time_s}
    if resume:
        body |= {"resumed": False, "sessionId": session_id}
    return _encode(["auth", body])


def auth_failure(*, code: int, reason: str, retry_after_s: int | float | None = None) -> bytes:
    """Return the answer to a login that failed (2.2.4)."""
    body: dict[str, object] = {
        "from": "backend",
        "status": "failure",
        "code": code,
        "reason": reason,
    }
    if retry_after_s is not None:
        body["retryAfter"] = retry_after_s
    return _encode(["auth", body])
