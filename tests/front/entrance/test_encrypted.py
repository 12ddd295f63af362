"""TLS over a transport: what the reader gets and when, and what is left of it."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import ssl
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from relay.auth.tls import certificates_of
from relay.front.entrance.encrypted import (
    GONE,
    LARGE_READ_BYTES,
    LEAN_BYTES,
    EncryptedTransport,
)
from relay.front.turns import Turns
from relay.settings.tables import TlsSettings
from tests.outside.certificates import Authority

from ..front_harness import FakeLoop

HOST = "chat.example.org"


class Raw:
    """The transport of a socket."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written = bytearray()
        self.is_read = True
        self.has_ended = self.closed = self.aborted = False

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        assert not self.has_ended
        self.written += data

    def write_eof(self) -> None:
        self.has_ended = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


class Reader(asyncio.Protocol):
    """Who reads; it pauses after each text if it is told to."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.pauses = False
        self.has_eof = self.is_lost = False
        self.transport: EncryptedTransport | None = None

    def data_received(self, data: bytes) -> None:
        self.texts.append(data)
        if self.pauses and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.has_eof = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


class Greeting:
    """The handshakes of a front."""

    most_bytes = 16 * 1024

    def __init__(self, loop: FakeLoop, context: ssl.SSLContext) -> None:
        self.turns = Turns(cast("asyncio.AbstractEventLoop", loop))
        self.context = context
        self.counted: Counter[str] = Counter()
        self.reasons: list[str] = []
        self.under_way: set[EncryptedTransport] = set()

    def begun(self, one: EncryptedTransport) -> None:
        self.under_way.add(one)

    def ended(self, one: EncryptedTransport) -> None:
        self.under_way.discard(one)

    def failed(self, address: str, reason: str) -> None:
        self.counted["failed"] += 1
        self.reasons.append(reason)

    def broke(self, address: str, reason: str) -> None:
        self.counted["broken"] += 1
        self.reasons.append(reason)

    def crashed(self) -> None:
        raise AssertionError("it has a fault")


class End:
    """Both ends of one connection, on a loop that the test turns."""

    def __init__(self, directory: Path, trust: ssl.SSLContext | None = None) -> None:
        authority = Authority()
        certificate, key = authority.issue(HOST).write(directory, "it")
        settings = TlsSettings(certificate_files=(str(certificate),), key_files=(str(key),))
        certificates = certificates_of(settings)
        assert certificates is not None
        self.loop = FakeLoop()
        self.turns = Turns(cast("asyncio.AbstractEventLoop", self.loop))
        self.greeting = Greeting(self.loop, certificates.context)
        self.raw, self.reader = Raw(), Reader()
        self.transport = EncryptedTransport(
            cast("asyncio.Transport", self.raw), self.reader, self.greeting, self.turns, "192.0.2.1"
        )
        self.reader.transport = self.transport
        self._from_relay, self._to_relay = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = (trust or authority.trusted()).wrap_bio(
            self._from_relay, self._to_relay, server_hostname=HOST
        )

    def say(self) -> None:
        """Take what the client has written to the relay, which has yet to have its turn."""
        if said := self._to_relay.read():
            self.raw.protocol.data_received(said)

    def carry(self) -> None:
        """Take what was written to the other end."""
        self.say()
        self.loop.turn()
        self._from_relay.write(bytes(self.raw.written))
        self.raw.written.clear()

    def shake_hands(self) -> None:
        for _ in range(3):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                self.carry()
        self.carry()
        assert self.client.version() == "TLSv1.3"
        assert not self.greeting.under_way

    def send(self, *texts: bytes) -> bytes:
        """Encrypt them, a record each; return what is to be received."""
        for text in texts:
            self.client.write(text)
        return self._to_relay.read()


def new_keys(client: ssl.SSLObject, *, are_wanted_back: bool) -> None:
    """Have `client` take new keys, which the ssl module cannot ask OpenSSL for."""
    library = ctypes.CDLL(ssl_library())
    # In CPython's object: its head of two words, the socket, and then OpenSSL's.
    inner = client._sslobj  # type: ignore[attr-defined]
    tls = ctypes.c_void_p.from_address(id(inner) + 3 * ctypes.sizeof(ctypes.c_void_p))
    assert library.SSL_key_update(tls, int(are_wanted_back)) == 1
    assert library.SSL_do_handshake(tls) == 1


def ssl_library() -> str:
    """The path of the one that this process has loaded."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libssl" in line:
            return line.split(maxsplit=5)[5]
    pytest.skip("OpenSSL is part of another library")


@pytest.fixture
def end(tmp_path: Path) -> End:
    return End(tmp_path)


def test_nothing_is_made_before_the_first_byte_nor_told_before_the_handshake(end: End) -> None:
    assert end.transport._tls is None

    end.shake_hands()

    assert end.reader.texts == []
    end.raw.protocol.data_received(end.send(b"hello"))
    assert end.reader.texts == [b"hello"]
    end.transport.write(b"y" * 100_000)
    end.carry()
    said = b""
    while len(said) < 100_000:
        said += end.client.read(100_000)
    assert said == b"y" * 100_000


