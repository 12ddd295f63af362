"""What a connection does between the client's end of stream and the end of the transport.

And what it does when the front's settings change.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from msgspec.structs import replace
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from relay.front.connection import Connection
from relay.front.deadlines import CLOSE_TIMEOUT_MS
from relay.front.login import Stage
from relay.front.output import Hold
from relay.front.session import Session
from relay.front.turns import LONG_BYTES, Turns
from relay.front.visitors import Visitors
from relay.front.wheel import TimerWheel
from relay.protocol.codec import Codec
from relay.settings.tables import FlowSettings, KeepaliveSettings, Settings

from .front_harness import FakeLoop, begin, let_in

if TYPE_CHECKING:
    import asyncio

    from relay.front.hub import Hub


PING = 0x89


class FakeLog:
    """What was logged as an exception."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def exception(self, event: str, **_: object) -> None:
        self.failures.append(event)


class FakeTransport:
    """A transport whose peer takes nothing: a close waits for ever, and only an abort ends it."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closing = False
        self.aborted = False
        self.high = 0

    def set_write_buffer_limits(self, *, high: int, low: int) -> None:
        # As uvloop's raises when it is closed.
        assert not self.closing
        self.high = high

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class FakeFront:
    """What a connection needs of its front and flusher, with a clock that the test turns."""

    def __init__(self) -> None:
        self.written_bytes = 0
        self.settings = Settings()
        self.codec = Codec(self.settings.limits)
        self.counters: Counter[str] = Counter()
        self.wheel: TimerWheel[Connection] = TimerWheel(100)
        self.time_ms = 1_000_000
        self.flusher = self
        self.dirty: list[Connection] = []
        self.log = FakeLog()
        self.turns = Turns(cast("asyncio.AbstractEventLoop", FakeLoop()))
        self.visitors = Visitors(self.settings.log, self.counters)

    def make_session(self) -> Session:
        return Session(1, self.codec, self.settings)

    def framed(self, frame: bytes) -> bytes:
        return frame

    def opened(self, connection: Connection) -> None:
        pass

    def lost(self, connection: Connection) -> None:
        pass

    def flush_soon(self, connection: Connection) -> None:
        self.dirty.append(connection)

    def clock_ms(self) -> int:
        return self.time_ms

    def pass_time(self, until_ms: int) -> None:
        """Turn the clock, and do on the way what falls due."""
        while self.time_ms < until_ms:
            self.time_ms += 100
            for connection in self.wheel.expire(self.time_ms):
                connection.on_timer(self.time_ms)
            while self.dirty:
                self.dirty.pop().flush()


@pytest.fixture
def front() -> FakeFront:
    return FakeFront()


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def connection(front: FakeFront, transport: FakeTransport) -> Connection:
    """A connection after its handshake."""
    connection = Connection(cast("Hub", front), let_in(front.time_ms))
    connection.connection_made(cast("asyncio.Transport", transport))
    client = ClientProtocol(parse_uri("ws://127.0.0.1:9011/"))
    client.send_request(client.connect())
    begin(connection, b"".join(client.data_to_send()))
    front.pass_time(front.time_ms + 100)
    assert transport.written.startswith(b"HTTP/1.1 101")
    return connection


def test_a_client_that_ended_its_stream_with_unread_frames_is_not_pinged_but_cut(
    front: FakeFront, transport: FakeTransport, connection: Connection
) -> None:
    transport.written.clear()
    assert connection.eof_received() is False  # the transport closes, once all is written
    transport.closing = True
    ended_ms = front.time_ms

    front.pass_time(ended_ms + CLOSE_TIMEOUT_MS - 200)
    assert not transport.aborted

    front.pass_time(ended_ms + int(front.settings.keepalive.ping_interval_s * 1000) + 1000)
    assert transport.aborted
    assert not transport.written


def change_settings(front: FakeFront) -> None:
    """Have clients paused earlier and pinged more often."""
    front.settings = replace(
        front.settings,
        flow=FlowSettings(session_pause_bytes=5000),
        keepalive=KeepaliveSettings(ping_interval_s=1.0),
    )


def test_an_open_connection_goes_by_changed_settings(
    front: FakeFront, transport: FakeTransport, connection: Connection
) -> None:
    transport.written.clear()
    change_settings(front)

    connection.settings_changed()

    assert transport.high == 5000
    front.pass_time(front.time_ms + 1200)
    assert transport.written  # a ping


def test_changed_settings_leave_a_transport_alone_that_closes(
    front: FakeFront, transport: FakeTransport, connection: Connection
) -> None:
    transport.closing = True
    change_settings(front)

    connection.settings_changed()

    assert transport.high == Settings().flow.session_pause_bytes


@pytest.mark.parametrize("why", [Hold.PENDING, Hold.LINK])
def test_r7_a_client_that_is_not_read_for_now_is_pinged_but_not_given_up(
    front: FakeFront, transport: FakeTransport, connection: Connection, why: int
) -> None:
    """One that sends without pause is held again and again, and its receipts must be confirmed."""
    connection.session.login.user = "1"  # as if it were logged in
    out = connection.session.out
    if why == Hold.LINK:
        connection.hold(why)
    else:
        out.add_hold(why)
    out.receipts = 1
    connection.take()
    transport.written.clear()
    keepalive = front.settings.keepalive

    front.pass_time(front.time_ms + int(keepalive.receipt_ping_s * 1000) + 200)
    assert transport.written[:1] == bytes([PING])
    front.pass_time(front.time_ms + int(keepalive.pong_timeout_s * 1000) * 3)
    assert not transport.aborted

    if why == Hold.LINK:
        connection.release(why)
    else:
        out.drop_hold(why)
        connection.take()
    front.pass_time(front.time_ms + int(keepalive.pong_timeout_s * 1000) + 200)
    assert transport.aborted


def test_i7_a_client_that_waits_for_its_turn_to_be_read_is_not_given_up_for_its_pong(
    front: FakeFront, transport: FakeTransport, connection: Connection
) -> None:
    connection.session.login.user = "1"  # as if it were logged in
    connection.session.login.stage = Stage.LIVE
    keepalive = front.settings.keepalive
    timeout_ms = int(keepalive.pong_timeout_s * 1000)
    front.pass_time(front.time_ms + int(keepalive.ping_interval_s * 1000) + 200)
    connection._bound_frames()
    connection.data_received(b"\x81\xfe\xff\xff" + bytes(LONG_BYTES))  # some of a frame

    front.pass_time(front.time_ms + 3 * timeout_ms)
    assert not transport.aborted

    cast("FakeLoop", front.turns.loop).turn()
    front.pass_time(front.time_ms + timeout_ms - 200)
    assert not transport.aborted
    front.pass_time(front.time_ms + 400)
    assert transport.aborted


@pytest.mark.of_source
def test_i7_a_fault_in_the_end_of_a_session_is_logged_and_ends_nothing_else(
    front: FakeFront, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("a bug")

    login = SimpleNamespace(stage=Stage.LIVE)
    session = SimpleNamespace(number=1, is_read=True, login=login, held_bytes=0, lost=fail)
    monkeypatch.setattr(connection, "session", session)

    connection.connection_lost(None)

    assert front.log.failures == ["connection.failed"]


def said(payload: bytes) -> bytes:
    """Return a client's text frame."""
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload


