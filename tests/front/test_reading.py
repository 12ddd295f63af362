"""A front reads of each client a little at a time, so that nobody waits for one who sends much."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from relay.front.connection import LARGE_READ_BYTES, MAX_FRAMES, Connection
from relay.front.session import Hold

from .front_harness import FakeLoop, front_on

if TYPE_CHECKING:
    import asyncio

MANY = 3 * MAX_FRAMES


class FakeTransport:
    """A transport that is read or not."""

    def __init__(self) -> None:
        self.is_read = True
        self.closing = False

    def set_write_buffer_limits(self, *, high: int, low: int) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        assert not self.closing, "as uvloop's raises then"
        self.is_read = False

    def resume_reading(self) -> None:
        assert not self.closing, "as uvloop's raises then"
        self.is_read = True


class Client:
    """A client after its handshake, whose session notes what it receives."""

    def __init__(self, connection: Connection, transport: FakeTransport, loop: FakeLoop) -> None:
        self.connection = connection
        self.transport = transport
        self.loop = loop
        self.got: list[bytes] = []
        self.lost = False
        self.fails = False
        self._protocol = ClientProtocol(parse_uri("ws://127.0.0.1:9011/"))
        self._protocol.send_request(self._protocol.connect())
        connection.data_received(b"".join(self._protocol.data_to_send()))
        session: Any = SimpleNamespace(
            number=connection.session.number,
            is_read=True,
            is_logged_in=True,
            receive=self._receive,
            lost=self._lose,
            end=lambda *_: None,
        )
        connection.session = session
        self._protocol.state = connection._ws.state  # the answer is not looked at

    def _receive(self, payload: bytes, *, now_ms: int) -> None:
        self.got.append(payload)
        if self.fails:
            raise RuntimeError("a bug")

    def _lose(self) -> None:
        self.lost = True

    def bytes_of(self, *texts: bytes) -> bytes:
        """Return them as frames of a client."""
        for text in texts:
            self._protocol.send_text(text)
        return b"".join(self._protocol.data_to_send())

    def close_frame(self) -> bytes:
        self._protocol.send_close(1000)
        return b"".join(self._protocol.data_to_send())

    def send(self, data: bytes) -> None:
        """Have the front read this at once."""
        assert self.transport.is_read
        self.connection.data_received(data)


@pytest.fixture
def client() -> Iterator[Client]:
    loop = FakeLoop()
    with front_on(loop) as front:
        connection = Connection(front)
        transport = FakeTransport()
        connection.connection_made(cast("asyncio.Transport", transport))
        yield Client(connection, transport, loop)


def texts(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_i7_of_many_frames_in_one_read_a_turn_takes_some(client: Client) -> None:
    client.send(client.bytes_of(*texts(MANY)))

    assert client.got == texts(MAX_FRAMES)
    assert not client.transport.is_read
    client.loop.turn()
    assert client.got == texts(2 * MAX_FRAMES)
    assert not client.transport.is_read
    client.loop.turn()
    assert client.got == texts(MANY)
    assert client.transport.is_read


def test_i7_after_a_large_read_others_have_their_turn(client: Client) -> None:
    data = client.bytes_of(b"x" * (LARGE_READ_BYTES // 2), b"y" * LARGE_READ_BYTES)

    client.send(data[:LARGE_READ_BYTES])

    assert len(client.got) == 1
    assert not client.transport.is_read
    client.loop.turn()
    client.send(data[LARGE_READ_BYTES:])
    assert len(client.got) == 2


def test_a_client_that_sends_little_at_a_time_is_read_on_and_on(client: Client) -> None:
    for _ in range(MANY):
        client.send(client.bytes_of(*texts(3)))

    assert len(client.got) == 3 * MANY
    assert client.transport.is_read


def test_a_hold_that_begins_meanwhile_outlasts_the_rest(client: Client) -> None:
    client.send(client.bytes_of(*texts(MANY)))
    client.connection.hold(Hold.LINK)
    client.loop.turn()
    client.loop.turn()

    assert client.got == texts(MANY)
    assert not client.transport.is_read
    client.connection.release(Hold.LINK)
    assert client.transport.is_read


def test_the_rest_outlasts_a_hold_that_ends_meanwhile(client: Client) -> None:
    client.connection.hold(Hold.LINK)
    client.connection.data_received(client.bytes_of(*texts(MANY)))
    client.connection.release(Hold.LINK)

    assert not client.transport.is_read
    client.loop.turn()
    client.loop.turn()
    assert client.transport.is_read


def test_what_was_read_counts_though_the_connection_is_lost_before_its_turn(client: Client) -> None:
    client.send(client.bytes_of(*texts(MANY)))
    client.transport.closing = True

    client.connection.connection_lost(None)

    assert client.got == texts(MANY)
    assert client.lost
    client.loop.turn()  # nobody is left to read from


def test_a_close_behind_many_frames_comes_after_them(client: Client) -> None:
    client.send(client.bytes_of(*texts(MANY)) + client.close_frame())
    client.loop.turn()
    assert not client.lost

    client.loop.turn()
    client.loop.turn()

    assert client.got == texts(MANY)
    assert client.lost


def test_frames_that_are_read_after_a_close_of_ours_come_after_those_that_wait(
    client: Client,
) -> None:
    """The end of a connection is read on at once, so that the client's close is seen."""
    client.send(client.bytes_of(*texts(MANY)))
    client.connection.close(1013, "slow")

    client.send(client.bytes_of(b"the last"))

    assert client.got == [*texts(MANY), b"the last"]


def test_bytes_that_are_no_frame_behind_many_frames_come_after_them(client: Client) -> None:
    unmasked = b"\x81\x01x"
    client.send(client.bytes_of(*texts(MANY)) + unmasked)
    client.loop.turn()
    assert client.connection._ws.close_code is None

    client.loop.turn()
    client.loop.turn()

    assert client.got == texts(MANY)
    assert client.connection._ws.state.name in ("CLOSING", "CLOSED")


def test_i7_a_fault_at_a_frame_of_a_later_turn_ends_one_connection(client: Client) -> None:
    ended: list[object] = []
    client.connection.session.end = lambda *given: ended.append(given)  # type: ignore[method-assign]
    client.send(client.bytes_of(*texts(MANY)))
    client.fails = True

    client.loop.turn()

    assert len(ended) == 1
