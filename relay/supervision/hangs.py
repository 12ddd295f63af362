"""Who hangs: a process that gives no sign of life for too long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from relay.supervision.seats import Incarnation

# From spawn to ready. A store of many GiB opens in well under a second; a cold disk may be slow.
BOOT_DEADLINE_S: Final = 60.0


# An agent does nothing that takes long, and other hosts miss its word: it has a part of the
# patience with others, but as many heartbeats.
AGENT_SHARE: Final = 1 / 3
AGENT_HEARTBEATS: Final = 4
# What was aborted and killed is gone soon, unless the kernel holds it: a disk that does not answer.
STUCK_AFTER_S: Final = 10.0


class Watch:
    """Looks at the children from time to time, and knows when it did not."""

    def __init__(self, *, now_s: float) -> None:
        self._looked_s = now_s

    def look(
        self,
        children: Iterable[Incarnation],
        *,
        hung_after_s: float,
        heartbeat_s: float,
        now_s: float,
    ) -> list[Incarnation]:
        """Return who has begun to hang; each is returned, and marked as `hung`, once.

        To be called each `heartbeat_s`.
        """
        # After a pause of our own (SIGSTOP, a suspended machine) the children may have been
        # paused with us: their silence says nothing.
        paused_s = now_s - self._looked_s
        self._looked_s = now_s
        found = []
        for child in children:
            patience_s = _patience_s(child, hung_after_s, heartbeat_s)
            if paused_s > min(patience_s, hung_after_s) / 2:
                child.heard_s = now_s
            if now_s - child.heard_s > patience_s and not child.hung:
                child.hung = True
                found.append(child)
        return found


def is_stuck(child: Incarnation, *, hung_after_s: float, heartbeat_s: float, now_s: float) -> bool:
    """Whether `child` hangs, and has outlived all that is done to one that does."""
    patience_s = _patience_s(child, hung_after_s, heartbeat_s) + STUCK_AFTER_S
    return child.hung and now_s - child.heard_s > patience_s


def _patience_s(child: Incarnation, hung_after_s: float, heartbeat_s: float) -> float:
    if not child.has_begun:
        return BOOT_DEADLINE_S
    if child.role == "agent":
        least_s = max(AGENT_SHARE * hung_after_s, AGENT_HEARTBEATS * heartbeat_s)
        return min(hung_after_s, least_s)
    return hung_after_s