# A frame of 1 MiB, as far as its head: it is refused unread.
TOO_LARGE = bytes([0x81, 0x80 | 127]) + (1 << 20).to_bytes(8, "big") + bytes(4)


@pytest.mark.parametrize(
    ("sent", "code"),
    [(said(b"?") * 20, 1008), (TOO_LARGE, 1009), (said(b'["auth",{"type":"?"},{}]') * 3, 4401)],
)
def test_a_close_for_what_the_client_did_is_counted_by_its_code(
    front: FakeFront, connection: Connection, sent: bytes, code: int
) -> None:
    connection.data_received(sent)
    while connection.has_pending:
        cast("FakeLoop", front.turns.loop).turn()
    connection.connection_lost(None)

    assert front.counters[f"connections_closed_{code}"] == 1


def test_a_client_that_does_not_log_in_is_counted_by_the_code_of_its_close(
    front: FakeFront, connection: Connection
) -> None:
    front.pass_time(front.time_ms + int(front.settings.auth.deadline_s * 1000) + 200)

    connection.connection_lost(None)

    assert front.counters == {"connections_closed_4401": 1}


def test_a_close_of_the_client_is_not_counted(front: FakeFront, connection: Connection) -> None:
    connection.data_received(bytes([0x88, 0x82, 0, 0, 0, 0]) + (1008).to_bytes(2, "big"))

    connection.connection_lost(None)

    assert not front.counters
