"""Lines of the log about who was refused, so few that nobody can fill a disk with them."""

from __future__ import annotations

from collections import Counter
from typing import Final

from relay.front.hub import Hub

# Between two lines of one kind.
LOG_EVERY_S: Final = 10.0
# Of what a client has said.
MOST_SHOWN: Final = 200


class Refusals:
    """Those of one kind, which is an event of the log."""

    def __init__(self, hub: Hub, event: str) -> None:
        self._hub = hub
        self._event = event
        self._unlogged: Counter[str] = Counter()
        self._last: dict[str, str] = {}
        self._logs_later = False

    def note(self, counter: str, **last: str) -> None:
        """Count one, and say so now or in a while; `last` is what is said of the last one."""
        self._unlogged[counter] += 1
        self._last = {f"last_{key}": value[:MOST_SHOWN] for key, value in last.items()}
        if not self._logs_later:
            self._log()

    def _log(self) -> None:
        """Say who was refused since the last line; the next one comes in a while, if any."""
        self._logs_later = bool(self._unlogged)
        if self._unlogged:
            self._hub.log.warning(self._event, **self._unlogged, **self._last)
            self._unlogged.clear()
            self._hub.loop.call_later(LOG_EVERY_S, self._log)
