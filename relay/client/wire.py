"""The frames of one client as JSON text: those of the relay are read, its own are written.

Only what a client of this kind asks for is read; every other key and frame is skipped.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from relay.client.errors import Unreadable
from relay.client.events import Level, Message, MessageKey
from relay.errors import JidError
from relay.protocol.jid import group_jid, parse_chat, parse_user, user_com, user_cus

_MAX_NESTING: Final = 32  # of a frame; a body stands inside three levels of it
_BODY_LEVEL: Final = 3
_MESSAGE_ID: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,128}")
_STORED: Final = 1  # the ack that is the relay's own word; the others are a `Level`


class AuthReply(msgspec.Struct, frozen=True, rename={"retry_after": "retryAfter"}):
    """The answer to a login. `retry_after` is in seconds, None where the relay names no time."""

    status: Literal["success", "failure"]
    code: int = 0
    reason: str = ""
    retry_after: float | None = None


class QueueFrame(msgspec.Struct, frozen=True):
    """What waited at the relay: frames to be read one by one, in order."""

    entries: list[msgspec.Raw]


class Delivery(msgspec.Struct, frozen=True):
    """One message for this user, and how many bytes of frame it was."""

    message: Message
    size: int


class DeliveredFrames(msgspec.Struct, frozen=True):
    """The elements of an `action` in order; copies of own sends are left out."""

    deliveries: list[Delivery]
    unreadable: int  # elements that made no sense


class StoredAck(msgspec.Struct, frozen=True):
    """Ack 1: the relay stores the message `id` that `author` sent to `chat`."""

    id: str
    author: str
    chat: str
    t: int


class ReceiptAck(msgspec.Struct, frozen=True):
    """A higher ack: `user` got, read or played the message `id` that `author` sent to `chat`."""

    id: str
    author: str
    chat: str
    user: str
    level: Level
    t: int


class ErrorReport(msgspec.Struct, frozen=True, rename={"retry_after": "retryAfter"}):
    """An `error` frame; `tag` and `id` are empty where it names no frame of ours."""

    code: int
    reason: str = ""
    tag: str = ""
    id: str = ""
    retry_after: float | None = None


class CloseNotice(msgspec.Struct, frozen=True, rename={"retry_after": "retryAfter"}):
    """A `Cmd`: why the relay is about to close the connection."""

    kind: str = ""
    retry_after: float | None = None


class SignOfLife(msgspec.Struct, frozen=True):
    """The answer to `KEEPALIVE`: the relay's wall clock, in seconds since 1970."""

    wall: float


RelayFrame = (
    AuthReply
    | QueueFrame
    | DeliveredFrames
    | StoredAck
    | ReceiptAck
    | ErrorReport
    | CloseNotice
    | SignOfLife
)


class _Queue(msgspec.Struct):
    data: str


class _Ack(msgspec.Struct, rename={"sender": "from"}):
    id: str
    ack: int
    to: str
    sender: str
    participant: str = ""
    t: int | str = 0


class _ActionKind(msgspec.Struct):
    add: Literal["relay"]


class _Key(msgspec.Struct):
    id: str
    remoteJid: str
    fromMe: bool = False


class _Element(msgspec.Struct):
    key: _Key
    message: msgspec.Raw
    messageTimestamp: int | str = 0
    participant: str = ""


_TAG = msgspec.json.Decoder(str)
_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_BODY = msgspec.json.Decoder(dict[str, Any])
_AUTH_REPLY = msgspec.json.Decoder(AuthReply)
_QUEUE = msgspec.json.Decoder(_Queue)
_ACK = msgspec.json.Decoder(_Ack)
_ACTION_KIND = msgspec.json.Decoder(_ActionKind)
_ELEMENT = msgspec.json.Decoder(_Element)
_ERROR_REPORT = msgspec.json.Decoder(ErrorReport)
_CLOSE_NOTICE = msgspec.json.Decoder(CloseNotice)
_ENCODER = msgspec.json.Encoder()

KEEPALIVE: Final = "?,,"  # no frame, and answered by none (E13)
_KEEPALIVE_ANSWER: Final = re.compile(r"!([0-9]{1,15})", re.ASCII)

# What a frame of a relay that is newer, or not well, can make the decoders raise.
# RecursionError is msgspec's answer to nesting beyond Python's own limit.
_NOT_UNDERSTOOD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, JidError, IndexError)


# -- reading -------------------------------------------------------------------------------------


def read(frame: str | bytes | msgspec.Raw) -> RelayFrame | None:
    """Return what the relay's frame says, or None where no client of this kind asks for it.

    Raises:
        Unreadable: it makes no sense.
    """
    if isinstance(frame, str) and (answer := _KEEPALIVE_ANSWER.fullmatch(frame)):
        return SignOfLife(int(answer[1]) / 1000)
    try:
        return _read(_PARTS.decode(frame))
    except _NOT_UNDERSTOOD as error:
        raise Unreadable(str(error)) from error


