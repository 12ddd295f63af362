"""One TCP connection until the request of its handshake is whole, which is when it gets a session.

So whoever never says more than that costs a small object and `admission.handshake_bytes`, and who
answers handshakes is given requests that are whole.
"""

from __future__ import annotations

import asyncio
from typing import Final, assert_never, cast

from relay.front.admission import Visit
from relay.front.connection import Connection
from relay.front.entrance import head, health, proxyprotocol
from relay.front.entrance.answer import Answer, answer
from relay.front.entrance.encrypted import EncryptedTransport
from relay.front.entrance.entrance import ISOLATED, Entrance
from relay.front.entrance.head import Head
from relay.front.entrance.proxyprotocol import Missing, Preface
from relay.front.networks import plain_text

_HEAD_END: Final = b"\r\n\r\n"
# HEAD and OPTIONS are for health checks.
_METHODS: Final = (b"GET ", b"HEAD ", b"OPTIONS ")
# A request that is refused is read on for so long, and to so many bytes: a reset of what was not
# read would take the answer away from the client.
LINGER_MS: Final = 2_000
LINGER_BYTES: Final = 64 * 1024

# The first byte of a client that speaks TLS.
_TLS: Final = b"\x16"
# Who is turned away where TLS is spoken hears this alert ("internal error") and no more: a
# handshake, for which it would take a text, costs what it is turned away for.
_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x50"

SPEAKS_TLS: Final = answer(
    400,
    "Bad Request",
    "handshakes_without_tls",
    text="TLS is spoken here: connect by wss:// or https://",
)
TOO_LARGE: Final = answer(431, "Request Header Fields Too Large", "handshakes_too_large")
NO_HANDSHAKE: Final = answer(400, "Bad Request", "handshakes_malformed")


def _may_be_asked(raw: bytes) -> bool:
    return any(method.startswith(raw[: len(method)]) for method in _METHODS)


