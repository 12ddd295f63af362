"""What crosses the bus, and what a worker has another store."""

from __future__ import annotations

from typing import Final

import msgspec

from relay.bus import envelopes
from workers.shard import outbox

DECODERS: Final = (
    envelopes.decode_worker_batch,
    envelopes.decode_front_batch,
    envelopes.decode_peer_batch,
    outbox.decode,
)


def run(data: bytes) -> None:
    """Take the first byte for the kind of batch."""
    if not data:
        return
    decode = DECODERS[data[0] % len(DECODERS)]
    try:
        batch = decode(data[1:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert decode(envelopes.encode(batch)) == batch
