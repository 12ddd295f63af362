"""POST /api/v1/messages: a message as the operator's own user, stored before it is answered."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from relay import clock
from relay.admin.asker import Silence
from relay.admin.routes import act, acted, also
from relay.admin.view import View
from relay.errors import FrameError, Refusal
from relay.inquiries.sending import AskSend
from relay.protocol.codec import Codec
from relay.protocol.jid import group_jid, user_com
from relay.protocol.stanza import Action, Send

_SENDING: Final = also(
    {
        400: "the address, the id or the message is not as it must be",
        403: "the token does not allow it, or the operator is no member of the group",
        404: "there is no such group",
        409: "admin.jid is not set, or the id was used for another message in this chat",
        413: "the message is too large",
        429: "too many",
        500: "it cannot be stored: the disk is full, or has failed",
        503: "whoever serves the recipient is being renewed: send it again",
        504: "it is not known whether it was stored; the same id may be sent again",
        507: "too much waits for the recipient, or of the operator",
    }
)


class Outgoing(msgspec.Struct, frozen=True):
    """A message; who has no answer sends it again with the same `id`, and it is stored once."""

    to: Annotated[str, msgspec.Meta(max_length=200, description="a user or a group")]
    message: dict[str, Any]  # as clients send it, such as {"conversation": "Maintenance at 10"}
    id: Annotated[str, msgspec.Meta(max_length=128, description="of your choice")] = ""


class _AsWritten(msgspec.Struct, frozen=True):
    """The same, with the message as it was written: it passes through unchanged (R25)."""

    message: msgspec.Raw


class MessageStored(msgspec.Struct, frozen=True, kw_only=True):
    """It is stored for good, as ack 1 says to clients. `t` is of the first time it was sent."""

    id: str
    author: str
    to: str
    t: int


@act("/api/v1/messages", summary="Send a message", tags=["messages"], responses=_SENDING)
async def send(request: Request[Any, Any, Any], view: View, data: Outgoing) -> MessageStored:
    """Send as `admin.jid`; it goes the way of any message, but for the limit on the rate."""
    author = view.place.settings.admin.jid  # fronts, too, know it from their start
    if not author:
        reason = "admin.jid is not set: operators have no name to send as"
        raise HTTPException(reason, status_code=409)
    message_id = data.id or secrets.token_hex(12).upper()
    written = msgspec.json.decode(await request.body(), type=_AsWritten).message
    sent = _checked(view, author, data.to, message_id, written)
    to = group_jid(sent.chat) if sent.is_group else user_com(sent.chat)
    inquiry = AskSend(
        author,
        sent.chat,
        sent.is_group,
        sent.message_id,
        sent.time_s,
        sent.digest,
        sent.frame,
    )
    said = await view.asker.ask(view.asker.owner_of(sent.chat), inquiry)
    if isinstance(said, Silence):
        raise HTTPException(
            f"nobody knows whether message {message_id} is stored: {said}: {said.reason}."
            " Send it again with this id: it is stored once",
            status_code=504,
        )
    if said.code:
        raise HTTPException(said.reason, status_code=said.code)
    acted(request, "send", to=to, id=message_id)
    return MessageStored(id=message_id, author=user_com(author), to=to, t=said.time_s)


def _checked(view: View, author: str, to: str, message_id: str, message: msgspec.Raw) -> Send:
    """Return what a front would make of it; raises HTTPException where that is a refusal."""
    element = {"key": {"remoteJid": to, "id": message_id}, "message": message}
    frame = msgspec.json.encode(["action", {"add": "relay"}, [element]])
    codec = Codec(view.settings.limits)
    try:
        action = codec.decode(frame, user=author, now_s=clock.now_ms() // 1000)
    except FrameError as error:
        raise _refused(error.refusal) from None
    assert isinstance(action, Action), "an action was written"
    (found,) = action.elements
    if isinstance(found, Refusal):
        raise _refused(found)
    return found


def _refused(refusal: Refusal) -> HTTPException:
    return HTTPException(refusal.reason, status_code=refusal.code)


ROUTES = [send]
