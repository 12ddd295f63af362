"""What workers have each other store: out by the outboxes, in once however often it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from relay.bus.envelopes import Applied, Content, Durable, Seq
from relay.protocol.slots import ShardMap, slot_of
from workers.shard.effects import Identity
from workers.shard.outbox import Outbox
from workers.shard.turn import Turn

# What stores a content of each type; one row a type.
Appliers = Mapping[type, Callable[[Any], None]]


class Peers:
    """The other workers, by index: what is theirs, what waits for each, what each has sent.

    `appliers` may be filled after this was made.
    """

    def __init__(self, turn: Turn, index: int, workers: ShardMap, appliers: Appliers) -> None:
        self.index = index
        self.owner_of = workers.owner_of
        self._turn = turn
        self._slots = workers.shards[index]
        self._appliers = appliers
        self._outboxes = {
            peer: Outbox(peer, max_bytes=turn.settings.flow.link_bytes)
            for peer in range(len(workers))
            if peer != index
        }
        self._applied: dict[int, Seq] | None = None  # of each peer's outbox, once it was looked up
        self._newly_applied: set[int] = set()

    @property
    def others(self) -> list[int]:
        """The indexes of all other workers."""
        return list(self._outboxes)

    def owns(self, local: str) -> bool:
        """Tell whether a user or group is served here."""
        return slot_of(local) in self._slots

    # -------------------------------------------------------------------------------- the batch

    def begin(self) -> None:
        """Start a batch."""
        if self._applied is None:
            self._applied = {peer: self._turn.batch.applied(peer) for peer in self._outboxes}

    def end(self) -> None:
        """Send what waits in the outboxes, and note what was applied of others'."""
        turn = self._turn
        for peer, outbox in self._outboxes.items():
            if outbox.has_more:
                outbox.send_more(turn.batch, turn.effects.to_peers[peer].append)
        for peer in self._newly_applied:
            turn.batch.put_applied(peer, self._last_applied[peer])
        self._newly_applied.clear()

    # -------------------------------------------------------------------------------------- out

    def pass_on(self, worker: int, content: Content) -> None:
        """Have a worker make a durable change: this one at once, another by its outbox."""
        if worker == self.index:
            self.take(content)
        else:
            turn = self._turn
            self._outboxes[worker].put(
                turn.batch, turn.next_seq(), content, turn.effects.to_peers[worker].append
            )

    def confirmed(self, peer: int, applied: Applied) -> None:
        """Remove from the outbox what a peer has stored."""
        self._outboxes[peer].confirm(self._turn.batch, applied.seq)

    def connected(self, peer: int) -> None:
        """Send a peer's new incarnation everything that it has not confirmed."""
        self._outboxes[peer].connected()

    def lost(self, peer: int) -> None:
        """Keep what is for a peer until it is back."""
        self._outboxes[peer].disconnected()

    # --------------------------------------------------------------------------------------- in

    def apply(self, origin: Identity, peer: int, entry: Durable) -> None:
        """Store an entry of a peer's outbox, once however often it comes, and say so."""
        if entry.seq > self._last_applied[peer]:
            self.take(entry.content)
        self.confirm(origin, peer, entry.seq)

    def confirm(self, origin: Identity, peer: int, seq: Seq) -> None:
        """Say that everything up to `seq` of a peer's outbox is stored, or set aside."""
        applied = self._last_applied
        if seq > applied[peer]:
            applied[peer] = seq
            self._newly_applied.add(peer)
        self._turn.effects.applied[origin] = Applied(applied[peer])

    def take(self, content: Content) -> None:
        """Make a change that is for this worker; nothing recognises a repeat."""
        self._appliers[type(content)](content)

    @property
    def _last_applied(self) -> dict[int, Seq]:
        assert self._applied is not None, "no batch was ever begun"
        return self._applied
