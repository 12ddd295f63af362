"""What the doors of a front share: who may come in, what the others are told, and who is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from relay.auth.origins import Origins
from relay.front.admission import Admission, Bound, Visit
from relay.front.entrance.answer import Answer, answer
from relay.front.entrance.handshakes import Handshakes, handshakes_of
from relay.front.entrance.head import Head
from relay.front.entrance.health import Readiness
from relay.front.entrance.proxies import Proxies
from relay.front.entrance.refusals import Refusals
from relay.front.hub import Hub, Timed
from relay.process import memory

# Who is turned away may stay to hear why; of more than these the oldest are cut, who have heard.
MOST_LINGERING: Final = 64
# Of so many connections that have gone the memory is given back: some 2 to 8 MiB.
GONE_TOGETHER: Final = 500
# When to come again: behind the time in which a storm of logins goes by.
RETRY_AFTER_S: Final = 5


def _turned_away(bound: Bound) -> Answer:
    status, phrase = (
        (429, "Too Many Requests") if bound.is_of_address else (503, "Service Unavailable")
    )
    return answer(status, phrase, bound.value, headers=f"Retry-After: {RETRY_AFTER_S}\r\n")


NO_CLIENT: Final = answer(400, "Bad Request", "proxy_headers_refused")
STRANGE_PAGE: Final = answer(403, "Forbidden", "origins_refused")
ISOLATED: Final = answer(
    503,
    "Service Unavailable",
    "isolated_refused",
    text="this host is cut off from its cluster: connect to another one",
    headers=f"Retry-After: {RETRY_AFTER_S}\r\n",
)
ANSWERS: Final = {bound: _turned_away(bound) for bound in Bound}


class Waiting(Timed, Protocol):
    """A connection at a door."""

    def cut(self) -> None:
        """End the connection at once."""


class Entrance:
    """The one of a front.

    Raises:
        SettingsError: from the start, where certificates are unusable.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._admission = Admission(hub.settings, hub.counters)
        self._doors: set[Waiting] = set()
        self._lingering: dict[Waiting, None] = {}  # the oldest first
        self._most_lingering = MOST_LINGERING
        self._gone = 0  # whose memory was given back
        self._turned_away = Refusals(hub, "connections.refused")
        self._strange_pages = Refusals(hub, "origins.refused")
        self._odd_proxies = Refusals(hub, "proxies.refused")
        self.unready: Readiness | None = None  # why, whatever the workers do
        self.handshakes: Handshakes | None = None  # of TLS, where the port speaks it
        self._adopt_limits()

    def _adopt_limits(self) -> None:
        admission = self.hub.settings.admission
        self.proxies = Proxies(self.hub.settings.server, self.hub.settings.auth_proxy)
        self._origins = Origins(self.hub.settings.server.allowed_origins)
        self.handshake_bytes = admission.handshake_bytes
        self.handshake_ms = int(admission.handshake_s * 1000)
        self.handshakes = handshakes_of(self.hub, self.handshakes)

    def adopt(self) -> None:
        """Go by the hub's settings; who is at a door keeps its time."""
        self._admission.adopt(self.hub.settings)
        self._adopt_limits()

    def hold_at_most(self, connections: int) -> None:
        """Go by how many connections there are descriptors for."""
        self._most_lingering = min(MOST_LINGERING, connections // 4)
        self._admission.most_open = connections - self._most_lingering

    # ------------------------------------------------------------------------- for each door

    def opened(self, door: Waiting) -> None:
        """Somebody is at a door."""
        self._doors.add(door)

    def arrive(self, address: str, *, is_proxy: bool) -> Visit | Answer:
        """Let a connection in, or count and log that it is turned away, and return what to say.

        One of a proxy is to be given its place once it is known whose it is.
        """
        admitted = self._admission.arrive(None if is_proxy else address, self.hub.clock_ms())
        if isinstance(admitted, Visit):
            return admitted
        return self._turn_away(admitted, address)

    def place(self, visit: Visit, address: str) -> Answer | None:
        """Count a visit as one of `address`; return what to say where it is turned away."""
        bound = self._admission.place(visit, address, self.hub.clock_ms())
        return self._turn_away(bound, address) if bound is not None else None

    def _turn_away(self, bound: Bound, address: str) -> Answer:
        said = ANSWERS[bound]
        self.count(said)
        self._turned_away.note(said.counter, address=address)
        return said

    def doubts_proxy(self, address: str, reason: str) -> Answer:
        """Return what a proxy is told that is trusted and does not say for whom it asks."""
        self._odd_proxies.note(NO_CLIENT.counter, address=address, reason=reason)
        return NO_CLIENT

    def refuses_page(self, request: Head, address: str) -> Answer | None:
        """Return what a page is told from where nobody may connect; None: this one may."""
        origins = request.values("origin")
        reason = self._origins.refusal(origins, request.values("host"))
        if reason is None:
            return None
        said = STRANGE_PAGE
        self._strange_pages.note(
            said.counter, address=address, origin=", ".join(origins), reason=reason
        )
        return said

    def count(self, said: Answer) -> None:
        """Count a connection that gets this answer."""
        self.hub.counters[said.counter] += 1

    @property
    def expiries(self) -> Mapping[str, float]:
        """Until when each certificate is good that is shown: seconds since 1970, by its file."""
        return {} if self.handshakes is None else self.handshakes.expiries

    def readiness(self) -> Readiness:
        """Whether clients should be sent here."""
        if self.unready is not None:
            return self.unready
        return Readiness.READY if self.hub.links.is_whole else Readiness.WAITING

    @property
    def is_isolated(self) -> bool:
        """Whether nobody is to come in, since this host is cut off from its cluster."""
        return self.unready is Readiness.ISOLATED

    def linger(self, door: Waiting) -> None:
        """Let it stay for its answer, at most until as many others have come for theirs."""
        self._lingering[door] = None
        if len(self._lingering) > self._most_lingering:
            oldest = next(iter(self._lingering))
            del self._lingering[oldest]
            oldest.cut()

    def wake(self, door: Waiting, *, in_ms: int) -> None:
        """Have its time be over then, and no sooner."""
        self.hub.wheel.schedule(door, self.hub.clock_ms() + in_ms)

    def closed(self, door: Waiting) -> None:
        """It is gone, or a client's."""
        self._doors.discard(door)
        self._lingering.pop(door, None)
        self.hub.wheel.cancel(door)

    # ----------------------------------------------------------------------- for the listener

    @property
    def has_visitors(self) -> bool:
        """Whether somebody is at a door who may come in."""
        return len(self._doors) > len(self._lingering)

    def close(self) -> None:
        """Cut everyone who is at a door: they are not clients yet."""
        for door in list(self._doors):
            door.cut()

    def refresh(self) -> None:
        """Read certificates again that have changed."""
        if self.handshakes is not None:
            self.handshakes.refresh()

    def give_back(self) -> None:
        """Give the kernel the memory of those who have gone, once they are many."""
        if self._admission.gone - self._gone >= GONE_TOGETHER:
            self._gone = self._admission.gone
            memory.give_back()
