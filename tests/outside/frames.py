"""The sheet's frames, as PROTOCOL section 2 has them: written, read and checked.

A frame is a list, as JSON has it. The values by default are those of the sheet's examples.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import msgspec

Frame = list[Any]

# The users and the group of the protocol sheet, and two more users.
ALICE: Final = "917069852821"
BOB: Final = "919428284313"
CAROL: Final = "919354513536"
EVE: Final = "919971033011"
GROUP: Final = "917069852821-1566557065@g.us"

# The time of the sheet's 1-1 example, and its text.
SENT_AT: Final = 1566970629
TEXT: Final = {"conversation": "Test msg"}

AUTH_SUCCESS: Final[Frame] = ["auth", {"from": "backend", "status": "success"}]
EMPTY_Q: Final[Frame] = ["q", {"data": "[[]]", "from": "backend"}]


class Absent:
    """Says that a key must not be there, where None says that it does not matter."""


ABSENT: Final = Absent()


# --- written -----------------------------------------------------------------------------------


def auth_frame(jid: str) -> Frame:
    return ["auth", {"type": "new"}, {"remoteJid": jid}]


def user_jid(user: str) -> str:
    """The jid of a bare local part as a sheet client would write it; a full one stays."""
    return user if "@" in user else f"{user}@s.whatsapp.com"


def element(to: str, message_id: str, message: object = TEXT, t: object = str(SENT_AT)) -> Any:
    """One message element of an `action` frame."""
    return {
        "message": message,
        "key": {"remoteJid": user_jid(to), "fromMe": True, "id": message_id},
        "messageTimestamp": t,
    }


def action(*elements: object) -> Frame:
    return ["action", {"add": "relay"}, list(elements)]


def ack_1(message_id: str, *, author: str, to: str, t: int = SENT_AT) -> Frame:
    """What the author gets once the message is stored; `to` is a bare user or a group jid."""
    if to.endswith("@g.us"):
        return _msg(message_id, 1, to=to, t=t, author=author)
    return receipt(message_id, 1, author=author, by=to, t=t)


def receipt(message_id: str, level: int, *, author: str, by: str, t: object) -> Frame:
    """What the author of a 1-1 message gets, and what its recipient `by` sends."""
    return _msg(message_id, level, to=f"{by}@c.us", t=t, author=f"{author}@c.us")


def _msg(message_id: str, level: int, *, to: str, t: object, author: str) -> Frame:
    return ["Msg", {"id": message_id, "ack": level, "cmd": "ack", "to": to, "t": t, "from": author}]


def group_receipt(
    message_id: str, level: int, *, author: str, by: str, t: object, group: str = GROUP
) -> Frame:
    """What the author of a group message gets for the member `by`, and what that member sends."""
    return [
        "MsgInfo",
        {
            "from": f"{author}@c.us",
            "ack": level,
            "cmd": "ack",
            "to": group,
            "participant": f"{by}@c.us",
            "id": message_id,
            "t": t,
        },
    ]


def delivery(
    message_id: str, *, author: str, message: object = TEXT, t: int = SENT_AT, **extra: object
) -> Frame:
    """What the recipient of a 1-1 message gets."""
    key = {"fromMe": False, "id": message_id, "remoteJid": f"{author}@s.whatsapp.com"}
    return action({"key": key, "message": message, "messageTimestamp": str(t), **extra})


def group_delivery(
    message_id: str,
    *,
    author: str,
    message: object = TEXT,
    t: int = SENT_AT,
    group: str = GROUP,
) -> Frame:
    """What a member gets of a message to the group."""
    return action(
        {
            "key": {"fromMe": False, "id": message_id, "remoteJid": group},
            "participant": f"{author}@s.whatsapp.net",
            "message": message,
            "messageTimestamp": str(t),
        }
    )


def ack_of(frame: Frame, level: object, *, by: str, t: object = str(SENT_AT)) -> Frame:
    """What `by` sends to acknowledge the `action` frame that was delivered to it."""
    [message] = frame[2]
    chat, message_id = message["key"]["remoteJid"], message["key"]["id"]
    if "participant" in message:
        author = message["participant"].partition("@")[0]
        body = group_receipt(message_id, 0, author=author, by=by, t=t, group=chat)
    else:
        author = chat.partition("@")[0]
        body = receipt(message_id, 0, author=author, by=by, t=t)
    body[1]["ack"] = level
    return body


def spaced(frame: Frame) -> bytes:
    """Return the frame's text as nearly everyone writes it, with a space after `,` and `:`."""
    return json.dumps(frame).encode()


def compact(frame: Frame) -> bytes:
    """Return the frame's text without a space, as other clients write it."""
    return _encode(frame)


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Frame).decode


# --- read --------------------------------------------------------------------------------------


def parsed(text: bytes) -> Frame:
    """Return a frame from its text, for those who read many.

    Raises:
        msgspec.MsgspecError: it is no JSON, or no array.
    """
    return _decode(text)


def message_id_of(frame: Frame) -> str:
    """The message id of an `action` that was delivered, or of a `Msg` or `MsgInfo`."""
    message_id: str = frame[2][0]["key"]["id"] if frame[0] == "action" else frame[1]["id"]
    return message_id


def queued_in(q: Frame) -> list[Frame]:
    """The frames that a `q` frame carries, after a check of its form (R3 to R5)."""
    assert q[0] == "q", q
    assert len(q) == 2, q
    assert q[1].keys() == {"data", "from"}, q
    assert q[1]["from"] == "backend", q
    data = q[1]["data"]
    assert isinstance(data, str), q
    assert data.isascii(), data
    assert "'" not in data, data
    sentinel, *frames = strict_json(data)
    assert sentinel == [], data
    return list(frames)


def strict_json(text: str) -> Any:
    """Parse JSON as RFC 8259 has it, without the NaN and Infinity that Python lets pass."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


def check_error(
    frame: Frame,
    code: int | None,
    *,
    tag: str | Absent | None = None,
    message_id: str | Absent | None = None,
) -> None:
    """Assert that `frame` is an `error` of PROTOCOL 2.8; None leaves a value open."""
    assert frame[0] == "error", frame
    assert len(frame) == 2, frame
    body = frame[1]
    known = {"from", "type", "code", "reason"}
    assert known <= body.keys() <= known | {"tag", "id", "retryAfter"}, frame
    assert body["from"] == "backend", frame
    assert body["type"] == "error", frame
    assert isinstance(body["code"], int), frame
    assert code is None or body["code"] == code, frame
    assert isinstance(body["reason"], str), frame
    assert body["reason"], frame
    assert ("retryAfter" in body) == (body["code"] in (429, 503)), frame
    for key, value in (("tag", tag), ("id", message_id)):
        if isinstance(value, Absent):
            assert key not in body, frame
        elif value is not None:
            assert body.get(key) == value, frame


def sorted_keys(frames: Sequence[Frame]) -> list[Any]:
    """The frames with the keys of each object in order, so that equal ones have equal texts."""
    return [json.loads(json.dumps(frame, sort_keys=True)) for frame in frames]


def near(t: object, expected: float, *, within_s: float = 60.0) -> bool:
    """Whether `t` is a time in seconds near `expected`; for times that the server chose."""
    return isinstance(t, int) and math.isclose(t, expected, rel_tol=0, abs_tol=within_s)
