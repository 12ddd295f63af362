"""A send of a session that waits for its answer."""

from __future__ import annotations

import msgspec

from relay.bus.envelopes import Entry


class Pending(msgspec.Struct):
    """A send that waits for its answer, or for the answers of those before it."""

    message_id: str
    chat: str
    is_group: bool
    answer: bytes | None = None
    receipts: list[Entry] | None = None  # came before the ack 1, and go after it
