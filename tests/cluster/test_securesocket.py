"""TLS that never waits: whatever came is seen, whatever is written goes out, however it is cut."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.cluster.securesocket import ConnectionEnded, SecureSocket
from tests.outside.certificates import Authority
from tests.outside.tlsends import serving
from tests.outside.waiting import DEADLINE_S


class Ends:
    """Both ends of one connection; the other one speaks when a test tells it to."""

    def __init__(self, directory: Path) -> None:
        authority = Authority()
        context = serving(authority, directory)
        # Of 1.2 the server's side is the last to speak, so that more can come right behind it.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        own, self.there = socket.socketpair()
        own.setblocking(False)
        self.there.settimeout(DEADLINE_S)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.here = SecureSocket(own, authority.trusted(), "127.0.0.1")

    def shake_hands(self, *, and_say: bytes = b"") -> None:
        """Shake hands; the other one says that in the same breath in which it has done so."""
        other = threading.Thread(target=self._shake_hands, args=[and_say])
        other.start()
        self.here.shake_hands(lambda chunk: chunk, time.monotonic() + DEADLINE_S)
        other.join(DEADLINE_S)

    def say(self, data: bytes) -> bytes:
        """Return what the other one sends to say that."""
        self.tls.write(data)
        return self.said()

    def said(self) -> bytes:
        """Return what the other one has yet to send."""
        return self._outgoing.read()

    def hear(self, size: int) -> bytes:
        heard = b""
        while len(heard) < size:
            self.here.flush()
            self._incoming.write(self.there.recv(65536))
            try:
                while True:
                    heard += self.tls.read(65536)
            except ssl.SSLWantReadError:
                pass
        return heard

    def close(self) -> None:
        self.here.close()
        self.there.close()

    def _shake_hands(self, and_say: bytes) -> None:
        is_done = False
        while not is_done:
            self._incoming.write(self.there.recv(65536))
            try:
                self.tls.do_handshake()
                is_done = True
                if and_say:
                    self.tls.write(and_say)
            except ssl.SSLWantReadError:
                pass
            self.there.sendall(self._outgoing.read())


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(tmp_path)
    yield ends
    ends.close()


def test_what_comes_with_the_end_of_the_handshake_is_not_waited_for(ends: Ends) -> None:
    ends.shake_hands(and_say=b"hello")
    began_s = time.monotonic()

    ends.here.wait(began_s + 5)

    assert ends.here.read() == b"hello"
    assert time.monotonic() - began_s < 2


def test_all_that_came_is_returned_at_once(ends: Ends) -> None:
    """A poller sees the descriptor alone, and that has nothing any more."""
    ends.shake_hands()
    ends.there.sendall(b"".join(ends.say(b"%d," % number) for number in range(50)))
    ends.there.sendall(ends.say(bytes(20_000)))

    data = ends.here.read()

    assert data.startswith(b"0,1,2,")
    assert len(data) == 2 * 10 + 3 * 40 + 20_000
    assert select.select([ends.here], [], [], 0)[0] == []
    assert ends.here.read() == b""


def test_a_record_that_comes_in_two_pieces_comes_with_the_second(ends: Ends) -> None:
    ends.shake_hands()
    record = ends.say(b"hello")

    ends.there.sendall(record[:9])
    assert ends.here.read() == b""
    ends.there.sendall(record[9:])

    ends.here.wait(time.monotonic() + DEADLINE_S)
    assert ends.here.read() == b"hello"


def test_what_the_socket_does_not_take_is_counted_and_goes_later(ends: Ends) -> None:
    ends.shake_hands()
    data = bytes(range(256)) * 8192

    ends.here.write(data)
    ends.here.flush()

    assert 0 < ends.here.unsent_bytes < len(data)
    assert ends.hear(len(data)) == data
    assert ends.here.unsent_bytes == 0


@pytest.mark.parametrize("says_so", [True, False])
def test_the_end_comes_after_all_that_was_said(ends: Ends, says_so: bool) -> None:
    ends.shake_hands()
    ends.there.sendall(ends.say(b"bye"))
    if says_so:
        with pytest.raises(ssl.SSLWantReadError):
            ends.tls.unwrap()
        ends.there.sendall(ends.said())
    ends.there.shutdown(socket.SHUT_WR)

    assert ends.here.read() == b"bye"
    for _ in range(2):
        with pytest.raises(ConnectionEnded):
            ends.here.read()


def test_an_end_in_the_handshake_is_one(ends: Ends) -> None:
    ends.there.shutdown(socket.SHUT_RDWR)

    with pytest.raises((ConnectionEnded, OSError)):
        ends.here.shake_hands(lambda chunk: chunk, time.monotonic() + DEADLINE_S)


def test_a_handshake_that_nobody_answers_ends_in_time(ends: Ends) -> None:
    began_s = time.monotonic()

    with pytest.raises(TimeoutError):
        ends.here.shake_hands(lambda chunk: chunk, began_s + 0.2)

    assert 0.2 <= time.monotonic() - began_s < 2


def test_damaged_bytes_are_an_error(ends: Ends) -> None:
    ends.shake_hands()
    record = bytearray(ends.say(b"hello"))
    record[-1] ^= 1
    ends.there.sendall(record)

    with pytest.raises(ssl.SSLError):
        ends.here.read()
