"""The fronts that a worker talks with: the link with each, and which of them are dead."""

from __future__ import annotations

from collections.abc import Iterable

from relay.bus.identity import who_is
from relay.bus.link import Incoming, Outgoing
from workers.shard.effects import Identity


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
    still arrives from it is void. A front of a higher incarnation than any listed so far of its
    host is new. One index may have two fronts that live.

    In a cluster a front that has lost its connection comes back on another one, and so does one
    that was dead here and lives. That link begins anew, and the one of before is lost.
    """

    def __init__(self, *, max_link_bytes: int) -> None:
        self.links: dict[Identity, FrontLink] = {}
        self.heard: set[Identity] = set()  # were decided on, and are owed a batch, be it empty
        self.lost: set[Identity] = set()  # may still have sessions
        self.roomy: set[Identity] = set()  # had no credit, and have some again
        self._max_link_bytes = max_link_bytes
        self._listed: frozenset[Identity] = frozenset()
        self._newest: dict[str, int] = {}  # incarnation of those listed so far, by host
        self._unreachable: set[Identity] = set()
        # On which connection a front is, by the identity that is listed, if not on its first.
        self._current: dict[Identity, Identity] = {}

    @property
    def unconfirmed_bytes(self) -> int:
        """What no front has confirmed, of all links."""
        return sum(link.outgoing.unconfirmed_bytes for link in self.links.values())

    def follow(self, listed: Iterable[str]) -> None:
        """Take it that the fronts `listed` live, and let go of those that did."""
        now = frozenset(front.encode() for front in listed)
        for front in self._listed - now:
            current = self._current.get(front, front)
            self._unreachable.discard(current)
            self._lose(current)
        for who in map(who_is, now):
            self._newest[who.host] = max(self._newest.get(who.host, -1), who.incarnation)
        self._listed = now
        self._current = {
            front: current for front, current in self._current.items() if not self._is_over(front)
        }

    def link_of(self, front: Identity) -> FrontLink | None:
        """Return the link with `front`, which has said something; None if it is dead."""
        link = self.links.get(front)
        if link is None and not self._is_dead(front):
            if who_is(front).connection:
                self._change_over(front)
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

    def _change_over(self, front: Identity) -> None:
        """Let go of the connection that a front had before."""
        name = who_is(front).name.encode()
        before = self._current.get(name, name)
        self._current[name] = front
        self._unreachable.discard(before)
        self._lose(before)

    def _is_dead(self, front: Identity) -> bool:
        who = who_is(front)
        name = who.name.encode()
        current = self._current.get(name, name)
        is_past = who.connection < who_is(current).connection
        return front in self._unreachable or is_past or self._is_over(name)

    def _is_over(self, name: Identity) -> bool:
        """Whether a front is dead for what is listed."""
        who = who_is(name)
        return who.incarnation <= self._newest.get(who.host, -1) and name not in self._listed
