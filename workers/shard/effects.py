"""What a batch decided to say, to whom. Nothing of it leaves before the batch is committed (I1)."""

from __future__ import annotations

from collections import defaultdict

from relay.bus.envelopes import Applied, DeliverToMany, Durable, Seq, StrayAck, ToFront

# The ROUTER identity of a front or a peer, as it came with its batch.
Identity = bytes


class Effects:
    """Envelopes in order, by receiver."""

    def __init__(self) -> None:
        self.to_fronts: defaultdict[Identity, list[ToFront]] = defaultdict(list)
        self.to_peers: defaultdict[int, list[Durable | StrayAck]] = defaultdict(list)
        self.applied: dict[Identity, Applied] = {}
        self._shared: dict[Identity, DeliverToMany] = {}  # the last one to each front

    def deliver_shared(self, front: Identity, session: int, seq: Seq, frame: bytes) -> None:
        """Send a group message live; sessions of one front share one envelope."""
        shared = self._shared.get(front)
        if shared is None or shared.seq != seq:
            shared = self._shared[front] = DeliverToMany([], seq, frame)
            self.to_fronts[front].append(shared)
        shared.sessions.append(session)
