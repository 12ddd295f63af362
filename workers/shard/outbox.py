"""What other workers must store: kept durably until they have, sent in order, within credit.

An entry is written in the batch of the change that caused it. The peer applies entries in
order and notes the last one with what it stored, so that a repeat has no effect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from relay.bus.envelopes import NO_SEQ, Content, Durable, Seq
from workers.store.batch import Batch
from workers.store.keys import LAST_SEQ, pack_peer

_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Durable).decode


class Outbox:
    """The entries for one peer."""

    def __init__(self, peer: int, *, max_bytes: int) -> None:
        self.peer = peer
        self._key = pack_peer(peer)
        self._max_bytes = max_bytes
        self._unconfirmed: deque[tuple[Seq, int]] = deque()  # (seq, bytes) of what was sent
        self._unconfirmed_bytes = 0
        self._sent = NO_SEQ
        # Whether everything in the store was sent. A fresh worker does not know, so it looks.
        self._caught_up = False
        self._connected = False

    def connected(self) -> None:
        """Begin again from the first entry, with the peer's new incarnation."""
        self._connected = True
        self._caught_up = False
        self._sent = NO_SEQ
        self._unconfirmed.clear()
        self._unconfirmed_bytes = 0

    def disconnected(self) -> None:
        """Keep entries in the store until the peer is back."""
        self._connected = False

    @property
    def has_more(self) -> bool:
        """Whether entries wait in the store that could be sent now."""
        return self._connected and not self._caught_up and not self._is_full

    @property
    def _is_full(self) -> bool:
        return self._unconfirmed_bytes >= self._max_bytes

    def put(
        self,
        batch: Batch,
        seq: Seq,
        content: Content,
        send: Callable[[Durable], None],
    ) -> None:
        """Store an entry; `send` it with this batch if all before it were."""
        entry = Durable(seq, content)
        encoded = _encode(entry)
        batch.put_outgoing(self._key, seq, encoded)
        if self._connected and self._caught_up and not self._is_full:
            self._note_sent(seq, len(encoded))
            send(entry)
        else:
            self._caught_up = False

    def send_more(self, batch: Batch, send: Callable[[Durable], None]) -> None:
        """Send what waits in the store, as much as the credit allows."""
        for seq, encoded in batch.scan_outgoing(self._key, after=self._sent):
            if self._is_full:
                return
            self._note_sent(seq, len(encoded))
            send(decode(encoded))
        self._caught_up = True

    def confirm(self, batch: Batch, seq: Seq) -> None:
        """Remove the entries up to `seq`: the peer has stored them."""
        assert seq <= LAST_SEQ
        confirmed = NO_SEQ
        while self._unconfirmed and self._unconfirmed[0][0] <= seq:
            confirmed, size = self._unconfirmed.popleft()
            self._unconfirmed_bytes -= size
            batch.delete_outgoing(self._key, confirmed)
        if confirmed:
            batch.put_confirmed(self.peer, confirmed)

    def _note_sent(self, seq: Seq, size: int) -> None:
        self._sent = seq
        self._unconfirmed.append((seq, size))
        self._unconfirmed_bytes += size
