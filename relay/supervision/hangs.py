"""Who hangs: a process that gives no sign of life for too long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from relay.supervision.seats import Incarnation

# From spawn to ready. A store of many GiB opens in well under a second; a cold disk may be slow.
BOOT_DEADLINE_S: Final = 60.0


# What was aborted and killed is gone soon, unless the kernel holds it: a disk that does not answer.
STUCK_AFTER_S: Final = 10.0


class Watch:
    """Looks at the children from time to time, and knows when it did not."""

    def __init__(self, *, now_s: float) -> None:
        self._looked_s = now_s

    def look(
        self, children: Iterable[Incarnation], *, hung_after_s: float, now_s: float
    ) -> list[Incarnation]:
        """Return who has begun to hang; each is returned, and marked as `hung`, once.

        To be called more often than every half of `hung_after_s`.
        """
        # After a pause of our own (SIGSTOP, a suspended machine) the children may have been
        # paused with us: their silence says nothing.
        paused = now_s - self._looked_s > hung_after_s / 2
        self._looked_s = now_s
        found = []
        for child in children:
            if paused:
                child.heard_s = now_s
            if now_s - child.heard_s > _patience_s(child, hung_after_s) and not child.hung:
                child.hung = True
                found.append(child)
        return found


def is_stuck(child: Incarnation, *, hung_after_s: float, now_s: float) -> bool:
    """Whether `child` hangs, and has outlived all that is done to one that does."""
    patience_s = _patience_s(child, hung_after_s) + STUCK_AFTER_S
    return child.hung and now_s - child.heard_s > patience_s


def _patience_s(child: Incarnation, hung_after_s: float) -> float:
    return hung_after_s if child.has_begun else BOOT_DEADLINE_S
