"""What one session may have under way, in units of work.

A unit is a send without an answer, an acked id or an extension's question that its worker has not
confirmed yet, or a refusal that waits for its turn among them. While a login is being answered
nothing else is taken. A session that has used up its budget is taken no more frames of, until half
of it is done: so this is what each session that floods costs the others in a worker's batch (I7).
"""

from __future__ import annotations

from typing import Final

import msgspec

# Enough to keep a worker busy during a commit: `python -m tests.trials flood` shows both sides.
UNITS: Final = 32
# Acked ids are confirmed by the batch, and a link tells of that on request: at every so many. Those
# behind the last request are not counted.
TOLD_UNITS: Final = UNITS // 2
# A client that is gone said something before. So much of that is taken without waiting: as much
# as a batch of a worker may ask for.
LAST_UNITS: Final = 1000


def _units() -> int:
    return UNITS


class Budget(msgspec.Struct, eq=False, gc=False):
    """The units that one session has left.

    `room` and `told` are public for who counts each message and each ack. The budget may be used up
    and more: `is_full` is then true, and stays so until `ease`.
    """

    room: int = msgspec.field(default_factory=_units)
    is_full: bool = False
    awaits_turn: bool = False  # is full until the frame that is next has its turn, a long one
    told: int = 0  # acked ids that are not counted yet; at `TOLD_UNITS` they are to be

    def take(self, units: int) -> None:
        """Count work as under way."""
        self.room -= units
        if self.room <= 0:
            self.is_full = True

    def count_told(self) -> int:
        """Count what was told as under way; return how much a link is to say when it is done."""
        told, self.told = self.told, 0
        self.take(told)
        return told

    def done(self, units: int) -> bool:
        """Count work as done; return what `ease` does."""
        self.room += units
        return self.ease()

    def ease(self) -> bool:
        """Return whether the budget was used up, and half of it is there again."""
        if self.is_full and self.room >= UNITS // 2 and not self.awaits_turn:
            self.is_full = False
            return True
        return False

    def await_turn(self) -> None:
        """Be full until `has_turn`."""
        self.is_full = self.awaits_turn = True

    def has_turn(self) -> None:
        """Take as much as there is room for."""
        self.awaits_turn = False
        self.is_full = self.room <= 0

    def lift(self) -> None:
        """Allow `LAST_UNITS` at once: who is waited for is gone."""
        self.room = LAST_UNITS
        self.is_full = self.awaits_turn = False
