"""The seats of the fleet, and the processes that fill them: what is known of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, get_args

import msgspec

from relay.bus.identity import Who
from relay.process.control import Heartbeat
from relay.supervision.condition import Places
from relay.supervision.deaths import Backoff

# The last two are in a cluster alone: the server of logs, and who sees the other hosts.
Role = Literal["worker", "front", "admin", "engine", "agent"]
_ORDER: Final[tuple[Role, ...]] = get_args(Role)


class Incarnation(msgspec.Struct, eq=False, kw_only=True):
    """One life of a process, from the decision to start it until its exit is known.

    `number` is never used twice. Times are seconds of a clock that only grows.
    """

    role: Role
    index: int
    number: int
    started_s: float
    heard_s: float  # its last sign of life
    pid: int = 0  # until it is spawned
    connected: bool = False  # its channel is open
    endpoint: str | None = None  # what it listens at, "" for a front; None until it is ready
    tcp: str = ""  # where other hosts find it, of a worker in a cluster
    epoch: int = 0  # since when it owns its range, in a cluster
    standing: int | None = None  # up to where a standby has the log; None: it has not said yet
    told: Heartbeat = Heartbeat()  # with that
    hung: bool = False
    we_killed: bool = False
    dismissed: bool = False  # told to stop, for a successor

    @property
    def ready(self) -> bool:
        """Whether it has said that it serves."""
        return self.endpoint is not None

    @property
    def is_standby(self) -> bool:
        """Whether it has the log of its range, and could become its owner."""
        may_be_told = self.connected and not self.dismissed
        return self.standing is not None and not self.ready and may_be_told

    @property
    def has_begun(self) -> bool:
        """Whether it does what it is there for: it serves, or stands by."""
        return self.ready or self.standing is not None

    def identity(self, host: str = "") -> str:
        """Its identity on the bus, of a cluster on that host; never used twice."""
        return Who(self.role, self.index, self.number, host).name


class Seat:
    """A place that one incarnation fills, and another one after its death."""

    def __init__(self, role: Role, index: int, backoff: Backoff) -> None:
        self.role = role
        self.index = index
        self.backoff = backoff
        self.child: Incarnation | None = None
        self.waits = False  # for the end of its backoff
        self.leaving: Incarnation | None = (
            None  # its predecessor, told to stop by a rolling restart
        )

    def __str__(self) -> str:
        return f"{self.role} {self.index}"

    @property
    def is_vital(self) -> bool:
        """Whether clients need who sits here."""
        return self.role != "admin"

    @property
    def children(self) -> list[Incarnation]:
        """Who lives here: nobody, one, or in a rolling restart two."""
        return [child for child in (self.child, self.leaving) if child]


class Seats:
    """All seats of the fleet in a fixed order, by role and index, and who is in them."""

    def __init__(self, seats: list[Seat]) -> None:
        self._seats = sorted(seats, key=_rank)
        self._by_name = {(seat.role, seat.index): seat for seat in seats}
        self._alive: dict[int, Incarnation] = {}
        self.numbers = 0  # that were given out

    def __iter__(self) -> Iterator[Seat]:
        return iter(self._seats)

    def __len__(self) -> int:
        return len(self._seats)

    def seat(self, role: Role, index: int) -> Seat:
        """Return the seat of that name."""
        return self._by_name[role, index]

    def has(self, role: Role, index: int) -> bool:
        """Tell whether there is a seat of that name."""
        return (role, index) in self._by_name

    def add(self, seat: Seat) -> None:
        """Have one more, of a name that there is not."""
        assert not self.has(seat.role, seat.index)
        self._by_name[seat.role, seat.index] = seat
        self._seats.append(seat)
        self._seats.sort(key=_rank)

    def remove(self, seat: Seat) -> None:
        """Have one less, on which nobody sits."""
        assert not seat.children
        del self._by_name[seat.role, seat.index]
        self._seats.remove(seat)

    def children(self, role: Role | None = None) -> list[Incarnation]:
        """Return who lives, of one role or all, in the order of the seats."""
        seats = [seat for seat in self._seats if role in (None, seat.role)]
        return [child for seat in seats for child in seat.children]

    def places(self, role: Role) -> Places:
        """Return how many seats of a role have one who serves."""
        seats = [seat for seat in self._seats if seat.role == role]
        serving = sum(any(child.has_begun for child in seat.children) for seat in seats)
        return Places(serving, len(seats))

    def find(self, number: int) -> Incarnation | None:
        """Return the incarnation `number`, None where it is dead."""
        return self._alive.get(number)

    def fill(self, seat: Seat, *, now_s: float) -> Incarnation:
        """Put a new incarnation on `seat`, where no child may be; return it."""
        assert seat.child is None
        self.numbers += 1
        seat.child = Incarnation(
            role=seat.role,
            index=seat.index,
            number=self.numbers,
            started_s=now_s,
            heard_s=now_s,
        )
        self._alive[self.numbers] = seat.child
        return seat.child

    def restore(self, child: Incarnation) -> None:
        """Put back one that lives on its seat, where no child may be."""
        seat = self.seat(child.role, child.index)
        assert seat.child is None
        seat.child = child
        self._alive[child.number] = child
        self.numbers = max(self.numbers, child.number)

    def vacate(self, child: Incarnation) -> bool:
        """Forget `child`, which is dead; tell whether it was leaving already."""
        del self._alive[child.number]
        seat = self.seat(child.role, child.index)
        was_leaving = child is seat.leaving
        if was_leaving:
            seat.leaving = None
        else:
            seat.child = None
        return was_leaving


def _rank(seat: Seat) -> tuple[int, int]:
    return _ORDER.index(seat.role), seat.index
