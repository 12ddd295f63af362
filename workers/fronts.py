"""The fronts that a worker talks with: the link with each, and which of them are dead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from relay.bus.link import Incoming, Outgoing
from workers.shard.effects import Identity


class Who(NamedTuple):
    """Whom an identity on the bus means: the `number`th b"front" or b"worker"."""

    role: bytes
    number: int
    incarnation: int


def who_is(identity: Identity) -> Who:
    """Read an identity on the bus; ValueError if it is none."""
    role, index, incarnation = identity.split(b"-")
    return Who(role, int(index), int(incarnation))


class FrontLink:
    """Both directions of the link with one front.

    Of what came in, batches up to number `decided` are decided, and `begun` items of the next.
    """

    def __init__(self, max_bytes: int) -> None:
        self.incoming = Incoming()
        self.decided = 0
        self.begun = 0
        self.outgoing: Outgoing[object] = Outgoing(max_bytes)
        self._waiting = 0  # batches that wait for a decision

    def accept(self, number: int, size: int, *, is_empty: bool) -> bool:
        """Note that batch `number` came; False if it came before.

        It is to be decided, unless it `is_empty`.
        """
        if not self.incoming.accept(number, size):
            return False
        if not is_empty:
            self._waiting += 1
        elif not self._waiting:
            self.decided = number
        return True

    def decide(self, number: int, count: int, ends: bool) -> None:
        """Note that `count` more items of batch `number` are decided; it `ends` with them.

        With it end the empty ones right behind it.
        """
        if ends:
            self._waiting -= 1
            self.decided = number if self._waiting else self.incoming.received
            self.begun = 0
        else:
            self.begun += count


class Fronts:
    """The links with fronts, and what the shard has yet to hear of them.

    A front is dead if it is no longer listed, or if it is but cannot be reached any more: what
    still arrives from it is void. A front of a higher incarnation than any listed so far is new.
    One index may have two fronts that live.
    """

    def __init__(self, *, max_link_bytes: int) -> None:
        self.links: dict[Identity, FrontLink] = {}
        self.heard: set[Identity] = set()  # were decided on, and are owed a batch, be it empty
        self.lost: set[Identity] = set()  # may still have sessions
        self.roomy: set[Identity] = set()  # had no credit, and have some again
        self._max_link_bytes = max_link_bytes
        self._listed: frozenset[Identity] = frozenset()
        self._newest = -1  # incarnation of those listed so far
        self._unreachable: set[Identity] = set()

    @property
    def unconfirmed_bytes(self) -> int:
        """What no front has confirmed, of all links."""
        return sum(link.outgoing.unconfirmed_bytes for link in self.links.values())

    def follow(self, listed: Iterable[str]) -> None:
        """Take it that the fronts `listed` live, and let go of those that did."""
        now = frozenset(front.encode() for front in listed)
        for front in self._listed - now:
            self._unreachable.discard(front)
            self._lose(front)
        for front in now:
            self._newest = max(self._newest, who_is(front).incarnation)
        self._listed = now

    def link_of(self, front: Identity) -> FrontLink | None:
        """Return the link with `front`, which has said something; None if it is dead."""
        link = self.links.get(front)
        if link is None and not self._is_dead(front):
            link = self.links[front] = FrontLink(self._max_link_bytes)
        return link

    def confirmed(self, front: Identity, number: int) -> None:
        """Take it that `front` has the batches up to `number`."""
        outgoing = self.links[front].outgoing
        was_full = outgoing.is_full
        outgoing.confirm(number)
        if was_full and not outgoing.is_full:
            self.roomy.add(front)

    def decided(self, front: Identity, number: int, count: int, ends: bool) -> None:
        """Take it that `count` more items of batch `number` of `front` are decided."""
        link = self.links.get(front)
        if link is not None:  # else it died meanwhile
            link.decide(number, count, ends)
            self.heard.add(front)

    def cannot_be_reached(self, front: Identity) -> None:
        """Let go of a front that has no connection any more, whether it is listed or not."""
        self._unreachable.add(front)
        self._lose(front)

    def _lose(self, front: Identity) -> None:
        if self.links.pop(front, None) is not None:
            self.lost.add(front)

    def _is_dead(self, front: Identity) -> bool:
        if front in self._unreachable:
            return True
        return who_is(front).incarnation <= self._newest and front not in self._listed
