"""What an agent says of its host to the others, and to its own supervisor of them.

Pure: it is told what has changed and what was decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import relay
from relay.bus.identity import who_is
from relay.bus.topology import Topology, WorkerAddress
from relay.cluster.beats import Beat, EngineFacts, Owned
from relay.cluster.ownership import Decisions
from relay.cluster.view import Life, View
from relay.process.control import ClusterTold
from relay.protocol.slots import shard_ranges

# The upper bits of an incarnation: which start of the supervisor it is of.
BOOT_SHIFT: Final = 24
NONE_LOST: Final[Mapping[int, str]] = {}
_NO_COPIES: Final[Mapping[int, int]] = {}


class Home:
    """This host, as its supervisor has told of it last."""

    def __init__(self, host: str, *, incarnation: int) -> None:
        """Know nothing yet; `incarnation` is the agent's."""
        self.host = host
        self._boot = incarnation >> BOOT_SHIFT
        # The next agent of this boot goes on behind this one, however many beats that has sent.
        self._number = (incarnation & ((1 << BOOT_SHIFT) - 1)) << 32
        self.owned: Mapping[int, Owned] = {}
        self._fronts: tuple[str, ...] = ()
        self._standing: Mapping[int, int] = {}
        self._has_topology = self._has_state = False
        self._lost: tuple[int, ...] = ()
        self._synced: Mapping[int, int] = {}

    def follow(self, topology: Topology) -> bool:
        """Take a topology; tell whether something else is here."""
        self._has_topology = True
        before = (self.owned, self._fronts)
        self.owned = {
            worker.index: Owned(worker.incarnation, worker.tcp)
            for worker in topology.workers
            if worker.host == self.host
        }
        self._fronts = tuple(each for each in topology.fronts if who_is(each).host == self.host)
        return before != (self.owned, self._fronts)

    def stand_by(
        self,
        standing: Mapping[int, int],
        lost: tuple[int, ...] = (),
        synced: Mapping[int, int] = _NO_COPIES,
    ) -> bool:
        """Take how far which standbys are, what is synced, and which logs lost data.

        Tell whether they are others.
        """
        self._has_state = True
        before = self._standing.keys(), self._lost
        self._standing, self._lost, self._synced = standing, lost, synced
        return before != (standing.keys(), lost)

    @property
    def is_known(self) -> bool:
        """Whether the supervisor has told of all: else a beat would say that nothing is here."""
        return self._has_topology and self._has_state

    @property
    def has_workers(self) -> bool:
        """Whether any worker has begun here."""
        return bool(self.owned or self._standing)

    def holds(self, range_: int, *, at_least: int) -> bool:
        """Tell whether a process here has a store of a range, with all up to that record."""
        return range_ in self.owned or self._standing.get(range_, -1) >= at_least

    def beat(
        self,
        *,
        moving: int | None,
        wants: tuple[bool, int] | None = None,
        plan: int,
        ranges: int,
        origin: int = 0,
        draining: bool,
        engine: EngineFacts,
        lost: Mapping[int, str] = NONE_LOST,
        copied: Mapping[int, int] = _NO_COPIES,
        accord: int = 0,
        accord_refused: str = "",
    ) -> Beat:
        """Return the next beat; `lost` is what is known of that, which is passed on."""
        self._number += 1
        return Beat(
            host=self.host,
            boot=self._boot,
            number=self._number,
            owned=dict(self.owned),
            standing=dict(self._standing),
            lost={**dict.fromkeys(self._lost, self.host), **lost},
            synced=dict(self._synced),
            copied=dict(copied),
            accord=accord,
            accord_refused=accord_refused,
            fronts=self._fronts,
            draining=draining,
            moving=moving,
            wants=wants,
            plan=plan,
            ranges=ranges,
            origin=origin,
            version=relay.__version__,
            engine=engine,
        )


def tell(
    view: View,
    decisions: Decisions,
    me: str,
    before: ClusterTold | None,
    now_s: float,
    *,
    is_new: bool = False,
) -> ClusterTold | None:
    """Return what the supervisor is to know now, None while that would be less than it knows.

    `before` is what it was told last. Without a majority nobody can say who has gone. An agent that
    `is_new` has not listened for long enough to say that there is none.
    """
    # A host that is being added may own ranges before all have the file that names it.
    added = view.living(me, now_s).difference(view.plan.hosts)
    others = [host for host in (*view.plan.hosts, *sorted(added)) if host != me]
    own = view.beat(me)
    unheard = [host for host in others if view.life(host, now_s) is Life.UNHEARD]
    if any(view.beat(host) is None for host in unheard):
        return None
    vouched = [host for host in others if view.life(host, now_s) is Life.LIVING]
    if is_new and any(view.beat(host) is None for host in vouched):
        return None  # its agent may be as new
    if view.majority.is_seen or before is None:
        living = [host for host in others if view.life(host, now_s) is not Life.SILENT]
        workers, fronts = tuple(_workers(view, living)), tuple(_fronts(view, living))
    else:
        workers, fronts = before.workers, before.fronts
    # Its clients are best served where their mailboxes are, and it may stop any time.
    is_drained = me in view.plan.away and not (own and own.owned)
    isolated = decisions.isolated or is_drained
    return ClusterTold(
        workers=workers,
        fronts=fronts,
        seats=decisions.seats,
        promote=decisions.promote,
        hand_over=(decisions.hand_over,) if decisions.hand_over else (),
        isolated=None if is_new and decisions.isolated else isolated,
    )


def _workers(view: View, hosts: list[str]) -> Iterator[WorkerAddress]:
    shards = shard_ranges(view.plan.ranges)
    for host in hosts:
        beat = view.beat(host)
        for range_, owned in sorted(beat.owned.items() if beat else ()):
            if range_ < len(shards) and owned.epoch == view.epoch(range_):
                slots = shards[range_]
                yield WorkerAddress(
                    index=range_,
                    first_slot=slots[0],
                    last_slot=slots[-1],
                    endpoint="",
                    incarnation=owned.epoch,
                    host=host,
                    tcp=owned.endpoint,
                )


def _fronts(view: View, hosts: list[str]) -> Iterator[str]:
    for host in hosts:
        beat = view.beat(host)
        yield from beat.fronts if beat else ()
