"""What the connections of a front share: settings, codec, links, timers, and who is there."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Container
from typing import Protocol

from relay import clock, log
from relay.auth.contract import Authenticator
from relay.bus.envelopes import Seq
from relay.extensions.registry import Registry
from relay.front.checks import Checks
from relay.front.flusher import Flusher
from relay.front.links import Links, WorkerLink
from relay.front.output import Hold, Note
from relay.front.senders import Senders
from relay.front.session import Session
from relay.front.tracing import Tracing
from relay.front.turns import Turns
from relay.front.visitors import Visitors
from relay.front.wheel import TimerWheel
from relay.front.wire import SharedFrame
from relay.protocol.codec import Codec
from relay.settings.tables import Settings

TICK_MS = 100  # how late a ping or deadline may be
# Between two looks at the bans where nothing else is to be looked at. The admin says when there are
# others: this is for a front that it could not tell.
BANS_EVERY_MS = 5_000


class Timed(Protocol):
    """Who has something to do at a time."""

    def __hash__(self) -> int:
        """Return what tells it from the others."""

    def on_timer(self, clock_ms: int) -> None:
        """Do what is due."""

    def fail(self) -> None:
        """End after a fault, inside an except block."""


class Endpoint(Timed, Protocol):
    """A connection, as the rest of the front sees it."""

    session: Session

    @property
    def address(self) -> object:
        """Where the client is."""

    def take(self) -> None:
        """Do what the session wants done, after something was fed to it."""

    def deliver(self, seq: Seq, receipt_for: str, frame: bytes) -> None:
        """Deliver a live frame."""

    def deliver_receipts(self, seq: Seq, receipt_for: list[str], frames: list[bytes]) -> None:
        """Deliver live receipts that are one entry."""

    def deliver_spread(self, seq: Seq, frame: bytes) -> None:
        """Deliver a large group's frame."""

    def hold(self, why: int) -> None:
        """Stop reading."""

    def release(self, why: int) -> None:
        """Read on, if no other reason to wait is left."""

    def read_on(self) -> None:
        """Have the next turn of reading."""

    def settings_changed(self) -> None:
        """Go by the hub's settings."""

    def flush(self) -> None:
        """Hand what was written to the kernel."""

    def leave(self, code: int, reason: str, notice: bytes) -> None:
        """Send the client away."""

    def log_out(self) -> None:
        """End the session, whose login is no longer good."""

    @property
    def has_pending(self) -> bool:
        """Whether something that was read has yet to be taken, or to be answered."""


class NoteTaker(Protocol):
    """Whoever tells the extensions what sessions note."""

    def take(self, session: Session, note: Note) -> None:
        """Take a note of `session`."""


class Hub:
    """The one of a front; it is to be joined to its links before a connection is made.

    Over 15 fields, since it is all that connections share.
    """

    links: Links
    flusher: Flusher
    extensions: NoteTaker

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        loop: asyncio.AbstractEventLoop,
        authenticator: Authenticator | None = None,
        banned: Container[str] = frozenset(),
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.log = log.get_logger()
        self.codec = Codec(settings.limits, registry.rows)
        self.turns = Turns(loop)
        self.wheel: TimerWheel[Timed] = TimerWheel(TICK_MS)
        self.counters: Counter[str] = Counter()
        self.visitors = Visitors(settings.log, self.counters)
        self.clients: dict[int, Endpoint] = {}  # by session number
        self.checks = Checks(
            authenticator, self.clients, loop, banned, rest_ms=_rest_of_checks_ms(settings)
        )
        self.last_number = 0
        self.senders = Senders()
        self.framed = SharedFrame().framed
        self.tracing = Tracing(self.clients, self.codec, self.framed)
        self._waiting: dict[int, set[Endpoint]] = {}  # for room on a worker's link
        self.empty = asyncio.Event()  # nobody is connected
        self.empty.set()

    def join(self, links: Links, flusher: Flusher, extensions: NoteTaker) -> None:
        """Have connections use these."""
        self.links = links
        self.flusher = flusher
        self.extensions = extensions

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which all of it runs."""
        return self.turns.loop

    def clock_ms(self) -> int:
        """Return the time that deadlines go by."""
        return clock.clock_ms()

    def make_session(self) -> Session:
        """Return a session with a number that none of this front has had."""
        self.last_number += 1
        return Session(
            self.last_number,
            self.codec,
            self.settings,
            self.registry.capabilities,
            self.senders,
            banned=self.checks.banned,
        )

    def opened(self, client: Endpoint) -> None:
        """Take a new connection in."""
        self.clients[client.session.number] = client
        self.empty.clear()

    def lost(self, client: Endpoint) -> None:
        """Forget a connection."""
        del self.clients[client.session.number]
        self.checks.give_up(client.session.number)
        self.tracing.gone(client.session.number)
        self.wheel.cancel(client)
        for waiting in self._waiting.values():
            waiting.discard(client)
        if not self.clients:
            self.empty.set()

    def wait_for_room(self, client: Endpoint, link: WorkerLink) -> None:
        """Do not read from `client` until the worker of `link` has caught up."""
        client.hold(Hold.LINK)
        self._waiting.setdefault(link.index, set()).add(client)

    def has_room(self, link: WorkerLink) -> None:
        """Read on from those who waited for the worker of `link`."""
        for client in self._waiting.pop(link.index, ()):
            client.release(Hold.LINK)

    def adopt(self, settings: Settings) -> None:
        """Go by other settings, and the sessions that are open too."""
        self.settings = settings
        self.codec.adopt(settings.limits)
        self.visitors.adopt(settings.log)
        for client in self.clients.values():
            client.settings_changed()


def _rest_of_checks_ms(settings: Settings) -> int | None:
    """Return what `Checks` rests between two looks, each of which starts a thread."""
    if settings.auth.mode != "open":
        return 0
    # There are the bans alone, and nobody bans without an admin, if need be another host's.
    is_alone = settings.admin.disabled and not settings.cluster.is_on
    return None if is_alone else BANS_EVERY_MS
