"""How a connection with a NATS server begins: TCP, TLS, and only then who we are.

Ours let TLS come first. By default a server says who it is before, in the clear: then it expects
TLS at once. So TLS can be begun at once with either, and there is no way around it.
"""

import os
import socket
import ssl
import time
from typing import Final, NamedTuple

import msgspec

from relay.cluster.natsframes import (
    MAX_LINE_BYTES,
    MAX_PAYLOAD_BYTES,
    PING,
    BadFrame,
    Complaint,
    Frame,
    Info,
    Parser,
    Sign,
    connect_line,
)
from relay.cluster.securesocket import ConnectionEnded, SecureSocket
from relay.errors import RelayError, SettingsError

# OpenSSL's names of what is no TLS at all; they differ by version.
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")

# A server that allows less was set so by somebody who does not know what a cluster says.
LEAST_PAYLOAD_BYTES: Final = 64 * 1024


class NotConnected(RelayError):
    """A server lets nobody in, or is none; `str(error)` says why, without its address."""


class Server(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Who we are, and whom we trust: `ca` is PEM, and empty stands for what the system trusts.

    `certificate` and `key`, PEM too, are shown where a server asks for them.
    """

    user: str
    password: str
    ca: str
    certificate: str = ""
    key: str = ""

    def __repr__(self) -> str:  # no secrets in a log
        return f"Login(user={self.user!r})"


def context_of(login: Login) -> ssl.SSLContext:
    """Return what TLS needs to know.

    Raises:
        SettingsError: something is no PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if login.ca:
            context.load_verify_locations(cadata=login.ca)
        else:
            context.load_default_certs()
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError("the engine's authority: no certificates in PEM") from error
    if login.certificate:
        _load_own(context, login)
    return context


class Dialled(NamedTuple):
    """A connection with a server that has let us in."""

    stream: SecureSocket
    parser: Parser
    info: Info


def dial(
    server: Server, login: Login, context: ssl.SSLContext, *, name: str, timeout_s: float
) -> Dialled:
    """Return a connection with `server`, known there as `name`.

    Raises:
        NotConnected: there is none within that time.
    """
    until_s = time.monotonic() + timeout_s
    try:
        sock = socket.create_connection(server, timeout=timeout_s)
    except (OSError, ValueError) as error:  # the latter for a host that can be none
        raise NotConnected(words_of(error)) from None
    try:
        sock.setblocking(False)
        # A request waits for its answer: the kernel must not wait for more of it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = SecureSocket(sock, context, server.host)
        return _introduce(stream, login, name, until_s)
    except ConnectionEnded:
        sock.close()
        raise NotConnected("it ended the connection") from None
    except (OSError, ValueError, BadFrame) as error:
        sock.close()
        raise NotConnected(words_of(error)) from None
    except NotConnected:
        sock.close()
        raise


def _introduce(stream: SecureSocket, login: Login, name: str, until_s: float) -> Dialled:
    preface = _Preface()
    stream.shake_hands(preface.take, until_s)
    parser = Parser()
    info = preface.info
    while info is None:
        info = _info_in(_heard(stream, parser, until_s))
    stream.write(connect_line(login.user, login.password, name) + PING)
    frames: list[Frame] = []
    while Sign.PONG not in frames:
        frames = _heard(stream, parser, until_s)
        # What is said over TLS counts, not what anybody may have said before.
        info = _info_in(frames) or info
    if not info.headers:
        raise NotConnected("it is too old: it knows no headers")
    if info.max_payload < LEAST_PAYLOAD_BYTES:
        raise NotConnected(f"it takes too little: max_payload={info.max_payload}")
    parser.allow(min(info.max_payload, MAX_PAYLOAD_BYTES))
    return Dialled(stream, parser, info)


def _info_in(frames: list[Frame]) -> Info | None:
    return next((frame for frame in reversed(frames) if isinstance(frame, Info)), None)


def _heard(stream: SecureSocket, parser: Parser, until_s: float) -> list[Frame]:
    """Return some of what the server says, which are no messages yet, and no complaint."""
    stream.flush()
    stream.wait(until_s)
    if time.monotonic() >= until_s:
        raise TimeoutError
    frames = parser.feed(stream.read())
    for frame in frames:
        if isinstance(frame, Complaint):
            raise NotConnected(f"it says: {frame.text}")
    return frames


def words_of(error: Exception) -> str:
    """Return in a few words what was wrong with a connection."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is refused: {error.verify_message}"
        case ssl.SSLError():
            reason = str(error.reason or error)
            if reason.endswith(_NO_TLS):
                return "it does not speak TLS"
            return f"TLS failed: {reason.lower().replace('_', ' ')}"
        case TimeoutError():
            return "it does not answer"
        case OSError():
            return error.strerror or str(error)
        case _:
            return str(error)


class _Preface:
    """What a server says in the clear, if it does: a line that begins with I, as no TLS does."""

    def __init__(self) -> None:
        self.info: Info | None = None
        self._line = b""
        self._is_over = False

    def take(self, chunk: bytes) -> bytes:
        """Return what of `chunk`, and of what came before, is TLS."""
        if self._is_over:
            return chunk
        said = self._line + chunk
        line, end, rest = said.partition(b"\r\n")
        if said.startswith(b"I") and not end:
            if len(said) > MAX_LINE_BYTES:
                raise BadFrame(f"a line of over {MAX_LINE_BYTES} bytes")
            self._line = said
            return b""
        self._is_over = True
        if not said.startswith(b"I"):
            return said
        (info,) = Parser().feed(line + end)
        if isinstance(info, Info):
            self.info = info
        return rest


def _load_own(context: ssl.SSLContext, login: Login) -> None:
    """Load our certificate, which OpenSSL takes from files alone: this one is on no disk."""
    fd = os.memfd_create("certificate")
    try:
        os.write(fd, f"{login.certificate}\n{login.key}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}", password=b"")
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError("the engine's certificate and key: not such a pair, in PEM") from error
    finally:
        os.close(fd)
