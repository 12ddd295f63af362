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
    Fenced and LogLostData may come from whatever sends or hears: the range is not ours any more, or
    the log has less than was confirmed.
    """

    on_wait: Callable[[], None]
    descriptor: int  # has input where there is something to `look` at

    @property
    def has_room(self) -> bool:
        """Whether another record may be appended now."""

    @property
    def epoch(self) -> int:
        """The number of the record by which the range is this process's: its incarnation."""

    @property
    def most_bytes(self) -> int:
        """How large a record may be that is to be committed."""

    @property
    def due_ms(self) -> int:
        """When `tick` is to be called next, of `relay.clock.clock_ms`."""

    def look(self, most_s: float = 0.0) -> None:
        """Take what has come, waiting at most so long for it; `confirmed` may be more then."""

    def wait(self) -> None:
        """Wait a little for what may come; nothing else can go on."""

    def tick(self, clock_ms: int) -> None:
        """Keep the connection, and look whether the range is still ours."""

    def hand_over(self, number: int, to: str) -> None:
        """Append as the record of that number that the range goes to host `to`; wait for that.

        All before it must be confirmed, and nothing may be appended behind it.
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
