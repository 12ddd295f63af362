"""Who is let in: how many connections there are, in all and from each address, and how fast.

Each front counts for itself, like `limits.connections`. What it knows of an address is kept while
one of its connections is there, and then until its handshakes are forgiven.
"""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter
from typing import Final

import msgspec

from relay.front.networks import Networks
from relay.settings.tables import AdmissionSettings, Settings

# Addresses without a connection whose handshakes are not forgiven yet: some MiB. Forgiven at 50 a
# second, so many need a storm of half a million new addresses a second.
MOST_IDLE: Final = 10_000
# Idle addresses that are looked at for each connection that comes: more than it can leave behind.
_LOOKS: Final = 2


class Bound(enum.Enum):
    """What a connection was turned away for; the value is the counter of it."""

    CONNECTIONS = "connections_refused"
    DESCRIPTORS = "connections_without_descriptor_refused"
    UNAUTHENTICATED = "unauthenticated_refused"
    ADDRESS_CONNECTIONS = "address_connections_refused"
    ADDRESS_UNAUTHENTICATED = "address_unauthenticated_refused"
    ADDRESS_HANDSHAKES = "address_handshakes_refused"

    @property
    def is_of_address(self) -> bool:
        """Whether others still come in."""
        return self in _OF_ADDRESS


_OF_ADDRESS: Final = frozenset(
    {Bound.ADDRESS_CONNECTIONS, Bound.ADDRESS_UNAUTHENTICATED, Bound.ADDRESS_HANDSHAKES}
)


def key_of(address: str) -> str:
    """Return what `address` counts as: itself, or its /64 where it is of IPv6.

    Whoever has one address of a /64 has all of them. An IPv4 address in IPv6's clothes counts as
    itself.
    """
    if ":" not in address:
        return address
    whole = ipaddress.IPv6Address(address)
    if whole.ipv4_mapped is not None:
        return str(whole.ipv4_mapped)
    return whole.packed[:8].hex(":", 2)


class _Source:
    """What is known of one address."""

    __slots__ = ("connections", "key", "tokens", "tokens_at_ms", "unauthenticated")

    def __init__(self, key: str, tokens: float, now_ms: int) -> None:
        self.key = key
        self.connections = 0
        self.unauthenticated = 0
        self.tokens = tokens
        self.tokens_at_ms = now_ms

    def refill(self, settings: AdmissionSettings, now_ms: int) -> bool:
        """Forgive as many handshakes as the time allows; return whether all are."""
        most = settings.address_handshakes_burst
        rate = settings.address_handshakes_per_s
        self.tokens = min(most, self.tokens + (now_ms - self.tokens_at_ms) / 1000 * rate)
        self.tokens_at_ms = now_ms
        return not rate or self.tokens >= most


class Visit(msgspec.Struct, eq=False, gc=False):
    """A connection that was let in, until it is said to have `left`."""

    _admission: Admission
    _source: _Source | None  # None where its address is exempt, or not told yet
    came_ms: int
    told_address: str = ""  # by a proxy; "": it is that of the socket
    named: str = ""  # who a proxy says it is; "": none that is believed has said so
    is_unauthenticated: bool = True

    def logged_in(self) -> None:
        """It is no longer one of those that nobody knows; a second call changes nothing."""
        if self.is_unauthenticated:
            self.is_unauthenticated = False
            self._admission.unauthenticated -= 1
            if self._source is not None:
                self._source.unauthenticated -= 1

    def place(self, source: _Source | None, address: str) -> None:
        """It is of `address`, as its proxy has told; to be called once, before its login."""
        self.told_address = address
        self._source = source
        if source is not None:
            source.connections += 1
            source.unauthenticated += 1

    def left(self) -> None:
        """It is gone; to be called once."""
        self.logged_in()
        self._admission.leave(self._source)


