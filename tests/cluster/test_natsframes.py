"""Bytes of a NATS server to frames, however they arrive; and what is said to it."""

from __future__ import annotations

import string
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cluster.natsframes import (
    MAX_LINE_BYTES,
    BadFrame,
    Complaint,
    Frame,
    Headers,
    Info,
    Message,
    Parser,
    Sign,
    connect_line,
    header_block,
    publish_line,
    subscribe_line,
    unsubscribe_line,
)

_subjects = st.text(string.ascii_letters + string.digits + ".$_-", min_size=1, max_size=40)
_values = st.text(string.ascii_letters + string.digits + " :/", max_size=20).map(str.strip)
_headers = st.dictionaries(
    st.text(string.ascii_letters + "-", min_size=1, max_size=12), _values, max_size=4
)
_statuses = st.sampled_from([0, 204, 404, 408, 503])


@st.composite
def _messages(draw: st.DrawFn) -> tuple[bytes, Message]:
    """A message, and the bytes that a server sends for it."""
    sid, subject = draw(st.integers(0, 9999)), draw(_subjects)
    reply = draw(st.just("") | _subjects)
    # With line ends and the words of the protocol in it.
    payload = draw(
        st.binary(max_size=60) | st.sampled_from([b"\r\n", b"PING\r\n", b"MSG a 1 0\r\n"])
    )
    headers, status = draw(_headers), draw(_statuses)
    where = f"{subject} {sid} {reply} " if reply else f"{subject} {sid} "
    if not headers and not status:
        data = f"MSG {where}{len(payload)}\r\n".encode() + payload + b"\r\n"
        return data, Message(sid, subject, reply, 0, {}, payload)
    block = header_block(headers) or b"NATS/1.0\r\n\r\n"
    if status:
        block = block.replace(b"NATS/1.0", b"NATS/1.0 %d Some Words" % status, 1)
    sizes = f"{len(block)} {len(block) + len(payload)}\r\n"
    data = f"HMSG {where}{sizes}".encode() + block + payload + b"\r\n"
    return data, Message(sid, subject, reply, status, headers, payload)


_others: st.SearchStrategy[tuple[bytes, Frame]] = st.sampled_from(
    [
        (b"PING\r\n", Sign.PING),
        (b"PONG\r\n", Sign.PONG),
        (b"+OK\r\n", Sign.OK),
        (b"-ERR 'Stale Connection'\r\n", Complaint("Stale Connection")),
        (
            b'INFO {"server_name":"a","max_payload":8,"headers":true,"more":[1]}\r\n',
            Info(server_name="a", max_payload=8, headers=True),
        ),
    ]
)
_streams: st.SearchStrategy[list[tuple[bytes, Frame]]] = st.lists(
    st.one_of(_messages(), _others), max_size=8
)


def seen(frame: Frame) -> Frame:
    """Return the frame with its headers read, so that it can be compared."""
    return frame._replace(headers=dict(frame.headers)) if isinstance(frame, Message) else frame


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


# --- what comes -------------------------------------------------------------------------------


@given(_streams, st.lists(st.integers(0, 5000), max_size=20))
def test_frames_are_the_same_however_they_are_cut(
    stream: list[tuple[bytes, Frame]], cuts: list[int]
) -> None:
    data = b"".join(each for each, _ in stream)
    parser = Parser()

    found = [seen(frame) for piece in pieces_of(data, cuts) for frame in parser.feed(piece)]

    assert found == [frame for _, frame in stream]
    assert parser.held_bytes == 0


@given(_streams)
def test_frames_come_byte_by_byte_as_soon_as_they_are_whole(
    stream: list[tuple[bytes, Frame]],
) -> None:
    parser = Parser()

    for data, frame in stream:
        found = [parser.feed(data[at : at + 1]) for at in range(len(data))]

        assert [[seen(each) for each in frames] for frames in found if frames] == [[frame]]
        assert found[-1]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_garbage_is_refused_or_waited_for_and_never_held_beyond_the_bound(
    garbage: bytes, cuts: list[int]
) -> None:
    parser = Parser()

    try:
        for piece in pieces_of(garbage, cuts):
            parser.feed(piece)
            assert parser.held_bytes <= len(garbage)
    except BadFrame:
        pass


