"""A worker's decisions: one envelope and the time in, changes of the batch and effects out.

Nothing here touches a socket or a clock. The caller opens a batch, feeds it every envelope that has
come, commits, and only then sends the effects. What is in memory (readers and their totals) can be
rebuilt from the store and from the fronts' announcements.

This module only says who decides on what; each part stands in the module of its name.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from relay.bus.envelopes import (
    Acked,
    AckedByMany,
    Applied,
    Ask,
    Carry,
    CloseSession,
    Confirmed,
    Content,
    Durable,
    GroupCopy,
    OpenSession,
    Pause,
    Ready,
    Receipt,
    SendToGroup,
    SendToUser,
    StrayAck,
    ToWorker,
)
from relay.disk.groupfile import Group
from relay.extensions.contract import Extension, WorkerHalf
from relay.extensions.registry import Registry
from relay.protocol.slots import ShardMap
from relay.settings.tables import Settings
from workers.shard.desk import Desk
from workers.shard.effects import Effects, Identity
from workers.shard.expiry import Expiry
from workers.shard.groups import Copies, Groups
from workers.shard.halves import Halves
from workers.shard.logins import Logins
from workers.shard.mailboxes import Mailboxes
from workers.shard.pages import Pages
from workers.shard.peers import Peers
from workers.shard.plain import Plain
from workers.shard.purging import Purging
from workers.shard.readers import Readers
from workers.shard.receipts import Receipts
from workers.shard.sends import Sends
from workers.shard.strays import Strays
from workers.shard.turn import Turn
from workers.shard.waiting import Part, Waiting
from workers.store.batch import Batch

NO_EXTENSIONS: Final = Registry(())


class Shard:
    """The state of one slot range and everything that may happen to it.

    Call `begin`, then `handle` and the other events, then `end`; then commit the batch and carry
    out the effects. If the commit fails the shard is no longer true to the store: drop it.
    """

    def __init__(
        self,
        index: int,
        workers: ShardMap,
        settings: Settings,
        *,
        registry: Registry = NO_EXTENSIONS,
        counters: Counter[str] | None = None,
    ) -> None:
        """Own the slots of worker `index`; what is counted goes into `counters`, the caller's."""
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.turn = turn = Turn(settings, self.counters)
        self.most_bulk_bytes = sys.maxsize  # with so much a batch `is_large`
        self.readers = readers = Readers()
        appliers: dict[type, Callable[[Any], None]] = {}
        self.peers = peers = Peers(turn, index, workers, appliers)
        self.groups = groups = Groups(peers)

        self._waiting = waiting = Waiting(turn)
        self._mailboxes = mailboxes = Mailboxes(turn, readers, waiting)

        def desk_of(extension: Extension) -> Desk:
            return Desk(extension, turn, readers, peers, groups, mailboxes)

        self._halves = halves = Halves(turn, registry, desk_of)
        self._pages = pages = Pages(turn, readers)
        self._logins = Logins(turn, readers, mailboxes, pages, peers, halves)
        plain = Plain(turn, readers, pages, halves, waiting)
        self._sends = Sends(turn, readers, mailboxes, pages, peers, groups, halves, waiting, plain)
        self._expiry = Expiry(turn, mailboxes, halves, waiting)
        strays = Strays(turn, readers, pages, peers, groups)
        receipts = Receipts(turn, readers, mailboxes, pages, peers, strays, halves, waiting, plain)
        appliers[GroupCopy] = Copies(turn, readers, mailboxes, pages, halves).apply
        appliers[Receipt] = receipts.apply
        appliers[Carry] = halves.carried
        # A `Durable` is not here: it comes from a peer, by `apply`.
        self._handlers: Mapping[type, Callable[[Identity, Any], None]] = {
            OpenSession: self._logins.open,
            CloseSession: self._logins.close,
            Ready: pages.ready,
            Pause: pages.pause,
            Confirmed: pages.confirmed,
            SendToUser: self._sends.to_user,
            SendToGroup: self._sends.to_group,
            Acked: receipts.acked,
            AckedByMany: receipts.acked_by_many,
            Ask: halves.asked,
            StrayAck: strays.arrived,
        }

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from the next batch on; what is over a new limit goes as it may.

        A mailbox is judged when something is added, an entry's age when it is swept.
        """
        self.turn.adopt(settings)
        self._waiting.adopt(settings)

    def provision(self, groups: Mapping[str, Group]) -> None:
        """Replace the provisioned groups; those of other workers are left out."""
        self.groups.provision(groups)

    # ------------------------------------------------------------------------------- the batch

    def begin(self, batch: Batch, *, now_ms: int, refusal: str = "") -> None:
        """Start deciding within `batch`; `now_ms` holds for all of it.

        `refusal` tells for people why no send can be stored, empty while they can.
        """
        self.turn.begin(batch, now_ms=now_ms, refusal=refusal)
        self.peers.begin()
        self._waiting.begin()
        self._pages.begin()

    def end(self, *, stores: bool = True) -> Effects:
        """Write what the batch left to write and return what it has to say.

        Say where it `stores` nothing whatever is written: then work that was left to it is kept.
        """
        self.peers.end()
        if stores and self._pages.is_behind:
            self._pages.end()
        self._mailboxes.end(stores=stores)
        return self.turn.end()

    def handle(self, origin: Identity, envelope: ToWorker) -> None:
        """Decide on one envelope from the front or peer known on the bus as `origin`."""
        self._handlers[type(envelope)](origin, envelope)

    def sweep(self, after: bytes, *, max_boxes: int, day_ms: int, moved_ms: int = 0) -> bytes:
        """Remove what is past its time: a stretch of mailboxes, and some of the known messages.

        `day_ms` is the time by which it is judged, which was `moved_ms` earlier until now
        (workers.calendar). Return where the next sweep must go on, empty when it came round.
        """
        self._waiting.sweep()
        return self._expiry.sweep(after, max_boxes=max_boxes, day_ms=day_ms, moved_ms=moved_ms)

    def half(self, extension: str) -> WorkerHalf | None:
        """Return the half of an extension, None where none is loaded: for inquiries."""
        return self._halves.find(extension)

    def waiting_of(self, author: str) -> Part | None:
        """Return what of an author waits here for users who have not acked, None for nothing."""
        return self._waiting.part_of(author)

    def authors_waiting(self) -> Iterator[tuple[str, Part]]:
        """Yield the authors of whom something waits, and how much; those with much first."""
        return self._waiting.parts()

    @property
    def oldest_entry_ms(self) -> int:
        """When the oldest entry of any mailbox came; 0: there was none when sweeps last ended."""
        return self._expiry.oldest // 1000

    @property
    def is_behind(self) -> bool:
        """Whether another batch must follow even if nothing comes, to go on with something."""
        return self._mailboxes.is_behind or self._pages.is_behind

    @property
    def is_large(self) -> bool:
        """Whether so much is to be stored already that the rest is for another batch."""
        return self.turn.batch.bulk_bytes >= self.most_bulk_bytes

    def purge(self, purging: Purging, *, day_ms: int) -> None:
        """Go on by a stretch with what an operator has ordered, until that is done."""
        self._expiry.purge(purging, day_ms=day_ms)

    # ---------------------------------------------------------------------- what cannot be done

    def refuse_stale(self, front: Identity, stanza: ToWorker) -> None:
        """Answer what was meant for an earlier incarnation: nothing of it is done (I8)."""
        reason = "the worker was renewed, send again"
        match stanza:
            case SendToUser() | SendToGroup():
                self._sends.refuse(front, stanza, 503, reason)
            case OpenSession():
                self._logins.refuse(front, stanza, 503, reason, retry_after_s=1)
            case _:
                pass  # nobody waits for an answer, or, of an `Ask`, the front asks again

    def knows(self, content: Content) -> bool:
        """Tell whether what a peer has sent can be done here: its extension is loaded, if any."""
        return type(content) is not Carry or self._halves.has(content.extension)

    def set_aside(self, origin: Identity, peer: int | None, stanza: ToWorker) -> None:
        """Answer a stanza that is not to be tried any more, because the worker failed at it."""
        self.counters["stanzas_set_aside"] += 1
        reason = "the relay has failed at this more than once and has set it aside"
        match stanza:
            case Durable():
                assert peer is not None, "only workers have an outbox"
                self.peers.confirm(origin, peer, stanza.seq)
            case SendToUser() | SendToGroup():
                self._sends.refuse(origin, stanza, 500, reason)
            case OpenSession():
                self._logins.refuse(origin, stanza, 500, reason)
            case Ask():
                self._halves.refuse(origin, stanza, 500, reason)
            case _:
                pass  # nobody waits for an answer

    # ---------------------------------------------------------------------------------- fronts

    def front_lost(self, front: Identity) -> bool:
        """End sessions of a front that died; what they did not ack stays queued.

        Return whether that was all of them: call it in the next batch too while it was not.
        """
        return self._logins.front_lost(front)

    def front_full(self, front: Identity) -> None:
        """Stop sending entries to a front that is behind; they stay in the mailboxes."""
        self._pages.front_full(front)

    def front_has_room(self, front: Identity) -> None:
        """Go on with the sessions of a front that was behind."""
        self._pages.front_has_room(front)

    # ----------------------------------------------------------------------------------- peers

    def apply(self, origin: Identity, peer: int, entry: Durable) -> None:
        """Store an entry of a peer's outbox, once however often it comes, and say so."""
        self.peers.apply(origin, peer, entry)

    def applied(self, peer: int, applied: Applied) -> None:
        """Remove from the outbox what a peer has stored."""
        self.peers.confirmed(peer, applied)

    def peer_connected(self, peer: int) -> None:
        """Send a peer's new incarnation everything that it has not confirmed."""
        self.peers.connected(peer)

    def peer_lost(self, peer: int) -> None:
        """Keep what is for a peer until it is back."""
        self.peers.lost(peer)

    def take_over(self, content: Content) -> None:
        """Store what waited in an outbox when the relay was laid out anew; all of it is for here.

        Once only: nothing recognises a repeat.
        """
        self.peers.take(content)
