"""The head of an HTTP request: what is one, and that it means the same to every reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.http11 import Request
from websockets.streams import StreamReader

from relay.front.entrance.head import MOST_HEADERS, Head, parse
from tests.fuzz.targets.timing import in_linear_time

NAMES = st.sampled_from(["Host", "Origin", "X-Forwarded-For", "origin", "X Y", "", "X\t", "é"])
VALUES = st.text(alphabet="ab:/. \t\r\n\0\x7f\x85é\xff", max_size=12)
LINES = st.sampled_from(
    ["GET / HTTP/1.1", "GET /a b HTTP/1.1", "get / HTTP/1.1", "GET / HTTP/2", "GET /é HTTP/1.1"]
)


@pytest.mark.parametrize(
    ("raw", "head"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Head("GET", "/", [])),
        (b"OPTIONS / HTTP/1.0\r\n\r\n", Head("OPTIONS", "/", [], is_of_http_1_1=False)),
        (
            b"GET /a?b HTTP/1.1\r\nHost: x:1\r\nORIGIN:\t y \r\nhost:\r\n\r\n",
            Head("GET", "/a?b", [("host", "x:1"), ("origin", "y"), ("host", "")]),
        ),
        (b"GET / HTTP/1.1\r\nX: \xff\r\n\r\n", Head("GET", "/", [("x", "\xff")])),
    ],
)
def test_a_head_is_taken_apart(raw: bytes, head: Head) -> None:
    assert parse(raw) == head


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET /\x80 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1 \r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\nOrigin: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET ",
        b"GET / HTTP/1.1\r\n" + b"X:\r\n" * (MOST_HEADERS + 1) + b"\r\n",
    ],
)
def test_what_is_no_head_is_refused(raw: bytes) -> None:
    assert parse(raw) is None


@given(LINES, st.lists(st.tuples(NAMES, VALUES), max_size=4))
def test_what_is_taken_means_the_same_to_the_websockets_library(
    line: str, headers: list[tuple[str, str]]
) -> None:
    text = line + "".join(f"\r\n{name}: {value}" for name, value in headers) + "\r\n\r\n"
    raw = text.encode("latin-1")

    head = parse(raw)

    if head is not None:
        theirs = by_the_library(raw)
        assert head.target == theirs.path
        for name in {name for name, _ in head.headers}:
            values = [as_bytes(value) for value in theirs.headers.get_all(name)]
            assert [as_bytes(value) for value in head.values(name)] == values
        assert len(head.headers) == len(list(theirs.headers.raw_items()))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_none(raw: bytes) -> None:
    head = parse(raw + b"\r\n\r\n")

    assert head is None or head.method.isupper()


@pytest.mark.parametrize("piece", [b"X:\r\n", b"X: " + b" " * 50, b"\t ", b"a", b":", b"\r\n"])
def test_the_cost_is_linear(piece: bytes) -> None:
    raw = b"GET / HTTP/1.1\r\nX:" + piece * (128 * 1024 // len(piece)) + b"x\r\n\r\n"

    in_linear_time(lambda: parse(raw), len(raw))


def as_bytes(value: str) -> bytes:
    """The bytes on the wire: older releases of the library escape what is not ASCII."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("ascii", "surrogateescape")


def by_the_library(raw: bytes) -> Request:
    reader = StreamReader()
    reader.feed_data(raw)
    reader.feed_eof()
    parsing = Request.parse(reader.read_line)
    try:
        next(parsing)
    except StopIteration as done:
        request: Request = done.value
        return request
    raise AssertionError("it waits for more")
