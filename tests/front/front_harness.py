"""A front of its own for a test, perhaps on a loop that the test turns."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from relay import clock
from relay.front.admission import Admission, Visit
from relay.front.connection import Connection
from relay.front.entrance import head
from relay.front.front import Front
from relay.process.channel import child_end
from relay.process.place import Place
from relay.settings.tables import Settings


class FakeLoop:
    """A loop that the test turns, with a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._soon: list[Callable[[], object]] = []
        self._later: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._soon.append(callback)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> None:
        self._later.append((self.now_s + delay_s, callback))

    def turn(self) -> None:
        """Call what was asked for soon, and what is due."""
        soon, self._soon = self._soon, []
        due = [callback for when_s, callback in self._later if when_s <= self.now_s]
        self._later = [each for each in self._later if each[0] > self.now_s]
        for callback in (*soon, *due):
            callback()

    def wait(self) -> None:
        """Let time pass up to the next timer."""
        self.now_s = max(self.now_s, min(when_s for when_s, _ in self._later))


def let_in(now_ms: int | None = None) -> Visit:
    """Return what a connection has of the front's entrance, which lets it in."""
    now_ms = clock.clock_ms() if now_ms is None else now_ms
    visit = Admission(Settings(), Counter()).arrive("", now_ms)
    assert isinstance(visit, Visit)
    return visit


def begin(connection: Connection, raw: bytes) -> None:
    """Have a connection answer the request of its handshake."""
    request = head.parse(raw)
    assert request is not None
    connection.begin(request, raw)


@contextmanager
def front_on(loop: FakeLoop | asyncio.AbstractEventLoop) -> Iterator[Front]:
    """Yield a front without workers and without a socket to listen on."""
    ours, theirs = socket.socketpair()
    place = Place(Path("/nonexistent"), 0, 1, Settings(), child_end(theirs.detach()))
    front = Front(place, cast("asyncio.AbstractEventLoop", loop))
    front.hub.turns.clock_s = loop.time
    try:
        yield front
    finally:
        front.links.close()
        place.control.close()
        ours.close()
