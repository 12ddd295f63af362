"""What is read of a message's frame that the relay made: its id, and who wrote to a group."""

from __future__ import annotations

from typing import Final

import msgspec


class _DeliveredKey(msgspec.Struct):
    id: str


class _Delivered(msgspec.Struct):
    key: _DeliveredKey


class _DeliveredToGroup(msgspec.Struct):
    participant: str


decode: Final = msgspec.json.Decoder(tuple[str, msgspec.Raw, tuple[_Delivered]]).decode
decode_to_group: Final = msgspec.json.Decoder(
    tuple[str, msgspec.Raw, tuple[_DeliveredToGroup]]
).decode
