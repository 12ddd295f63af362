"""What holds while a batch is open: one object that every part of a shard looks at."""

from __future__ import annotations

from collections import Counter

from relay.bus.envelopes import NO_SEQ, Seq, ToFront
from relay.settings.tables import Settings
from workers.shard.effects import Effects, Identity
from workers.shard.room import Room
from workers.store.batch import Batch


class Turn:
    """The open batch, its time, what it has to say, and the numbers that it gives out.

    One for the life of a shard, renewed by `begin`. `refusal` tells for people why no send can be
    stored, empty while they can. What is counted goes into `counters`, which the caller owns.
    """

    __slots__ = (
        "_least_seq",
        "_stored_seq",
        "batch",
        "counters",
        "effects",
        "now_ms",
        "now_s",
        "refusal",
        "room",
        "seq",
        "settings",
        "to_fronts",
    )

    batch: Batch
    effects: Effects
    to_fronts: dict[Identity, list[ToFront]]  # those of `effects`

    def __init__(self, settings: Settings, counters: Counter[str]) -> None:
        self.counters = counters
        self.adopt(settings)
        self.refusal = ""
        self.now_ms = self.now_s = 0
        self.seq = NO_SEQ  # the last that was given out
        self._stored_seq = NO_SEQ
        self._least_seq = NO_SEQ

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from here on."""
        self.settings = settings
        self.room = Room(settings.mailbox)

    def begin(self, batch: Batch, *, now_ms: int, refusal: str) -> None:
        """Open `batch`; nothing is said yet."""
        if self.seq == 0:
            self.seq = self._stored_seq = batch.last_seq()
        self.batch = batch
        self.effects = Effects()
        self.to_fronts = self.effects.to_fronts
        self.refusal = refusal
        self.now_ms = now_ms
        self.now_s = now_ms // 1000
        self.room.begin(self.now_s)
        self._least_seq = Seq(now_ms * 1000)

    def end(self) -> Effects:
        """Write the last number that was given out; return what the batch has to say."""
        if self.seq != self._stored_seq:
            self.batch.put_last_seq(self.seq)
            self._stored_seq = self.seq
        return self.effects

    def next_seq(self) -> Seq:
        """Return a number higher than any before.

        The clock makes numbers comparable between workers and tells an entry's age; the last one
        makes them grow even where the clock goes back.
        """
        # Not `Seq(...)`, a call that does nothing, twice a message.
        seq: Seq = self.seq + 1  # type: ignore[assignment]
        if seq < self._least_seq:
            seq = self._least_seq
        self.seq = seq
        return seq

    def next_seqs(self, count: int) -> Seq:
        """Give out so many numbers, one behind the other; return the last."""
        self.seq = Seq(self.next_seq() + count - 1)
        return self.seq