def _read(frame: list[msgspec.Raw]) -> RelayFrame | None:
    match _TAG.decode(frame[0]):
        case "auth":
            return _AUTH_REPLY.decode(frame[1])
        case "q":
            # Element 0 of the data is a constant.
            return QueueFrame(_PARTS.decode(_QUEUE.decode(frame[1]).data)[1:])
        case "action":
            _ACTION_KIND.decode(frame[1])
            return _deliveries(_PARTS.decode(frame[2]))
        case "Msg" | "MsgInfo":
            return _ack(_ACK.decode(frame[1]))
        case "error":
            return _ERROR_REPORT.decode(frame[1])
        case "Cmd":
            return _CLOSE_NOTICE.decode(frame[1])
    return None


def _deliveries(elements: list[msgspec.Raw]) -> DeliveredFrames:
    deliveries: list[Delivery] = []
    unreadable = 0
    for raw in elements:
        try:
            element = _ELEMENT.decode(raw)
            chat = chat_name(element.key.remoteJid)
            sender = parse_user(element.participant) if _is_group(chat) else chat
            body = _BODY.decode(element.message)
        except _NOT_UNDERSTOOD:
            unreadable += 1
            continue
        if element.key.fromMe:
            continue  # only sessions that ask for copies of own sends get these
        t = _seconds(element.messageTimestamp)
        message = Message(element.key.id, chat, sender, body, t)
        deliveries.append(Delivery(message, len(bytes(raw))))
    return DeliveredFrames(deliveries, unreadable)


def _ack(ack: _Ack) -> StoredAck | ReceiptAck | None:
    author, chat, t = parse_user(ack.sender), chat_name(ack.to), _seconds(ack.t)
    if ack.ack == _STORED:
        return StoredAck(ack.id, author, chat, t)
    if ack.ack not in tuple(Level):
        return None
    user = parse_user(ack.participant) if _is_group(chat) else chat
    return ReceiptAck(ack.id, author, chat, user, Level(ack.ack), t)


def chat_name(text: str) -> str:
    """Return the one spelling of a chat that events use: a local part, or a group's jid.

    Raises:
        JidError: neither a user nor a group.
    """
    local, is_group = parse_chat(text)
    return group_jid(local) if is_group else local


def _is_group(chat: str) -> bool:
    return chat.endswith("@g.us")


def _seconds(t: int | str) -> int:
    try:
        return int(t)
    except ValueError:
        return 0


# -- writing -------------------------------------------------------------------------------------


def auth_frame(user: str, token: str = "") -> str:
    """Return the login of `user` (local part), with a token if the relay wants one."""
    who = {"remoteJid": user_com(user)}
    if token:
        who["token"] = token
    return _frame("auth", {"type": "new"}, who)


def send_frame(
    chat: str, message: Mapping[str, Any], message_id: str, *, now_s: int, max_bytes: int
) -> str:
    """Return the `action` that sends `message` to `chat`, spelled as by `chat_name`.

    Raises:
        ValueError: what no relay would take: the id, an empty, too deep or too large message, or
            text that is no Unicode.
    """
    if not _MESSAGE_ID.fullmatch(message_id):
        raise ValueError(
            f"an id is 1 to 128 characters, none of them a control character: {message_id!a}"
        )
    if not message:
        raise ValueError("the message is empty")
    if (nesting := _nesting(message) + _BODY_LEVEL) > _MAX_NESTING:
        raise ValueError(f"frame of {nesting} nested levels exceeds {_MAX_NESTING}")
    key = {
        "remoteJid": chat if _is_group(chat) else user_com(chat),
        "fromMe": True,
        "id": message_id,
    }
    element = {"message": message, "key": key, "messageTimestamp": str(now_s)}
    frame = _frame("action", {"add": "relay"}, [element])
    if (size := len(frame.encode())) > max_bytes:
        raise ValueError(f"frame of {size} bytes exceeds frame_bytes={max_bytes}")
    return frame


def ack_frame(user: str, message: MessageKey, level: Level, *, t: int) -> str:
    """Return what `user` tells the relay of a message: delivered, read or played, at `t` seconds.

    A message of a group is acked with `MsgInfo`, every other one with `Msg`.
    """
    chat, sender, message_id = message
    author, me = user_cus(sender), user_cus(user)
    body: dict[str, Any] = {"from": author, "ack": int(level), "cmd": "ack"}
    if _is_group(chat):
        more = {"to": chat, "participant": me, "id": message_id, "t": str(t)}
        return _frame("MsgInfo", body | more)
    return _frame("Msg", body | {"to": me, "id": message_id, "t": str(t)})


def _frame(*parts: object) -> str:
    try:
        return _ENCODER.encode(parts).decode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text that is no Unicode: {error.reason}") from error


def _nesting(value: object) -> int:
    """Return how deep containers are nested in `value`; the value itself counts as one."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        if deepest > _MAX_NESTING:
            break
        children: list[object] = []
        for item in level:
            if isinstance(item, Mapping):
                children += item.values()
            elif isinstance(item, list | tuple):
                children += item
        level = [child for child in children if isinstance(child, Mapping | list | tuple)]
    return deepest
