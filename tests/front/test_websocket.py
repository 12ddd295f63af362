"""The server's end of one WebSocket: whole texts are cut by hand, all else is the library's."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from relay.front.websocket import END, HandshakeDone, PeerClosed, Pong, WebSocket, WholeMessage
from relay.front.wire import Other


class Ends:
    """Both ends of a WebSocket without a socket between them."""

    def __init__(self, max_size: int = 1000) -> None:
        self.server = WebSocket(max_size)
        self.client = ClientProtocol(parse_uri("ws://127.0.0.1:9011/"))
        self.client.send_request(self.client.connect())

    def say(self) -> bytes:
        return b"".join(self.client.data_to_send())

    def open(self) -> None:
        [done] = self.server.feed(self.say())
        assert isinstance(done, HandshakeDone)
        assert done.headers["Host"] == "127.0.0.1:9011"
        for data in self.server.output():
            self.client.receive_data(data)
        self.server.renew_library()
        assert self.client.state is State.OPEN

    def split(self) -> list[bytes | Other]:
        return self.server.split(self.say(), max_frames=32, max_bytes=1 << 20)


@pytest.fixture
def ends() -> Ends:
    """Two ends after the handshake."""
    ends = Ends()
    ends.open()
    return ends


def test_a_refused_handshake_ends_the_stream() -> None:
    server = WebSocket(1000)

    assert server.feed(b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n") == []
    assert not server.has_opened
    *answer, end = server.output()
    assert b"".join(answer).startswith(b"HTTP/1.1 426")
    assert end == END


def test_whole_texts_are_cut_and_the_rest_is_fed_in_its_place(ends: Ends) -> None:
    ends.client.send_text(b"one")
    ends.client.send_binary(b"two")
    ends.client.send_text(b"three")

    first, second, third = ends.split()

    assert (first, third) == (b"one", b"three")
    assert isinstance(second, Other)
    assert ends.server.feed(second.raw) == [WholeMessage(b"two", is_text=False)]


def test_fragments_are_put_together(ends: Ends) -> None:
    ends.client.send_text(b"o", fin=False)
    ends.client.send_ping(b"amid")
    ends.client.send_continuation(b"n", fin=False)
    ends.client.send_continuation(b"e", fin=True)

    events = [event for part in ends.split() for event in ends.server.feed(part.raw)]  # type: ignore[union-attr]

    assert events == [WholeMessage(b"one", is_text=True)]
    [pong] = ends.server.output()
    assert pong[0] & 0x0F == Opcode.PONG


def test_a_pong_is_told_and_a_close_is_answered(ends: Ends) -> None:
    ends.client.send_pong(b"7")
    ends.client.send_close(1000)

    events = [event for part in ends.split() for event in ends.server.feed(part.raw)]  # type: ignore[union-attr]

    assert events == [Pong(b"7"), PeerClosed()]
    assert ends.server.is_closing
    assert ends.server.output()[-1] == END


def test_a_close_that_crosses_with_the_clients_is_no_error(ends: Ends) -> None:
    ends.server.close(1012, "restart")
    ends.server.close(1012, "again")

    assert ends.server.is_closing


def test_what_is_over_the_size_is_the_librarys_to_refuse() -> None:
    ends = Ends(max_size=10)
    ends.open()
    ends.client.send_text(b"x" * 11)

    for part in ends.split():
        assert isinstance(part, Other)
        assert ends.server.feed(part.raw) == []

    assert ends.server.is_closing
    for data in ends.server.output():
        ends.client.receive_data(data) if data else ends.client.receive_eof()
    assert ends.client.close_code == 1009
