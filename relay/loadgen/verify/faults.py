"""What a relay did wrong, counted by kind, with the first of each kind by name."""

from typing import Final

import msgspec

LOST: Final = "lost"
RECEIPT_LOST: Final = "receipt lost"
UNACKED: Final = "un-acked"
DUPLICATED: Final = "duplicated"
OUT_OF_ORDER: Final = "out of order"
WRONG: Final = "wrong content"
REFUSED: Final = "refused"

KINDS: Final = (LOST, RECEIPT_LOST, UNACKED, DUPLICATED, OUT_OF_ORDER, WRONG, REFUSED)
_EXAMPLES: Final = 5


class Fault(msgspec.Struct):
    """One kind of fault."""

    count: int = 0
    examples: list[str] = []


class Faults(msgspec.Struct):
    """All faults of a run; `bool()` says whether there are any."""

    kinds: dict[str, Fault] = {}

    def __bool__(self) -> bool:
        return bool(self.kinds)

    @property
    def total(self) -> int:
        """How many there are of all kinds."""
        return sum(fault.count for fault in self.kinds.values())

    def count(self, kind: str) -> int:
        """Return how many there are of one kind."""
        return self.kinds[kind].count if kind in self.kinds else 0

    def add(self, kind: str, what: str, count: int = 1) -> None:
        """Note a fault; `what` names it, and is kept for the first few."""
        fault = self.kinds.setdefault(kind, Fault(examples=[]))
        fault.count += count
        if len(fault.examples) < _EXAMPLES:
            fault.examples.append(what)

    def merge(self, others: "Faults") -> None:
        """Add the faults that another process found."""
        for kind, theirs in others.kinds.items():
            ours = self.kinds.setdefault(kind, Fault(examples=[]))
            ours.count += theirs.count
            ours.examples = (ours.examples + theirs.examples)[:_EXAMPLES]
