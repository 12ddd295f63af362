"""The protocol's frames as a client of the sheet writes and reads them.

On purpose not the relay's own codec: what verifies must not share its mistakes.
"""

from typing import Final

import msgspec


def auth_frame(user: str, token: str = "") -> bytes:
    """Return the login of `user`."""
    who = {"remoteJid": f"{user}@s.whatsapp.com"}
    if token:
        who["token"] = token
    return msgspec.json.encode(["auth", {"type": "new"}, who])


def send_frame(chat: str, message_id: str, message: bytes, time_s: int) -> bytes:
    """Return the `action` that sends `message`, a JSON object, to the full jid `chat`."""
    return (
        b'["action", {"add": "relay"}, [{"message": %b, "key": {"remoteJid": "%b", '
        b'"fromMe": true, "id": "%b"}, "messageTimestamp": "%d"}]]'
    ) % (message, chat.encode(), message_id.encode(), time_s)


def ack_frame(message_id: str, level: int, *, author: str, acker: str, t: str) -> bytes:
    """Return the `Msg` by which the recipient of a 1-1 message acks it."""
    return (
        b'["Msg", {"id": "%b", "ack": %d, "cmd": "ack", "to": "%b@c.us", "t": "%b", '
        b'"from": "%b@c.us"}]'
    ) % (message_id.encode(), level, acker.encode(), t.encode(), author.encode())


def group_ack_frame(
    message_id: str, level: int, *, author: str, acker: str, group: str, t: str
) -> bytes:
    """Return the `MsgInfo` by which a member acks a message to the bare `group`."""
    return (
        b'["MsgInfo", {"from": "%b@c.us", "ack": %d, "cmd": "ack", "to": "%b@g.us", '
        b'"participant": "%b@sc.us", "id": "%b", "t": "%b"}]'
    ) % (author.encode(), level, group.encode(), acker.encode(), message_id.encode(), t.encode())


class Key(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Which message of which chat."""

    id: str
    remote_jid: str
    from_me: bool


class Delivered(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The one element of an `action` that delivers; `participant` is the author in a group."""

    key: Key
    message: msgspec.Raw
    message_timestamp: str
    participant: str = ""


class AckBody(msgspec.Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """The body of a `Msg` or, with a `participant`, of a `MsgInfo`."""

    id: str
    ack: int
    cmd: str
    to: str
    t: int
    from_: str
    participant: str = ""


class LoginAnswer(msgspec.Struct, frozen=True):
    """The body of the answer to `auth`."""

    status: str
    code: int = 0
    reason: str = ""


class Waiting(msgspec.Struct, frozen=True):
    """The body of a `q`: a string that holds an array of frames, after a sentinel."""

    data: str


class Refusal(msgspec.Struct, frozen=True):
    """The body of an `error`; `id` is empty where it is about no message."""

    code: int
    reason: str = ""
    tag: str = ""
    id: str = ""


def ack_for(element: Delivered, level: int, *, acker: str) -> bytes:
    """Return the frame by which `acker` acks what came, a `Msg` or in a group a `MsgInfo`."""
    key = element.key
    chat = key.remote_jid.partition("@")[0]
    if not element.participant:
        return ack_frame(key.id, level, author=chat, acker=acker, t=element.message_timestamp)
    author = element.participant.partition("@")[0]
    return group_ack_frame(
        key.id, level, author=author, acker=acker, group=chat, t=element.message_timestamp
    )


_delivered: Final = msgspec.json.Decoder(tuple[str, dict[str, str], tuple[Delivered]])
_ack: Final = msgspec.json.Decoder(tuple[str, AckBody])
_login: Final = msgspec.json.Decoder(tuple[str, LoginAnswer])
_waiting: Final = msgspec.json.Decoder(tuple[str, Waiting])
_refusal: Final = msgspec.json.Decoder(tuple[str, Refusal])
_raw_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_array: Final = msgspec.json.Decoder(list[object])

# All raise msgspec.MsgspecError where the frame is not of that kind.


def read_delivered(frame: bytes) -> Delivered:
    """Read an `action`, which holds exactly one message (PROTOCOL 2.4)."""
    return _delivered.decode(frame)[2][0]


def read_ack(frame: bytes) -> AckBody:
    """Read a `Msg` or `MsgInfo`."""
    return _ack.decode(frame)[1]


def read_login(frame: bytes) -> LoginAnswer:
    """Read the answer to `auth`."""
    return _login.decode(frame)[1]


def read_waiting(frame: bytes) -> list[bytes]:
    """Read a `q` and return the frames in it."""
    sentinel, *frames = _raw_list.decode(_waiting.decode(frame)[1].data)
    if bytes(sentinel) != b"[]":
        raise msgspec.ValidationError("the first element of a q's data is not []")
    return [bytes(frame) for frame in frames]


def read_refusal(frame: bytes) -> Refusal:
    """Read an `error`."""
    return _refusal.decode(frame)[1]


def tag_of(frame: bytes) -> bytes:
    """Return the tag of any frame: its first element, a string."""
    if frame[:2] == b'["':  # as nearly everyone writes it
        return frame[2 : frame.index(b'"', 2)]
    first = next(iter(_array.decode(frame)), None)
    if not isinstance(first, str):
        raise msgspec.ValidationError("a frame without a tag")
    return first.encode()
