"""TLS between a socket and whoever reads it: a transport over a transport.

To a door and to a client's connection it is what uvloop's transport is without TLS, down to how
much comes in a loop turn. uvloop has TLS too: at twice the time a message and a third more memory
(BENCHMARKS.md), without an end of the stream that leaves it readable, and without turns.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
from typing import Any, Final, Protocol, cast

from relay.front.turns import Turns

# What a record holds at most; a read of so many bytes never leaves a part of one.
_RECORD_BYTES: Final = 16 * 1024
# Ciphertext that is taken at once without a look at the clock: at worst 180 records of one byte.
_PIECE_BYTES: Final = 4 * 1024
# What one connection is decrypted for in a loop turn.
TURN_S: Final = 0.001
# After so large a read uvloop would read the same client again before anybody else.
LARGE_READ_BYTES: Final = 128 * 1024
# What a text counts against what came for it: a byte in a record of its own is one in 23 to 30.
_WORTH: Final = 32
# Ciphertext may bring so much less than that: the first parts of a record do. New keys bring none,
# and each time a client takes some is 20 us, at 27 bytes; an honest one does it once in a GiB.
LEAN_BYTES: Final = 2 * _RECORD_BYTES
# Clients on asyncio have no other word for it, since they end before their alert has left.
GONE: Final = "the client has gone, and did not say why; perhaps it does not trust the certificate"
# An alert is 2 bytes in a record, with what encrypts it; before it TLS 1.3 may have a record of 6.
_ALERT_BYTES: Final = 64
# What clients say of the certificate, by OpenSSL's names; each library has its favourite.
_ALERTS: Final = {
    "UNKNOWN_CA": "the client says: unknown ca; it does not trust the certificate",
    "BAD_CERTIFICATE": "the client says: bad certificate; it does not take it",
    "CERTIFICATE_UNKNOWN": "the client says: certificate unknown; it does not take it",
    "CERTIFICATE_EXPIRED": "the client says: certificate expired",
}
# What a client's own certificates may take in a handshake, with their chain.
CLIENT_CERTIFICATE_BYTES: Final = 32 * 1024


class Greeting(Protocol):
    """What the handshakes of a front share."""

    turns: Turns  # whose handshake goes on
    most_bytes: int  # of a client, in its handshake

    @property
    def context(self) -> ssl.SSLContext:
        """What the next one begins with."""

    def begun(self, one: EncryptedTransport) -> None:
        """Count one as under way; the oldest is cut where there are too many."""

    def ended(self, one: EncryptedTransport) -> None:
        """Count it out, however it ended, if it is counted."""

    def failed(self, address: str, reason: str) -> None:
        """Count one that has failed."""

    def broke(self, address: str, reason: str) -> None:
        """Count a connection that has failed behind its handshake."""

    def crashed(self) -> None:
        """Note a fault of ours, inside an except block."""


class _Stage(enum.Enum):
    GREETING = enum.auto()  # the handshake
    OPEN = enum.auto()
    ENDED = enum.auto()  # nothing is written any more, and what comes is passed over
    LOST = enum.auto()  # the socket is gone


class EncryptedTransport(asyncio.Transport, asyncio.Protocol):
    """The protocol of a socket's transport, and the transport of another protocol.

    Over 25 methods, because it is both.
    """

    __slots__ = (
        "_address",
        "_greeting",
        "_has_eof",
        "_held",
        "_incoming",
        "_is_paused",
        "_is_waiting",
        "_lean_bytes",
        "_outgoing",
        "_protocol",
        "_stage",
        "_tls",
        "_transport",
        "_turns",
        "long_s",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        greeting: Greeting,
        turns: Turns,
        address: str,
    ) -> None:
        """Begin on `transport` as a server whose client says its first byte next.

        `protocol` has a transport already, and hears nothing until the handshake is done. `turns`
        are those of all clients that are read; failures are told as those of `address`.
        """
        super().__init__()
        self._transport = transport
        self._protocol: asyncio.Protocol | None = protocol  # while the socket is open
        self._greeting = greeting
        self._turns = turns
        self._address = address
        self._stage = _Stage.GREETING
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        # From its first byte on: it is some 10 KiB, and who says nothing is to have none of them.
        self._tls: ssl.SSLObject | None = None
        self._lean_bytes = 0  # that have come for no text, as all of the handshake do
        self._held = b""  # came, and waits for its turn or for whoever reads it
        self._is_paused = False  # nobody reads
        self._is_waiting = False  # for its turn
        self._has_eof = False  # the socket has nothing more
        self.long_s = 0.0  # see `Turns`
        transport.set_protocol(self)

    # ------------------------------------------------------------------------- from the socket

    def data_received(self, data: bytes) -> None:
        """Take what came, or keep it until its turn."""
        if self._stage is not _Stage.OPEN:
            if self._stage is _Stage.GREETING:
                self._held += data
                self._wait()
            return
        try:
            if self._is_paused or self._is_waiting:
                self._held += data
            elif len(data) < _PIECE_BYTES:
                self._take(data)
            else:
                self._held += data
                if len(data) >= LARGE_READ_BYTES or self._turns.is_over():
                    self._wait()
                else:
                    self._go_on()
        except Exception:
            self._crash()

    def eof_received(self) -> bool:
        """Tell the reader once it has had all; one in its handshake goes when that was read."""
        if self._stage is _Stage.OPEN and self._held:
            self._has_eof = True
            self._go_on()
            return True
        if self._stage is _Stage.OPEN:
            return self._tell_eof()
        if self._stage is _Stage.GREETING and self._tls is not None:
            if self._held:
                self._has_eof = True  # its last word may be why, and waits for its turn
                return True
            self._greeting.failed(self._address, GONE)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the reader, and let go of it: they refer to each other."""
        protocol, self._protocol = self._protocol, None
        # A reset; what is cut here is counted for that.
        was_greeting = self._stage is _Stage.GREETING and exc is not None
        self._stage = _Stage.LOST
        if self._tls is not None:
            if was_greeting:
                self._greeting.failed(self._address, self._last_word())
            self._greeting.ended(self)
            # To free it is 40 us, and thousands may be lost at once: in turns, too.
            self._greeting.turns.wait(self, is_long=False)
        self._held = b""
        if protocol is not None:
            protocol.connection_lost(exc)

    def _last_word(self) -> str:
        """Return why a client says that it has gone, in its handshake."""
        tls, held = self._tls, self._held
        if tls is not None and 0 < len(held) <= _ALERT_BYTES:
            self._incoming.write(held)
            try:
                tls.do_handshake()
            except (ssl.SSLError, ssl.CertificateError) as error:
                if not isinstance(error, ssl.SSLWantReadError):
                    return words_of(error)
        return GONE

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    # ------------------------------------------------------------------------------- its turns

    def _wait(self) -> None:
        """Read no more of the socket until its turn comes."""
        if not self._is_waiting:
            self._is_waiting = True
            self._regulate()
            turns = self._greeting.turns if self._stage is _Stage.GREETING else self._turns
            turns.wait(self, is_long=False)

    def read_on(self) -> None:
        """Go on with the handshake, or with what is held; of one that is gone nothing is kept."""
        self._is_waiting = False
        if self._stage is _Stage.LOST:
            self._tls = None
            return
        try:
            if self._stage is _Stage.GREETING:
                self._greet()
            else:
                self._go_on()
            self._regulate()
        except Exception:
            self._crash()

    def _regulate(self) -> None:
        """Read the socket where what comes could be taken, and not else."""
        if self._transport.is_closing():
            return
        if self._is_waiting or (self._is_paused and self._stage is _Stage.OPEN):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _greet(self) -> None:
        held, self._held = self._held, b""
        self._lean_bytes += len(held)
        if self._transport.is_closing():
            return
        if self._lean_bytes > self._greeting.most_bytes:
            self._refuse(f"over {self._greeting.most_bytes} bytes")
            return
        if self._tls is None:
            self._tls = self._greeting.context.wrap_bio(
                self._incoming, self._outgoing, server_side=True
            )
            self._greeting.begun(self)
        self._incoming.write(held)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            if self._has_eof:
                self._refuse(GONE)
            return
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._send()  # the alert
            self._refuse(words_of(error))
            return
        self._stage, self._lean_bytes = _Stage.OPEN, 0
        self._greeting.ended(self)
        self._send()
        if self._incoming.pending or self._has_eof:
            self._take(b"")

    def _refuse(self, reason: str) -> None:
        self._greeting.ended(self)
        self._greeting.failed(self._address, reason)
        self._stage = _Stage.ENDED
        self._transport.close()

    # ---------------------------------------------------------------------------------- reading

    def _go_on(self) -> None:
        """Take what is held, as much of it as a turn may."""
        if self._is_paused or self._is_waiting or self._stage is not _Stage.OPEN:
            return
        held, at, clock_s = self._held, 0, self._turns.clock_s
        self._held = b""
        texts: list[bytes] = []
        ends_s = clock_s() + TURN_S
        is_over = False
        while at < len(held) and not is_over and self._stage is _Stage.OPEN:
            self._decrypt(held[at : at + _PIECE_BYTES], texts)
            at += _PIECE_BYTES
            is_over = clock_s() >= ends_s
        self._held = held[at:]
        self._tell(texts)
        if self._stage is _Stage.OPEN and self._held and not self._is_paused:
            self._wait()

    def _take(self, data: bytes) -> None:
        """Take a piece at once."""
        texts: list[bytes] = []
        self._decrypt(data, texts)
        self._tell(texts)

    def _decrypt(self, data: bytes, texts: list[bytes]) -> None:
        tls, incoming = self._tls, self._incoming
        assert tls is not None, "it is open"
        incoming.write(data)
        lean_bytes = self._lean_bytes + len(data)
        try:
            while incoming.pending:  # to try once more would be an exception each time
                text = tls.read(_RECORD_BYTES)
                if not text:
                    self._has_eof = True  # the client's close_notify
                    break
                lean_bytes -= _WORTH * len(text)
                texts.append(text)
        except ssl.SSLWantReadError:
            pass  # a part of a record
        except ssl.SSLError as error:
            self._break(words_of(error))
        self._lean_bytes = max(0, lean_bytes)
        if lean_bytes > LEAN_BYTES and self._stage is _Stage.OPEN:
            self._break(f"{LEAN_BYTES} bytes without a text in them")
        if self._outgoing.pending:  # new keys, an alert
            self._send()

    def _break(self, reason: str) -> None:
        self._greeting.broke(self._address, reason)
        self._stage = _Stage.ENDED
        self._transport.abort()

    def _tell(self, texts: list[bytes]) -> None:
        if texts and self._protocol is not None:
            self._protocol.data_received(texts[0] if len(texts) == 1 else b"".join(texts))
        if self._has_eof and not self._held and self._stage is _Stage.OPEN and not self._is_paused:
            self._has_eof = False
            if not self._tell_eof():
                self._transport.close()

    def _tell_eof(self) -> bool:
        """Say that nothing more comes; return whether the socket stays open."""
        self._has_eof = False
        stays = self._protocol is not None and bool(self._protocol.eof_received())
        if not stays:
            self._say_goodbye()
        return stays

    # ---------------------------------------------------------------------------------- writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt it and hand it to the socket's transport in one piece."""
        if self._stage is not _Stage.OPEN or self._tls is None:
            return
        if len(data) <= _RECORD_BYTES:
            self._tls.write(data)
            self._transport.write(self._outgoing.read())
            return
        records, view = [], memoryview(data)
        for at in range(0, len(view), _RECORD_BYTES):
            self._tls.write(view[at : at + _RECORD_BYTES])
            records.append(self._outgoing.read())
        self._transport.write(b"".join(records))

    def _send(self) -> None:
        said = self._outgoing.read()
        if said and not self._transport.is_closing():
            self._transport.write(said)

    def write_eof(self) -> None:
        """Say behind what was written that nothing follows, and pass over what yet comes."""
        self._say_goodbye()
        if not self._transport.is_closing():
            self._transport.write_eof()
        self._regulate()

    def can_write_eof(self) -> bool:
        """It can: what the client still sends is read, so that no reset overtakes the last word."""
        return True

    def _say_goodbye(self) -> None:
        if self._stage is not _Stage.OPEN or self._tls is None:
            return
        self._stage = _Stage.ENDED
        self._held = b""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # it is said, and the answer is not waited for
        self._send()

    # ------------------------------------------------------------------- the rest of a transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another one read."""
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who reads."""
        assert self._protocol is not None, "the socket is open"
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the socket's transport knows."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Say nothing more to the protocol; it is not called again before `resume_reading`."""
        self._is_paused = True
        self._regulate()

    def resume_reading(self) -> None:
        """Go on with what is held, in its turn, and read the socket."""
        self._is_paused = False
        if self._held or self._has_eof:
            self._wait()
        else:
            self._regulate()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Have the protocol paused by what waits in the socket's transport: all does there."""
        self._transport.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        """Return how much the kernel has not taken, encrypted."""
        return self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Tell whether the socket is being closed, or is."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close behind what was written."""
        self._say_goodbye()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _crash(self) -> None:
        """End the connection after a fault of ours, inside an except block (I7)."""
        self._greeting.crashed()
        self._transport.abort()


def words_of(error: Exception) -> str:
    """Return what has failed, in words that are the library's and never the client's."""
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    _, is_alert, name = str(reason).partition("_ALERT_")
    if is_alert:
        return _ALERTS.get(name) or f"the client says: {_plain(name)}"
    return _plain(str(reason))


def _plain(name: str) -> str:
    return name.replace("_", " ").lower()
