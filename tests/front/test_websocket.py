"""The server's end of one WebSocket: plain things by hand, all else as the library has it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from relay.front.entrance import head
from relay.front.oddframes import PeerClosed, Pong, WholeMessage
from relay.front.websocket import END, WebSocket
from relay.front.wire import Other

NOW_S = 1_566_970_629


class Ends:
    """Both ends of a WebSocket without a socket between them."""

    def __init__(self, max_size: int = 1000) -> None:
        self.server = WebSocket(max_size)
        self.client = ClientProtocol(parse_uri("ws://127.0.0.1:9011/"))
        self.client.send_request(self.client.connect())

    def say(self) -> bytes:
        return b"".join(self.client.data_to_send())

    def open(self) -> None:
        assert begun(self.server, self.say())
        for data in self.server.output():
            self.client.receive_data(data)
        assert self.client.state is State.OPEN

    def split(self) -> list[bytes | Other]:
        return self.server.split(self.say(), max_frames=32, max_bytes=1 << 20)

    def heard(self) -> list[Any]:
        """Have the server take what the client has said; return what it hears beside texts."""
        return [
            event
            for part in self.split()
            if isinstance(part, Other)
            for event in self.server.feed(part.raw)
        ]

    def tell(self) -> None:
        """Have the client take what the server says."""
        for data in self.server.output():
            self.client.receive_data(data) if data else self.client.receive_eof()


def begun(server: WebSocket, raw: bytes) -> bool:
    request = head.parse(raw)
    assert request is not None
    return server.begin(request, raw, now_s=NOW_S)


@pytest.fixture
def ends() -> Ends:
    """Two ends after the handshake."""
    ends = Ends()
    ends.open()
    return ends


def test_a_refused_handshake_ends_the_stream() -> None:
    server = WebSocket(1000)

    assert not begun(server, b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n")
    *answer, end = server.output()
    assert b"".join(answer).startswith(b"HTTP/1.1 426")
    assert end == END
    assert server.feed(b"x") == []
    server.close(1000, "")
    server.end()
    assert not server.output()


def test_a_handshake_that_is_not_plain_is_the_librarys_to_accept() -> None:
    ends = Ends()
    asked = ends.say().replace(b"Connection: Upgrade", b"Connection: x, Upgrade")

    assert begun(ends.server, asked)
    ends.tell()
    assert ends.client.state is State.OPEN
    ends.client.send_text(b"one")
    assert ends.split() == [b"one"]


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

    assert ends.heard() == [WholeMessage(b"one", is_text=True)]
    [pong] = ends.server.output()
    assert pong[0] & 0x0F == Opcode.PONG


def test_a_pong_is_told_and_a_close_is_answered(ends: Ends) -> None:
    ends.client.send_pong(b"7")
    ends.client.send_close(1000)

    assert ends.heard() == [Pong(b"7"), PeerClosed()]
    assert ends.server.is_closing
    assert ends.server.output()[-1] == END


def test_plain_frames_need_no_library(ends: Ends) -> None:
    ends.client.send_ping(b"1")
    ends.client.send_pong(b"2")
    ends.client.send_text(b"3")
    ends.heard()
    ends.server.ping(b"4")
    assert ends.server._odd is None

    ends.client.send_binary(b"5")
    ends.heard()
    assert ends.server._odd is not None

    ends.server.close(1000, "")
    assert ends.server._odd is None


def test_a_close_that_crosses_with_the_clients_is_no_error(ends: Ends) -> None:
    ends.client.send_close(1001)
    ends.server.close(1012, "restart")
    ends.server.close(1012, "again")
    ends.server.await_close()

    assert ends.server.is_closing
    assert len(ends.server.output()) == 1
    assert ends.heard() == [PeerClosed()]
    assert ends.server.close_codes == (1012, 1001)
    assert ends.server.own_close_code == 1012
    assert ends.server.output() == [END]


def test_of_a_reason_that_is_too_long_a_part_is_told(ends: Ends) -> None:
    ends.server.close(1008, "\xe9" * 100)
    ends.tell()

    assert ends.client.close_rcvd is not None
    assert ends.client.close_rcvd.reason == "\xe9" * 61


def test_what_is_over_the_size_is_the_librarys_to_refuse() -> None:
    ends = Ends(max_size=10)
    ends.open()
    ends.client.send_text(b"x" * 11)

    assert ends.heard() == []
    assert ends.server.is_closing
    ends.tell()
    assert ends.client.close_code == 1009


class Library:
    """What the library alone would do, with the same words as a `WebSocket`."""

    def __init__(self, max_size: int) -> None:
        self._protocol = ServerProtocol(max_size=max_size, state=State.OPEN)
        self._pieces = b""
        self._is_text = False

    def feed(self, data: bytes) -> list[Any]:
        self._protocol.receive_data(data)
        events: list[Any] = []
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            match frame.opcode:
                case Opcode.PONG:
                    events.append(Pong(bytes(frame.data)))
                case Opcode.CLOSE:
                    events.append(PeerClosed())
                case Opcode.PING:
                    pass
                case kind:
                    if kind is not Opcode.CONT:
                        self._pieces, self._is_text = b"", kind is Opcode.TEXT
                    self._pieces += frame.data
                    if frame.fin:
                        events.append(WholeMessage(self._pieces, self._is_text))
        return events

    def ping(self, payload: bytes) -> None:
        try:
            self._protocol.send_ping(payload)
        except InvalidState:
            pass

    def close(self, code: int, reason: str) -> None:
        try:
            self._protocol.send_close(code, reason)
        except InvalidState:
            pass

    def fail(self, code: int, reason: str) -> None:
        self._protocol.fail(code, reason)

    def end(self) -> None:
        self._protocol.receive_eof()

    def output(self) -> list[bytes]:
        return self._protocol.data_to_send()

    @property
    def is_closing(self) -> bool:
        return self._protocol.state is not State.OPEN

    @property
    def is_over(self) -> bool:
        """It has ended its side of the stream: `fail` would end it once more."""
        return self._protocol.eof_sent

    @property
    def close_codes(self) -> tuple[int | None, int | None]:
        sent, received = self._protocol.close_sent, self._protocol.close_rcvd
        return (sent.code if sent else None, received.code if received else None)

    @property
    def own_close_code(self) -> int | None:
        sent = self._protocol.close_sent
        return None if sent is None or self._protocol.close_rcvd_then_sent else sent.code


def raw_frame(first: int, payload: bytes, *, mask: bool = True, form: int = 0) -> bytes:
    """Return a frame of a client, or what only looks like one; a `form` of 126 or 127 is longer."""
    length = len(payload)
    short = form or (length if length < 126 else 126)
    size = {126: length.to_bytes(2, "big"), 127: length.to_bytes(8, "big")}.get(short, b"")
    if not mask:  # and as long as the longest head, or it is waited for that
        return bytes((first, short)) + size + payload + bytes(14)
    return bytes((first, 0x80 | short)) + size + bytes(4) + payload


CODES = [1000, 1001, 1003, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 1016, 2999, 3000, 4999, 5000]
CLOSES = st.one_of(
    st.just(b""),
    st.just(b"\x03"),
    st.sampled_from(CODES).map(lambda code: code.to_bytes(2, "big") + b"bye"),
    st.just(b"\x03\xe8\xff"),  # no UTF-8
)
FIRSTS = [0x81, 0x82, 0x01, 0x80, 0x00, 0x89, 0x8A, 0x88, 0x09, 0x08, 0xC9, 0x83, 0x8B]
PLAIN_FRAMES = st.one_of(
    st.builds(raw_frame, st.sampled_from([0x81, 0x89, 0x8A]), st.binary(max_size=125)),
    st.builds(raw_frame, st.just(0x88), CLOSES),
)
ANY_FRAMES = st.one_of(
    PLAIN_FRAMES,
    st.builds(
        raw_frame,
        st.sampled_from(FIRSTS),
        st.one_of(st.binary(max_size=140), CLOSES),
        mask=st.sampled_from([True, True, True, False]),
        form=st.sampled_from([0, 0, 0, 126, 127]),
    ),
)
SAYS = st.sampled_from(["ping", "close"])


def taken(server: WebSocket, library: Library, raw: bytes) -> None:
    """Have both take what a client sends, and see that they do the same."""
    ours: list[Any] = []
    left = raw
    while left or server.is_behind:
        for part in server.split(left, max_frames=3, max_bytes=100):
            if isinstance(part, bytes):
                ours.append(WholeMessage(part, is_text=True))
            else:
                ours += server.feed(part.raw)
        left = b""
    assert ours == library.feed(raw)
    same(server, library)


def same(server: WebSocket, library: Library) -> None:
    assert b"".join(server.output()) == b"".join(library.output())
    assert server.is_closing == library.is_closing
    assert server.close_codes == library.close_codes
    assert server.own_close_code == library.own_close_code


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(ANY_FRAMES, SAYS), max_size=8), st.sampled_from(["fail", "end"]))
def test_up_to_a_close_it_does_what_the_library_alone_would(
    steps: list[bytes | str], last: str
) -> None:
    ends = Ends(130)
    ends.open()
    server, library = ends.server, Library(130)

    for step in steps:
        match step:
            case bytes():
                taken(server, library, step)
            case "ping":
                server.ping(b"7")
                library.ping(b"7")
            case _:
                server.close(1008, "enough")
                library.close(1008, "enough")
        same(server, library)
        if library.is_closing:
            break
    if not library.is_over:
        for each in (server, library):
            each.fail(1007, "not UTF-8") if last == "fail" else each.end()
        same(server, library)


@settings(max_examples=60, deadline=None)
@given(st.lists(PLAIN_FRAMES, max_size=6), st.booleans())
def test_behind_its_own_close_it_takes_plain_frames_as_the_library_does(
    frames: list[bytes], finds: bool
) -> None:
    ends = Ends(130)
    ends.open()
    server, library = ends.server, Library(130)
    for each in (server, library):
        each.close(1012, "restart")
    if finds:
        server.await_close()

    for frame in frames:
        # Where only the close frame is looked for, nothing else is answered.
        if finds and frame[0] != 0x88:
            continue
        taken(server, library, frame)
        if library.is_over:
            break
    if not library.is_over:
        for each in (server, library):
            each.end()
        same(server, library)
