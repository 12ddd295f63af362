"""Acks that match no delivery: past every worker to their author, live and once (R19)."""

from __future__ import annotations

import msgspec

from relay.bus.envelopes import NO_SEQ, Acked, Deliver, Receipt, StrayAck
from relay.process.rates import Rate, Rates
from relay.protocol.times import receipt_time
from workers.shard.effects import Identity
from workers.shard.groups import Groups
from workers.shard.mailbox import receipt_frame
from workers.shard.pages import Pages
from workers.shard.peers import Peers
from workers.shard.readers import Readers
from workers.shard.turn import Turn
from workers.store.keys import message_prefix

MAX_STRAYS = 1000  # of one batch for one peer


class Strays:
    """Passes them on; best effort, nothing of it is stored."""

    def __init__(
        self, turn: Turn, readers: Readers, pages: Pages, peers: Peers, groups: Groups
    ) -> None:
        self._turn = turn
        self._reader_of = readers.of_user
        self._takes_live = pages.takes_live
        self._peers = peers
        self._groups = groups
        self._rates = Rates()  # of ackers

    def begin(self, acked: Acked, message_id: str) -> None:
        """Send an ack that is unknown here past every worker, the author's last.

        Too many of one acker are dropped first: each is work for every worker, and a frame for
        the author that is ten times as long.
        """
        if not self._turn.settings.acks.relay_unknown_acks:
            self._drop()
            return
        if self._is_too_fast(acked.acker):
            self._turn.counters["stray_acks_too_fast"] += 1
            return
        if acked.author_is_group:
            author, group = acked.chat, acked.author
        else:
            author, group = acked.author, acked.chat if acked.chat_is_group else ""
        here, last = self._peers.index, self._peers.owner_of(author)
        route = [here, *(peer for peer in self._peers.others if peer != last)]
        if last != here:
            route.append(last)
        elif len(route) > 1:
            route = [*route[1:], here]
        time_s = receipt_time(
            None if acked.time_s < 0 else acked.time_s, message_s=0, now_s=self._turn.now_s
        )
        self._pass(StrayAck(route, author, group, message_id, acked.acker, acked.level, time_s))

    def _is_too_fast(self, acker: str) -> bool:
        acks = self._turn.settings.acks
        per_s, burst = acks.unknown_acks_per_s, acks.unknown_acks_burst
        if not per_s:
            return False
        return bool(self._rates.wait_ms(acker, 1, Rate(per_s, burst), self._turn.now_ms))

    def arrived(self, origin: Identity, stray: StrayAck) -> None:
        """Look at one that another worker has let pass."""
        self._pass(stray)

    def _pass(self, stray: StrayAck) -> None:
        if not self._turn.settings.acks.relay_unknown_acks:
            self._drop()
            return
        to_peers = self._turn.effects.to_peers
        if stray.route[0] == self._peers.index:
            if not self._lets_pass(stray):
                self._drop()
                return
            route = stray.route[1:]
            if not route:
                self._deliver(stray)
                return
            if len(to_peers[route[0]]) >= MAX_STRAYS:
                self._drop()  # no credit bounds them
                return
            stray = msgspec.structs.replace(stray, route=route)
        to_peers[stray.route[0]].append(stray)

    def _lets_pass(self, stray: StrayAck) -> bool:
        """Tell whether nothing known here speaks against the ack (R19 a and b)."""
        if self._turn.batch.knows_message(message_prefix(stray.message_id, stray.author)):
            return False
        if stray.group and self._peers.owns(stray.group):
            return all(
                self._groups.has_member(stray.group, user) for user in (stray.author, stray.acker)
            )
        return True

    def _deliver(self, stray: StrayAck) -> None:
        reader = self._reader_of(stray.author)
        if reader is None or not self._takes_live(reader):
            self._drop()
            return
        receipt = Receipt(
            stray.author, stray.group, stray.message_id, stray.acker, stray.level, stray.time_s
        )
        self._turn.to_fronts[reader.front].append(
            Deliver(reader.number, NO_SEQ, stray.message_id, receipt_frame(receipt))
        )

    def _drop(self) -> None:
        self._turn.counters["stray_acks_dropped"] += 1
