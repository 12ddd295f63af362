"""What a worker that owns a range of a cluster is given by the standby that it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from relay.process.control import FromSupervisor, PeerGone
from workers.store.journal import Log
from workers.store.store import Store


class RangeLog(Log, Protocol):
    """The log of a range, of which this process became the owner by the record `epoch`.

    `on_wait` is called now and then while something waits for a majority; what it raises ends that.
    """

    on_wait: Callable[[], None]

    @property
    def epoch(self) -> int:
        """The number of the record by which the range is this process's: its incarnation."""

    @property
    def due_ms(self) -> int:
        """When `tick` is to be called next, of `relay.clock.clock_ms`."""

    def tick(self, clock_ms: int) -> None:
        """Keep the connection, and look whether the range is still ours.

        Raises:
            Fenced: it is not.
            LogLostData: the log has less than was confirmed.
        """

    def hand_over(self, number: int, to: str) -> None:
        """Append as the record of that number that the range goes to host `to`, as `commit` does.

        Nothing may be committed behind it.
        """

    def close(self) -> None:
        """Let the connection go."""


class Promotion(NamedTuple):
    """A range that is this process's: its log, the store that has all of it, and what was said.

    `heard` is what the supervisor has said to the standby and an owner has to know.
    """

    log: RangeLog
    store: Store
    heard: tuple[FromSupervisor | PeerGone, ...] = ()