def test_what_comes_in_one_piece_is_told_in_one_piece(end: End) -> None:
    end.shake_hands()

    end.raw.protocol.data_received(end.send(b"one", b"two", b"three"))

    assert end.reader.texts == [b"onetwothree"]


@pytest.mark.parametrize("at", [1, 5, 20, -1])
def test_a_record_may_come_in_pieces(end: End, at: int) -> None:
    end.shake_hands()
    said = end.send(b"a text")

    end.raw.protocol.data_received(said[:at])
    assert end.reader.texts == []
    end.raw.protocol.data_received(said[at:])

    assert end.reader.texts == [b"a text"]


def test_who_reads_no_more_is_told_nothing_until_it_does(end: End) -> None:
    end.shake_hands()
    end.reader.pauses = True
    end.raw.protocol.data_received(end.send(b"one"))
    assert not end.raw.is_read

    end.raw.protocol.data_received(end.send(b"two"))
    end.loop.turn()
    assert end.reader.texts == [b"one"]
    end.transport.resume_reading()
    end.loop.turn()

    assert end.reader.texts == [b"one", b"two"]


def test_after_a_large_read_others_have_their_turn_first(end: End) -> None:
    end.shake_hands()
    said = end.send(*[b"x" * 16_000] * 12)
    assert len(said) > LARGE_READ_BYTES

    end.raw.protocol.data_received(said)

    assert end.reader.texts == []
    assert not end.raw.is_read
    end.turns.clock_s = lambda: 0.0
    end.loop.turn()
    assert b"".join(end.reader.texts) == b"x" * 16_000 * 12
    assert end.raw.is_read


def test_a_turn_of_tiny_records_is_bounded_by_time(end: End) -> None:
    """A byte in a record of 23: what comes in one read would be a third of a second."""
    end.shake_hands()
    now_s = 0.0

    def clock_s() -> float:
        nonlocal now_s
        now_s += 0.0004
        return now_s

    end.turns.clock_s = clock_s
    end.raw.protocol.data_received(end.send(*[b"x"] * 2000))

    assert 0 < len(end.reader.texts[0]) < 1000
    assert not end.raw.is_read
    for _ in range(20):
        end.loop.turn()
    assert b"".join(end.reader.texts) == b"x" * 2000
    assert end.raw.is_read


@pytest.mark.parametrize("are_wanted_back", [False, True])
@pytest.mark.parametrize("text", [b"", b"x"])
def test_who_does_nothing_but_take_new_keys_is_cut(
    end: End, text: bytes, *, are_wanted_back: bool
) -> None:
    """20 us for 27 bytes, ten times what a text of as many is, and before any login."""
    end.shake_hands()

    at_once, sent = 100, 0
    while not end.raw.aborted:
        assert sent < 200_000
        for _ in range(at_once):
            new_keys(end.client, are_wanted_back=are_wanted_back)
            if text:
                end.client.write(text)
        flood = end.send()
        sent += len(flood)
        end.raw.protocol.data_received(flood)
        end.loop.turn()

    assert sent > LEAN_BYTES
    assert end.greeting.counted == {"broken": 1}


def test_new_keys_now_and_then_are_taken(end: End) -> None:
    end.shake_hands()
    texts = [b"x", b"y" * 1000] * 1000

    for at, text in enumerate(texts):
        if at % 20 == 0:
            new_keys(end.client, are_wanted_back=True)
        end.raw.protocol.data_received(end.send(text))

    assert b"".join(end.reader.texts) == b"".join(texts)
    assert not end.raw.aborted


def test_parts_of_records_and_bytes_in_records_of_their_own_are_taken(end: End) -> None:
    end.shake_hands()
    large = b"x" * 16_000

    for _ in range(20):
        record = end.send(large)
        for at in range(0, len(record), 100):
            end.raw.protocol.data_received(record[at : at + 100])
    for _ in range(5000):
        end.raw.protocol.data_received(end.send(b"x"))

    assert sum(map(len, end.reader.texts)) == 20 * len(large) + 5000
    assert not end.raw.aborted


def test_an_end_is_said_and_what_comes_behind_it_is_passed_over(end: End) -> None:
    end.shake_hands()
    end.transport.write(b"last")

    end.transport.write_eof()

    assert end.raw.has_ended
    end.carry()
    assert end.client.read() == b"last"
    assert end.client.read() == b""  # close_notify
    end.raw.protocol.data_received(end.send(b"too late"))
    assert end.reader.texts == []
    assert not end.raw.aborted