@given(_streams, st.integers(0, 5000), st.binary(min_size=1, max_size=3))
def test_a_damaged_stream_raises_nothing_but_what_is_said(
    stream: list[tuple[bytes, Frame]], place: int, damage: bytes
) -> None:
    data = b"".join(each for each, _ in stream)
    at = place % (len(data) + 1)

    try:
        frames = Parser().feed(data[:at] + damage + data[at + len(damage) :])
    except BadFrame:
        return
    for frame in frames:
        if isinstance(frame, Message):
            dict(frame.headers)


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 1 99999999\r\n",
        b"MSG a 1 99999999999999999999\r\n",
        b"HMSG a 1 12 99999999\r\n",
        b"MSG a 1 -1\r\n",
        b"MSG a 1 1_0\r\n",
        b"MSG a one 1\r\n",
        b"MSG a 1\r\n",
        b"MSG a 1 b c 1\r\n",
        b"HMSG a 1 1\r\n",
        b"HMSG a 1 20 10\r\n",
        b"MSG \xff 1 0\r\n\r\n",
        b"MSG a 1 2\r\nabc\r\n",
        b"HMSG a 1 12 12\r\nNATS/2.0\r\n\r\n\r\n",
        b"HMSG a 1 10 10\r\nNATS/1.0\r\n\r\n",
        b"HMSG a 1 16 16\r\nNATS/1.0 abc\r\n\r\n\r\n",
        b"INFO {\r\n",
        b"INFO []\r\n",
        b'INFO {"more":' + b"[" * 20_000 + b"\r\n",
        b'INFO {"server_name":"\xff"}\r\n',
        b'INFO {"max_payload":"much"}\r\n',
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
    ],
)
def test_what_is_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(BadFrame):
        Parser().feed(line)


def test_a_message_beyond_the_bound_is_refused_before_any_of_it_is_held() -> None:
    parser = Parser()
    parser.allow(1000)

    with pytest.raises(BadFrame, match="100000 bytes exceeds"):
        parser.feed(b"MSG a 1 100000\r\n")

    assert parser.held_bytes == 0


def test_a_line_without_end_is_refused_at_the_bound() -> None:
    parser = Parser()
    piece = b"x" * 1000

    for _ in range(MAX_LINE_BYTES // len(piece)):
        assert parser.feed(piece) == []
    with pytest.raises(BadFrame, match=f"over {MAX_LINE_BYTES} bytes"):
        parser.feed(piece)


def test_a_large_message_that_comes_in_many_pieces_is_copied_few_times() -> None:
    parser = Parser()
    parser.allow(8 * 1024 * 1024)
    size = 8 * 1024 * 1024
    parser.feed(b"MSG a 1 %d\r\n" % size)
    piece = b"x" * 100

    frames = [frame for _ in range(size // 100) for frame in parser.feed(piece)]
    frames += parser.feed(b"x" * (size % 100) + b"\r\n")

    # To put it together at every piece would be 350 GB, and take minutes.
    assert [len(frame.payload) for frame in frames if isinstance(frame, Message)] == [size]


def test_of_two_headers_with_one_name_the_first_counts() -> None:
    headers = Headers(b"NATS/1.0\r\nA: 1\r\nA:2\r\nno header\r\n\r\n")

    assert dict(headers) == {"A": "1"}
    assert headers.get("B") is None


# --- what is said -----------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPING", "a\tb", "ä"])
def test_what_is_no_subject_is_never_said(subject: str) -> None:
    with pytest.raises(ValueError, match="no subject"):
        publish_line(subject, "", 0, 1)
    with pytest.raises(ValueError, match="no subject"):
        subscribe_line(subject, 1)
    if subject:
        with pytest.raises(ValueError, match="no subject"):
            publish_line("a", subject, 0, 1)


@pytest.mark.parametrize("value", ["1\r\nB: 2", "\r\n\r\nPING", "ä", "a\nb"])
def test_what_would_end_a_header_is_never_said(value: str) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        header_block({"A": value})


def test_what_is_said_is_as_the_protocol_has_it() -> None:
    assert publish_line("a.b", "", 0, 3) == b"PUB a.b 3\r\n"
    assert publish_line("a.b", "c", 0, 3) == b"PUB a.b c 3\r\n"
    assert publish_line("a.b", "c", 12, 3) == b"HPUB a.b c 12 15\r\n"
    assert header_block({"A": "1", "B": "2"}) == b"NATS/1.0\r\nA: 1\r\nB: 2\r\n\r\n"
    assert header_block({}) == b""
    assert subscribe_line("a.>", 7) == b"SUB a.> 7\r\n"
    assert unsubscribe_line(7) == b"UNSUB 7\r\n"
    assert connect_line("u", 'p"\r\n', "n").startswith(b'CONNECT {"user":"u","pass":"p\\"\\r\\n",')
