"""A frame from a client: the codec has a fast and a general way, which must agree."""

from __future__ import annotations

from typing import Final

import msgspec

from relay.errors import FrameError, Refusal
from relay.extensions import registry
from relay.protocol.codec import Codec
from relay.protocol.stanza import Action, Send, Stanza
from relay.settings.tables import LimitSettings

from .timing import in_linear_time

ALICE: Final = "917069852821"
NOW_S: Final = 1_566_971_560

_CODEC: Final = Codec(LimitSettings(), registry.load(()).rows)


def run(data: bytes) -> None:
    """Take the bytes for the payload of a message."""
    in_linear_time(lambda: decoded(data), len(data))
    outcome = decoded(data)
    if isinstance(outcome, Action):
        for element in outcome.elements:
            if isinstance(element, Send):
                msgspec.json.decode(element.frame)
    if data.startswith(b"["):
        # White space changes nothing but the way that is taken.
        _assert_same(outcome, decoded(b" " + data))


def decoded(payload: bytes) -> Stanza | Refusal:
    """Return what a payload means, or why it is refused."""
    try:
        return _CODEC.decode(payload, user=ALICE, now_s=NOW_S)
    except FrameError as error:
        return error.refusal


def _assert_same(one: Stanza | Refusal, other: Stanza | Refusal) -> None:
    if isinstance(one, Refusal) and isinstance(other, Refusal):
        # A reason may name a place in the text.
        one, other = one._replace(reason=""), other._replace(reason="")
    assert one == other, f"{one} or {other}"
