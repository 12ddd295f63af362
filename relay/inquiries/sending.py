"""A message that an operator sends, told to the worker that owns the recipient or the group."""

from __future__ import annotations

import msgspec

from relay.inquiries.contract import Inquiry


class SendSaid(msgspec.Struct, frozen=True):
    """What became of it: stored for good (`code` 0), with the time of its ack 1, or refused."""

    time_s: int = 0
    code: int = 0  # as of an `error` frame
    reason: str = ""


class AskSend(Inquiry[SendSaid], frozen=True):
    """Store and deliver it; whoever gets no answer asks the same again (R20).

    The fields are those of the bus' `SendToUser` and `SendToGroup`.
    """

    name = "send"
    answer = SendSaid

    author: str
    chat: str
    is_group: bool
    message_id: str
    time_s: int
    digest: bytes
    frame: bytes