class Door(asyncio.Protocol):
    """Reads a request, or answers that nobody comes in."""

    __slots__ = (
        "_address",
        "_answer",
        "_awaits_preface",
        "_awaits_tls",
        "_discarded",
        "_entrance",
        "_head",
        "_proxy",
        "_transport",
        "_visit",
        "_was_answered",
    )

    _transport: asyncio.Transport

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._visit: Visit | None = None  # while it is let in and is not a client's yet
        self._address = ""  # whose it is, as far as is known
        self._proxy = ""  # the address of one that is believed, until whose it is is known
        self._awaits_preface = False  # of the PROXY protocol
        self._awaits_tls = entrance.handshakes is not None
        self._head = b""
        self._answer: Answer | None = None  # what is said in place of a handshake
        self._was_answered = False
        self._discarded = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See whether there is room, and expect a request in time."""
        self._transport = cast(asyncio.Transport, transport)
        self._entrance.opened(self)
        try:
            self._arrive()
        except Exception:
            self.fail()

    def _arrive(self) -> None:
        entrance = self._entrance
        peer = self._transport.get_extra_info("peername")
        self._address = plain_text(peer[0]) if peer else ""
        if entrance.proxies.trust(self._address):
            self._proxy = self._address
            self._awaits_preface = entrance.proxies.have_preface
        admitted = entrance.arrive(self._address, is_proxy=bool(self._proxy))
        if isinstance(admitted, Visit):
            self._visit = admitted
            entrance.wake(self, in_ms=entrance.handshake_ms)
        else:
            self._turn_away(admitted)

    def _turn_away(self, said: Answer) -> None:
        """Keep it for its answer alone, which follows what it says."""
        if self._visit is not None:
            self._visit.left()
            self._visit = None
        self._answer, self._head = said, b""
        self._entrance.wake(self, in_ms=LINGER_MS)
        self._entrance.linger(self)

    def data_received(self, data: bytes) -> None:
        """Take some of the request; with its end the connection is a client's."""
        if self._answer is not None:
            self._discard(data)
            return
        try:
            self._read(data)
        except Exception:
            self.fail()

    def _read(self, data: bytes) -> None:
        if self._awaits_preface:
            data = self._read_preface(self._head + data)
            if not data:
                return
            if self._answer is not None:
                self._discard(data)
                return
        if self._awaits_tls:
            self._encrypt(data)
            return
        seen = len(self._head)
        raw = self._head + data
        at = raw.find(_HEAD_END, max(0, seen - len(_HEAD_END) + 1))
        size = len(raw) if at < 0 else at + len(_HEAD_END)
        if size > self._entrance.handshake_bytes:
            self._refuse(TOO_LARGE)
        elif not raw.startswith(_METHODS[0]) and not _may_be_asked(raw):
            # TLS, for one, in which no end of a request would ever come.
            self._refuse(NO_HANDSHAKE)
        elif at < 0:
            self._head = raw
        else:
            self._judge(raw[:size], raw[size:])

    def _read_preface(self, raw: bytes) -> bytes:
        """Take what a proxy says first; return what has come behind it."""
        preface = proxyprotocol.read(raw)
        match preface:
            case Missing.NOT_YET:
                self._head = raw
                return b""
            case Missing.NEVER:
                self._refuse(self._entrance.doubts_proxy(self._address, "no PROXY header"))
                return b""
            case Preface():
                self._head, self._awaits_preface = b"", False
                if preface.source:
                    self._place(preface.source)
                else:
                    # A check of the proxy's own, or of a client whose address it cannot tell: what
                    # stands in the request may be anybody's word.
                    self._settle(self._proxy)
                return raw[preface.bytes :]
            case _:
                assert_never(preface)

    def _encrypt(self, data: bytes) -> None:
        """Have all from here on be TLS, in which the request then comes."""
        handshakes = self._entrance.handshakes
        if handshakes is None or not data.startswith(_TLS):
            self._refuse(SPEAKS_TLS)
            return
        self._awaits_tls = False
        transport = EncryptedTransport(
            self._transport, self, handshakes, self._entrance.hub.turns, self._address
        )
        self._transport = transport
        transport.data_received(data)

    def _place(self, address: str) -> None:
        """Go by the address that a proxy has told, unless it is another proxy's."""
        if self._entrance.proxies.trust(address):
            self._address = self._proxy = address
        else:
            self._settle(address)

    def _settle(self, address: str) -> None:
        """Count it as one of `address`, or turn it away."""
        assert self._visit is not None, "it was let in, and is not a client's yet"
        self._address, self._proxy = address, ""
        said = self._entrance.place(self._visit, address)
        if said is not None:
            self._turn_away(said)

    def _judge(self, raw: bytes, behind: bytes) -> None:
        """See what the whole request asks for."""
        request = head.parse(raw)
        if request is None:
            self._refuse(NO_HANDSHAKE)
            return
        if self._proxy:
            proxies = self._entrance.proxies
            client = proxies.client_of(self._proxy, request)
            if client is None:
                reason = f"{proxies.header} cannot be read"
                self._refuse(self._entrance.doubts_proxy(self._proxy, reason))
                return
            assert self._visit is not None, "it was let in, and is not a client's yet"
            self._visit.named = proxies.user_of(request)
            self._settle(client)
            if self._answer is not None:
                self._discard(raw)
                return
        if (said := health.answer_to(request, self._entrance.readiness)) is not None:
            self._refuse(said)
        elif request.method != "GET":
            self._refuse(NO_HANDSHAKE)
        elif self._entrance.is_isolated:
            self._refuse(ISOLATED)
        elif (said := self._entrance.refuses_page(request, self._address)) is not None:
            self._refuse(said)
        else:
            self._let_in(request, raw, behind)

    def _let_in(self, request: Head, raw: bytes, behind: bytes) -> None:
        assert self._visit is not None, "it was let in, and is not a client's yet"
        client = Connection(self._entrance.hub, self._visit)
        self._transport.set_protocol(client)
        self._visit = None
        self._entrance.closed(self)
        client.connection_made(self._transport)
        client.begin(request, raw)
        if behind:
            client.data_received(behind)

    def _refuse(self, said: Answer) -> None:
        """Say that in place of a handshake."""
        self._entrance.count(said)
        self._answer, self._head = said, b""
        self._entrance.wake(self, in_ms=LINGER_MS)
        self._say(said)

    def _discard(self, data: bytes) -> None:
        """Answer what was asked; the rest is nothing to anybody."""
        if not self._was_answered and self._answer is not None:
            if not self._awaits_tls:
                self._say(self._health_in(data) or self._answer)
            elif data.startswith(_TLS):
                self._say(_ALERT)
            else:
                self._say(self._answer)
        self._discarded += len(data)
        if self._discarded > LINGER_BYTES:
            self.cut()

    def _health_in(self, data: bytes) -> Answer | None:
        """Return the answer to a health check, which who is turned away gets all the same.

        It costs no more than the other answer, as long as nothing is kept: it must be one read.
        """
        if len(data) > self._entrance.handshake_bytes:
            return None
        said = health.answer_to_raw(data, self._entrance.readiness)
        if said is not None:
            self._entrance.count(said)
        return said

    def _say(self, said: Answer | bytes) -> None:
        self._was_answered = True
        self._transport.write(said if isinstance(said, bytes) else said.response)
        self._transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out, unless it is a client's by now."""
        if self._visit is not None:
            self._visit.left()
            self._visit = None
        self._entrance.closed(self)

    # --------------------------------------------------------------------------- for the front

    def cut(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def fail(self) -> None:
        """End the connection after a fault of ours, inside an except block (I7)."""
        self._entrance.hub.log.exception("connection.failed")
        self.cut()

    def on_timer(self, clock_ms: int) -> None:
        """Its time is over."""
        if self._answer is None:
            self._entrance.hub.counters["handshakes_overdue"] += 1
        self.cut()