class Admission:
    """Counts those who are in and judges those who come; times are of a clock that never jumps."""

    def __init__(self, settings: Settings, counters: Counter[str]) -> None:
        self._counters = counters
        self._sources: dict[str, _Source] = {}
        self._idle: dict[str, _Source] = {}  # those without a connection, the oldest first
        self.connections = 0
        self.unauthenticated = 0
        self.gone = 0  # in all
        self.most_open: int | None = None  # as many as there are descriptors for
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Go by other settings; nobody who is in is sent away."""
        self._settings = settings.admission
        self._most_connections = settings.limits.connections
        self._exempt = Networks(settings.admission.exempt)

    @property
    def addresses(self) -> int:
        """How many addresses are known."""
        return len(self._sources)

    def arrive(self, address: str | None, now_ms: int) -> Visit | Bound:
        """Let a connection from `address` in, or say why not; "" is an address like others.

        Where it is a proxy's, and whose it is comes later, `address` is None, and `place` follows.
        """
        self._forget_idle(now_ms)
        source = None if address is None else self._source_of(address, now_ms)
        bound = self._bound_of(source, now_ms) if source is not None else None
        bound = bound or self._bound_of_all()
        if bound is not None:
            return bound
        self.connections += 1
        self.unauthenticated += 1
        if source is not None:
            self._idle.pop(source.key, None)
            source.connections += 1
            source.unauthenticated += 1
        return Visit(self, source, now_ms)

    def place(self, visit: Visit, address: str, now_ms: int) -> Bound | None:
        """Count a visit as one of `address`, or say why it may not stay; it is then to leave."""
        self._forget_idle(now_ms)
        source = self._source_of(address, now_ms)
        bound = self._bound_of(source, now_ms) if source is not None else None
        if bound is None:
            if source is not None:
                self._idle.pop(source.key, None)
            visit.place(source, address)
        return bound

    def _bound_of_all(self) -> Bound | None:
        if self.connections >= self._most_connections:
            return Bound.CONNECTIONS
        if self.most_open is not None and self.connections >= self.most_open:
            return Bound.DESCRIPTORS
        if self.unauthenticated >= self._settings.unauthenticated:
            return Bound.UNAUTHENTICATED
        return None

    def _bound_of(self, source: _Source, now_ms: int) -> Bound | None:
        settings = self._settings
        source.refill(settings, now_ms)
        if settings.address_handshakes_per_s:
            if source.tokens < 1:
                return Bound.ADDRESS_HANDSHAKES
            source.tokens -= 1
        if 0 < settings.address_connections <= source.connections:
            return Bound.ADDRESS_CONNECTIONS
        if 0 < settings.address_unauthenticated <= source.unauthenticated:
            return Bound.ADDRESS_UNAUTHENTICATED
        return None

    def _source_of(self, address: str, now_ms: int) -> _Source | None:
        """Return what is known of `address`, None where it is exempt."""
        if self._exempt.has_text(address):
            return None
        key = key_of(address)
        source = self._sources.get(key)
        if source is None:
            burst = float(self._settings.address_handshakes_burst)
            source = self._sources[key] = _Source(key, burst, now_ms)
            self._rest(source)
        return source

    def leave(self, source: _Source | None) -> None:
        """Count a connection out, and what is known of its address as idle once it has none."""
        self.connections -= 1
        self.gone += 1
        if source is not None:
            source.connections -= 1
            if not source.connections:
                self._rest(source)

    def _rest(self, source: _Source) -> None:
        """Keep it as idle; beyond the bound the oldest gives way."""
        self._idle[source.key] = source
        if len(self._idle) > MOST_IDLE:
            oldest = next(iter(self._idle))
            del self._idle[oldest], self._sources[oldest]
            self._counters["addresses_forgotten"] += 1

    def _forget_idle(self, now_ms: int) -> None:
        """Forget those of the oldest idle addresses that are as good as new."""
        for key in [key for key, _ in zip(self._idle, range(_LOOKS), strict=False)]:
            source = self._idle.pop(key)
            if source.refill(self._settings, now_ms):
                del self._sources[key]
            else:
                self._idle[key] = source
