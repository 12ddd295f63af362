"""What frames are decoded to, in one typed step: the sheet's own, and any other ack."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from relay.protocol.jid import MAX_LENGTH
from relay.protocol.stanza import MAX_ID_CHARS

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


class _OddAckBody(msgspec.Struct, rename={"author": "from", "message_id": "id"}):
    message_id: str | list[str]
    ack: int | str
    author: str
    to: str
    cmd: Any = "ack"
    t: msgspec.Raw = msgspec.Raw(b"null")


decode_action: Final = msgspec.json.Decoder(tuple[Literal["action"], _Relay, list[_Element]]).decode
decode_ack: Final = msgspec.json.Decoder(tuple[Literal["Msg", "MsgInfo"], _AckBody]).decode
decode_odd_ack: Final = msgspec.json.Decoder(tuple[str, _OddAckBody]).decode