def test_a_clients_goodbye_is_the_end_of_its_stream_behind_what_it_said(end: End) -> None:
    end.shake_hands()
    said = end.send(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        end.client.unwrap()

    end.raw.protocol.data_received(said + end._to_relay.read())

    assert end.reader.texts == [b"last"]
    assert end.reader.has_eof
    assert end.raw.closed


def test_an_end_without_a_goodbye_is_one_too(end: End) -> None:
    end.shake_hands()

    assert end.raw.protocol.eof_received() is False

    assert end.reader.has_eof
    assert not end.greeting.counted


def test_what_waits_is_told_before_the_end(end: End) -> None:
    end.shake_hands()
    end.reader.pauses = True
    end.raw.protocol.data_received(end.send(b"one"))
    end.raw.protocol.data_received(end.send(b"two"))

    assert end.raw.protocol.eof_received() is True
    assert not end.reader.has_eof
    end.reader.pauses = False
    end.transport.resume_reading()
    end.loop.turn()

    assert end.reader.texts == [b"one", b"two"]
    assert end.reader.has_eof
    assert end.raw.closed


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01" + b"\xff" * 20_000, b"\x16" * 100]
)
def test_what_is_no_handshake_is_counted_and_closed(end: End, said: bytes) -> None:
    end.raw.protocol.data_received(said)
    end.loop.turn()

    assert end.greeting.counted == {"failed": 1}
    assert not end.greeting.under_way
    assert end.raw.closed
    assert end.reader.texts == []


@pytest.mark.parametrize("resets", [False, True])
def test_who_leaves_in_the_middle_is_counted_and_who_said_nothing_is_not(
    end: End, tmp_path: Path, *, resets: bool
) -> None:
    silent = End(tmp_path)
    silent.raw.protocol.eof_received()
    assert not silent.greeting.counted
    with pytest.raises(ssl.SSLWantReadError):
        end.client.do_handshake()
    end.carry()

    assert end.greeting.under_way == {end.transport}

    if resets:
        end.raw.protocol.connection_lost(ConnectionResetError())
    else:
        end.raw.protocol.eof_received()
        end.raw.protocol.connection_lost(None)

    assert end.greeting.reasons == [GONE]
    assert not end.greeting.under_way


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("resets", [None, False, True])
def test_why_a_client_has_gone_is_told_as_it_says_it(
    tmp_path: Path, version: ssl.TLSVersion, *, resets: bool | None
) -> None:
    """Its alert may wait for its turn when the socket has ended."""
    stranger = ssl.create_default_context()
    stranger.maximum_version = version
    end = End(tmp_path, stranger)
    with pytest.raises(ssl.SSLWantReadError):
        end.client.do_handshake()
    end.carry()
    with pytest.raises(ssl.SSLCertVerificationError):
        end.client.do_handshake()

    end.say()  # the alert
    if resets:
        end.raw.protocol.connection_lost(ConnectionResetError())
    elif resets is False:
        assert end.raw.protocol.eof_received()  # it stays open until that is read
    end.loop.turn()

    said = "the client says: unknown ca; it does not trust the certificate"
    assert end.greeting.reasons == [said]
    assert not end.greeting.under_way
    assert resets or end.raw.closed


def test_who_leaves_with_the_end_of_the_handshake_has_left(end: End) -> None:
    with pytest.raises(ssl.SSLWantReadError):
        end.client.do_handshake()
    end.carry()
    end.client.do_handshake()
    end.say()

    assert end.raw.protocol.eof_received()
    end.loop.turn()

    assert end.reader.has_eof
    assert end.raw.closed
    assert not end.greeting.counted


def test_who_leaves_behind_half_a_greeting_is_let_go_once_that_was_read(end: End) -> None:
    with pytest.raises(ssl.SSLWantReadError):
        end.client.do_handshake()
    end.carry()
    end.raw.protocol.data_received(b"\x16\x03\x03")

    assert end.raw.protocol.eof_received()
    end.loop.turn()

    assert end.greeting.reasons == [GONE]
    assert end.raw.closed


def test_bytes_that_were_changed_on_the_way_end_it(end: End) -> None:
    end.shake_hands()
    said = bytearray(end.send(b"a text"))
    said[-1] ^= 1

    end.raw.protocol.data_received(bytes(said))

    assert end.greeting.counted == {"broken": 1}
    assert end.raw.aborted
    assert end.reader.texts == []


@pytest.mark.parametrize("shakes_hands", [True, False])
def test_nothing_is_left_for_the_garbage_collector(tmp_path: Path, *, shakes_hands: bool) -> None:
    def visit() -> None:
        end = End(tmp_path)
        if shakes_hands:
            end.shake_hands()
            end.raw.protocol.data_received(end.send(b"hello"))
        else:
            with pytest.raises(ssl.SSLWantReadError):
                end.client.do_handshake()
            end.carry()
        end.raw.protocol.connection_lost(None)
        assert end.reader.is_lost
        end.loop.turn()
        end.raw.protocol = None

    def left() -> int:
        return sum(isinstance(each, EncryptedTransport) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = left()
        visit()
        assert left() == before
    finally:
        gc.enable()
