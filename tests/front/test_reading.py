"""A front reads of each client a little at a time, so that nobody waits for one who sends much."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri

from relay.bus.envelopes import Seq
from relay.front.connection import LARGE_READ_BYTES, MAX_FRAME_BYTES, MAX_FRAMES, Connection
from relay.front.front import Front
from relay.front.login import Stage
from relay.front.oddframes import Event
from relay.front.output import Hold, Output
from relay.front.turns import LONG_BYTES, LONG_PART
from relay.front.websocket import WebSocket
from relay.front.wire import text_frame

from .front_harness import FakeLoop, begin, front_on, let_in

pytestmark = pytest.mark.of_source

if TYPE_CHECKING:
    import asyncio

MANY = 3 * MAX_FRAMES


class FakeTransport:
    """A transport that is read or not; as uvloop's it heeds neither when it is closing."""

    def __init__(self) -> None:
        self.is_read = True
        self.closing = False
        self.written = bytearray()

    def set_write_buffer_limits(self, *, high: int, low: int) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.written += data

    def write_eof(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.is_read = self.is_read and self.closing

    def resume_reading(self) -> None:
        self.is_read = self.is_read or not self.closing


class FakeLog:
    """A log of faults."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def exception(self, event: str, **_: object) -> None:
        self.faults.append(event)


class Client:
    """A client whose session notes what it receives, from the handshake on."""

    def __init__(self, connection: Connection, transport: FakeTransport, loop: FakeLoop) -> None:
        self.connection = connection
        self.transport = transport
        self.loop = loop
        self.got: list[bytes] = []
        self.lost = False
        self.fails = False
        self.takes_s = 0.0
        self._protocol = ClientProtocol(parse_uri("ws://127.0.0.1:9011/"))
        self._protocol.send_request(self._protocol.connect())
        self.handshake = b"".join(self._protocol.data_to_send())
        session: Any = SimpleNamespace(
            number=connection.session.number,
            is_read=True,
            login=SimpleNamespace(user="1", stage=Stage.LIVE),
            has_pending=False,
            held_bytes=0,
            deliveries=SimpleNamespace(cursor=0, slowed=lambda: None),
            out=Output(),
            receive=self._receive,
            lost=self._lose,
            end=lambda *_: None,
            go_on=lambda _: None,
        )
        connection.session = session
        session.out.has_news = True
        connection.take()  # it has logged in: frames may be large
        self._protocol.state = State.OPEN  # the answer is not looked at

    def _receive(self, payload: bytes, *, now_ms: int) -> None:
        self.got.append(payload)
        self.loop.now_s += self.takes_s
        if self.fails:
            raise RuntimeError("a bug")

    def _lose(self) -> None:
        self.lost = True
        self.connection.session.is_read = False  # type: ignore[misc]
        self.connection.session.login.stage = Stage.ENDED

    def opens(self) -> None:
        """Have its handshake be taken."""
        begin(self.connection, self.handshake)

    def is_cut(self) -> None:
        """Have its transport end, as uvloop does."""
        self.transport.closing = True
        self.connection.connection_lost(None)

    @property
    def counts(self) -> bool:
        """Whether the front has it among its clients, and its entrance lets in one less."""
        connection = self.connection
        is_in = self.connection.session.number in connection._hub.clients
        assert is_in == bool(connection._visit._admission.connections)
        return is_in

    def closes(self, code: int, reason: str) -> None:
        """Have its session close the connection."""
        self.connection.session.out.close(code, reason)
        self.connection.take()

    def bytes_of(self, *texts: bytes) -> bytes:
        """Return them as frames of a client."""
        for text in texts:
            self._protocol.send_text(text)
        return b"".join(self._protocol.data_to_send())

    def ping_frame(self) -> bytes:
        self._protocol.send_ping(b"")
        return b"".join(self._protocol.data_to_send())

    def close_frame(self) -> bytes:
        self._protocol.send_close(1000)
        return b"".join(self._protocol.data_to_send())

    def send(self, data: bytes) -> None:
        """Have the front read this at once."""
        assert self.transport.is_read
        self.connection.data_received(data)


def connect(front: Front, loop: FakeLoop) -> Client:
    connection = Connection(front.hub, let_in())
    transport = FakeTransport()
    connection.connection_made(cast("asyncio.Transport", transport))
    return Client(connection, transport, loop)


@pytest.fixture
def log() -> Iterator[FakeLog]:
    """The front's log; a test that expects faults takes them out."""
    log = FakeLog()
    yield log
    assert log.faults == []


@pytest.fixture
def stranger(log: FakeLog) -> Iterator[Client]:
    """A client before its handshake."""
    loop = FakeLoop()
    with front_on(loop) as front:
        front.hub.log = cast("Any", log)
        yield connect(front, loop)


@pytest.fixture
def client(stranger: Client) -> Client:
    """A client after its handshake."""
    stranger.opens()
    stranger.loop.turn()
    assert stranger.transport.written.startswith(b"HTTP/1.1 101")
    stranger.transport.written.clear()
    return stranger


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the library was given to look at."""
    given: list[bytes] = []
    feed = WebSocket.feed

    def note(ws: WebSocket, data: bytes) -> list[Event]:
        given.append(data)
        return feed(ws, data)

    monkeypatch.setattr(WebSocket, "feed", note)
    return given


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


def test_i7_of_large_frames_in_one_read_a_turn_takes_few(client: Client) -> None:
    large = [b"x" * (MAX_FRAME_BYTES // 2), b"y" * MAX_FRAME_BYTES, b"z" * (2 * MAX_FRAME_BYTES)]

    client.send(client.bytes_of(*large, b"small"))

    assert client.got == []
    assert not client.transport.is_read
    client.loop.turn()
    assert client.got == large[:2]
    client.loop.turn()
    assert client.got == large
    client.loop.turn()
    assert client.got == [*large, b"small"]
    assert client.transport.is_read


def test_i7_after_a_large_read_others_have_their_turn(client: Client) -> None:
    data = client.bytes_of(b"x" * (LARGE_READ_BYTES // 2), b"y" * LARGE_READ_BYTES)

    client.send(data[:LARGE_READ_BYTES])

    assert client.got == []
    assert not client.transport.is_read
    client.loop.turn()
    assert len(client.got) == 1
    client.loop.turn()
    client.send(data[LARGE_READ_BYTES:])
    assert not client.transport.is_read
    client.loop.turn()
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


def test_i7_what_a_lost_client_has_left_is_taken_in_its_turns_and_then_its_session_ends(
    client: Client,
) -> None:
    client.send(client.bytes_of(*texts(MANY)))

    client.is_cut()

    assert client.got == texts(MAX_FRAMES)
    client.loop.turn()
    assert client.got == texts(2 * MAX_FRAMES)
    assert not client.lost
    assert client.counts
    client.loop.turn()
    assert client.got == texts(MANY)
    assert client.lost
    assert not client.counts
    client.loop.turn()  # nobody is left to read from


def test_i7_what_many_lost_clients_have_left_takes_a_small_part_of_the_time(
    log: FakeLog,
) -> None:
    loop = FakeLoop()
    with front_on(loop) as front:
        front.hub.log = cast("Any", log)
        crowd = [connect(front, loop) for _ in range(3)]
        for client in crowd:
            client.opens()
            client.takes_s = 0.020
            client.send(client.bytes_of(b"x" * LONG_BYTES))

        for client in crowd:
            client.is_cut()

        assert not any(client.got for client in crowd)
        for count, client in enumerate(crowd, 1):
            loop.turn()
            assert [bool(each.got) for each in crowd].count(True) == count
            assert client.lost
            loop.now_s += (LONG_PART - 1) * 0.020 - 0.001
            loop.turn()
            assert [bool(each.got) for each in crowd].count(True) == count
            loop.now_s += 0.002
        assert front.hub.empty.is_set()


def test_a_lost_client_who_logs_in_anew_is_given_up_whatever_it_has_left(client: Client) -> None:
    client.send(client.bytes_of(*texts(MANY)))
    client.is_cut()

    client.connection.session.lost()
    client.closes(4409, "replaced")
    client.loop.turn()

    assert client.got == texts(MAX_FRAMES)
    assert not client.counts
    client.loop.turn()


def test_i7_of_a_lost_client_whose_frame_was_at_fault_nothing_more_is_taken(
    client: Client, log: FakeLog
) -> None:
    client.connection.session.end = lambda *_: client.connection.session.lost()  # type: ignore[method-assign]
    client.send(client.bytes_of(*texts(MANY)))
    client.is_cut()
    client.fails = True

    client.loop.turn()

    assert log.faults.pop() == "connection.failed"
    assert not client.counts
    client.loop.turn()
    assert len(client.got) == MAX_FRAMES + 1


def test_a_lost_client_has_no_timers_and_is_sent_no_entries(client: Client) -> None:
    slowed: list[bool] = []
    client.connection.session.deliveries.slowed = lambda: slowed.append(True)  # type: ignore[method-assign]
    client.send(client.bytes_of(*texts(MANY)))
    client.is_cut()

    client.connection.session.out.receipts = 1
    client.connection.take()

    assert client.connection not in client.connection._hub.wheel
    assert slowed == [True]


@pytest.mark.parametrize("ends", [True, False])
def test_i7_what_the_session_of_a_lost_client_holds_is_long_work(
    client: Client, ends: bool
) -> None:
    session = client.connection.session
    session.held_bytes = LONG_BYTES  # type: ignore[misc]
    client.send(client.bytes_of(*texts(MANY)))

    if ends:
        client.connection.eof_received()
    client.is_cut()
    client.loop.turn()
    client.loop.turn()

    assert client.got == texts(MANY)
    assert not client.lost  # that was no turn for it
    client.loop.turn()
    assert client.lost
    assert not client.counts


@pytest.mark.parametrize("end", ["a close frame", "no frame"])
def test_what_ends_the_connection_behind_many_frames_comes_after_them(
    client: Client, end: str
) -> None:
    frames = client.bytes_of(*texts(MANY))
    last = client.close_frame() if end == "a close frame" else b"\x81\x01x"  # unmasked

    client.send(frames + last)
    client.loop.turn()
    assert not client.lost
    client.loop.turn()
    client.loop.turn()

    assert client.got == texts(MANY)
    assert client.lost


def test_behind_what_is_no_frame_nothing_is_a_frame_any_more(client: Client) -> None:
    client.send(b"\x81\x01x")  # unmasked
    client.connection.data_received(client.bytes_of(b"whole"))

    assert client.lost
    assert client.got == []


def test_i7_one_that_floods_on_after_our_close_is_read_no_faster(client: Client) -> None:
    """It is still read, because the close frame that answers ours is awaited."""
    client.closes(1008, "too many malformed frames")
    text = b"x" * 1000

    client.send(client.bytes_of(*[text] * (3 * MAX_FRAME_BYTES // len(text))))

    turns = 0
    while not client.transport.is_read:
        client.loop.turn()
        turns += 1
        assert turns < 10
    assert turns > 2
    assert client.got == []


def test_i7_behind_our_close_only_the_clients_is_looked_at(
    client: Client, fed: list[bytes]
) -> None:
    ping = client.ping_frame()
    client.send(ping * MANY)
    client.closes(4401, "no successful auth in time")
    fed.clear()

    client.loop.turn()
    client.send(ping * MANY + client.close_frame())

    assert len(fed) == 1
    assert client.connection._ws.close_codes == (4401, 1000)


@pytest.mark.parametrize("stage", [Stage.NEW, Stage.CHECKED, Stage.ENDED])
def test_i7_of_a_lost_client_that_is_not_logged_in_nothing_is_looked_at(
    client: Client, fed: list[bytes], stage: Stage
) -> None:
    client.send(client.ping_frame() * MANY)
    client.connection.session.login.stage = stage
    fed.clear()

    client.is_cut()
    client.loop.turn()

    assert fed == []
    assert not client.counts
    assert client.lost


def test_a_close_of_ours_amid_many_frames_does_not_have_more_of_them_read(client: Client) -> None:
    client.send(client.bytes_of(*texts(MANY)))

    client.closes(1013, "slow")

    assert not client.transport.is_read
    client.loop.turn()
    client.loop.turn()
    assert client.transport.is_read


def test_after_a_close_of_ours_no_hold_keeps_the_clients_close_from_being_read(
    client: Client,
) -> None:
    client.send(client.bytes_of(*texts(MANY)))
    client.closes(1013, "slow")
    client.connection.hold(Hold.WRITE)
    client.loop.turn()
    client.loop.turn()

    assert client.transport.is_read


def test_a_refused_handshake_has_no_frames_taken(stranger: Client) -> None:
    begin(stranger.connection, b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n")
    stranger.send(stranger.bytes_of(b"x"))
    stranger.loop.turn()

    assert stranger.got == []
    assert stranger.transport.written.startswith(b"HTTP/1.1 426")
    stranger.connection.data_received(stranger.bytes_of(b"y"))
    assert stranger.got == []


def write_entry(client: Client, seq: int, text: bytes) -> None:
    """Have its session write an entry, as it does."""
    client.connection.session.deliveries.cursor = Seq(seq)
    client.connection.session.out.frames.append(text)
    client.connection.take()


def test_what_waits_is_written_to_one_who_will_send_no_more(client: Client) -> None:
    write_entry(client, 5, b"one")

    client.connection.eof_received()

    assert client.transport.written.startswith(text_frame(b"one"))


def test_i7_one_whose_handshake_is_none_is_read_no_faster(stranger: Client) -> None:
    begin(stranger.connection, b"GET / HTTP/1.1\r\n\r\n")
    stranger.send(b"x" * LARGE_READ_BYTES)

    assert not stranger.transport.is_read
    stranger.loop.turn()
    stranger.send(b"x" * LARGE_READ_BYTES)
    assert not stranger.transport.is_read


def test_one_who_was_sent_away_is_not_waited_for(client: Client) -> None:
    client.send(client.bytes_of(*texts(MANY)))

    client.connection.session.lost()

    assert not client.connection.has_pending


def test_what_was_read_is_pending_until_its_turn(client: Client) -> None:
    client.send(client.bytes_of(*texts(MANY)))
    assert client.connection.has_pending

    client.loop.turn()
    client.loop.turn()

    assert not client.connection.has_pending


def test_i7_a_fault_at_a_frame_of_a_later_turn_ends_one_connection(
    client: Client, log: FakeLog
) -> None:
    ended: list[object] = []
    client.connection.session.end = lambda *given: ended.append(given)  # type: ignore[method-assign]
    client.send(client.bytes_of(*texts(MANY)))
    client.fails = True

    client.loop.turn()

    assert len(ended) == 1
    assert log.faults == ["connection.failed"]
    log.faults.clear()
