"""The stores of several workers at one moment: nothing that left one of them is missing in another.

An outbox entry leaves its store once the peer has confirmed it, and both keep count: the sender of
what was confirmed, the receiver of what it has applied. `pin` takes snapshots until the counts fit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from relay.bus.envelopes import Seq
from workers.store.snapshot import Snapshot

# Snapshots of all workers take less than a millisecond together, an entry on its way through two
# commits more: the first try is nearly always good.
_PIN_ATTEMPTS: Final = 100
_PIN_PAUSE_S: Final = 0.01


class Gap(NamedTuple):
    """Two stores that are not of one moment: one is older than what the other knows of it."""

    sender: int
    receiver: int
    older: int
    why: str


class Counted(Protocol):
    """A store, as far as it counts what it exchanges with others (see `Snapshot`)."""

    def last_seq(self) -> Seq:
        """Return the highest sequence number that was given out."""

    def applied(self, peer: int) -> Seq:
        """Return up to which entry of a peer's outbox everything is stored here."""

    def confirmed(self, peer: int) -> Seq:
        """Return up to which entry of the outbox for a peer that peer has confirmed."""


def pin(snapshots: Mapping[int, Snapshot], *, attempts: int = _PIN_ATTEMPTS) -> list[Gap]:
    """Bring the snapshots of several workers to one moment; return what stays in the way.

    There is nothing in the way unless a store has lost what it had: it was put back to an earlier
    state, or written with durability "os" and then the power failed.
    """
    for attempt in range(attempts):
        if attempt:
            time.sleep(_PIN_PAUSE_S)
        for snapshot in snapshots.values():
            snapshot.refresh()
        gaps = list(find_gaps(snapshots))
        if not gaps:
            break
    return gaps


def find_gaps(snapshots: Mapping[int, Counted]) -> Iterator[Gap]:
    """Yield every pair of stores that are not of one moment."""
    for sender, sent in snapshots.items():
        last = sent.last_seq()
        for receiver, received in snapshots.items():
            if receiver == sender:
                continue
            applied, confirmed = received.applied(sender), sent.confirmed(receiver)
            if confirmed > applied:
                why = (
                    f"worker {sender} was told that everything up to {confirmed} is stored here,"
                    f" but only what is up to {applied} is"
                )
                yield Gap(sender, receiver, receiver, why)
            if applied > last:
                why = (
                    f"worker {receiver} has stored the entry {applied} of worker {sender}, which"
                    f" has got no further than {last}"
                )
                yield Gap(sender, receiver, sender, why)
