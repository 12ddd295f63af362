"""Our framing: byte for byte what the websockets library makes, and what it would read."""

import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from relay.front.wire import CloseFinder, FrameSplitter, Other, SharedFrame, text_frame

MAX_SIZE = 70_000


def by_the_library(payload: bytes) -> bytes:
    return Frame(Opcode.TEXT, payload).serialize(mask=False)


@pytest.mark.parametrize(
    "length", [0, 1, 124, 125, 126, 127, 255, 256, 65_534, 65_535, 65_536, 65_537, 1_000_000]
)
def test_a_frame_of_any_length_is_the_librarys(length: int) -> None:
    payload = b"x" * length

    assert text_frame(payload) == by_the_library(payload)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_a_frame_of_any_content_is_the_librarys(payload: bytes) -> None:
    assert text_frame(payload) == by_the_library(payload)


def test_a_frame_for_many_is_made_once_and_the_empty_one_is_a_frame_too() -> None:
    framed = SharedFrame().framed
    payload = bytes(300)

    assert framed(b"") == by_the_library(b"")
    assert framed(payload) == by_the_library(payload)
    assert framed(payload) is framed(payload)
    assert framed(b"") == by_the_library(b"")


def from_a_client(payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


def fed(
    splitter: FrameSplitter,
    chunks: list[bytes],
    *,
    max_frames: int = 1000,
    max_bytes: int = 1_000_000,
    waits: bool = True,
) -> list[bytes | Other]:
    """Feed the chunks; whoever `waits` feeds the next one when nothing is left of the last."""
    frames: list[bytes | Other] = []

    def take(data: bytes) -> None:
        cut = splitter.feed(data, max_frames=max_frames, max_bytes=max_bytes)
        assert len(cut) <= max_frames
        assert sum(map(raw_length, cut[:-1])) < max_bytes
        frames.extend(cut)

    for chunk in chunks:
        take(chunk)
        while waits and splitter.is_behind:
            take(b"")
    while splitter.is_behind:
        take(b"")
    return frames


def test_of_one_who_is_sent_away_only_the_close_frame_comes_out() -> None:
    splitter = FrameSplitter(100)
    half = from_a_client(b"half", fin=False)
    stream = [from_a_client(b"", Opcode.PING)] * 3000 + [from_a_client(b"text")]
    close = from_a_client(b"", Opcode.CLOSE)
    data = b"".join([half, *stream, close, *stream])
    before = splitter.feed(data + close[:1], max_frames=2, max_bytes=1000)
    assert len(before) == 2

    finder = CloseFinder.behind(splitter)

    assert fed(finder, [b""]) == [Other(close)]
    assert fed(finder, [close[1:]]) == [Other(close)]


def test_what_is_no_frame_is_the_librarys_though_only_a_close_frame_is_looked_for() -> None:
    finder = CloseFinder.behind(FrameSplitter(100))

    assert fed(finder, [from_a_client(b"text") + b"\x81\x01x"]) == [Other(b"\x81\x01x")]
    assert finder.gave_up


def raw_length(frame: bytes | Other) -> int:
    """Return how many bytes the client sent for it."""
    return len(frame.raw if isinstance(frame, Other) else from_a_client(frame))


@st.composite
def client_streams(draw: st.DrawFn) -> tuple[list[bytes], list[bytes | Other]]:
    """What a client may send, cut into chunks anywhere, and what must come of it."""
    expected: list[bytes | Other] = []
    stream = b""
    sizes = st.sampled_from([0, 1, 3, 125, 126, 127, 300, 65_535, 65_536, MAX_SIZE])
    for _ in range(draw(st.integers(1, 6))):
        payload = bytes([draw(st.integers(0, 255))]) * draw(sizes)
        match draw(st.sampled_from(["text", "text", "binary", "ping", "pong", "fragments"])):
            case "text":
                stream += from_a_client(payload)
                expected.append(payload)
            case "fragments":
                raws = [
                    from_a_client(payload, Opcode.TEXT, fin=False),
                    from_a_client(b"", Opcode.PING),
                    from_a_client(payload, Opcode.CONT, fin=False),
                    from_a_client(b"end", Opcode.CONT),
                ]
                stream += b"".join(raws)
                expected += map(Other, raws)
            case kind:
                opcode = Opcode[kind.upper()]
                raw = from_a_client(payload if kind == "binary" else payload[:125], opcode)
                stream += raw
                expected.append(Other(raw))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    bounds = [0, *cuts, len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(bounds) if a < b]
    return chunks, expected


@settings(max_examples=150, deadline=None)
@given(client_streams(), st.integers(1, 8), st.sampled_from([1, 10, 400, 70_000]), st.booleans())
def test_a_stream_comes_out_in_frames_however_it_is_cut_and_taken(
    case: tuple[list[bytes], list[bytes | Other]], max_frames: int, max_bytes: int, waits: bool
) -> None:
    chunks, expected = case
    splitter = FrameSplitter(MAX_SIZE)

    frames = fed(splitter, chunks, max_frames=max_frames, max_bytes=max_bytes, waits=waits)
    assert frames == expected
    assert not splitter.gave_up


@pytest.mark.parametrize(
    ("bound", "count"), [(1, 1), (15, 1), (16, 2), (30, 2), (31, 3), (1000, 3)]
)
def test_it_stops_behind_the_frame_that_makes_enough_bytes(bound: int, count: int) -> None:
    texts = [b"x" * 9, b"y" * 9, b"z" * 9]
    stream = b"".join(map(from_a_client, texts))
    splitter = FrameSplitter(MAX_SIZE)

    assert len(stream) == 45
    assert splitter.feed(stream, max_frames=9, max_bytes=bound) == texts[:count]
    assert splitter.is_behind == (count < 3)


def test_a_whole_text_amid_fragments_is_left_to_the_library_also_in_a_later_call() -> None:
    raws = [from_a_client(b"x", fin=False), from_a_client(b"whole")]
    splitter = FrameSplitter(MAX_SIZE)

    assert fed(splitter, [b"".join(raws)], max_frames=1) == [Other(raw) for raw in raws]


def test_what_is_left_for_the_next_call_is_not_copied() -> None:
    stream = b"".join(from_a_client(b"%d" % number) for number in range(9))
    splitter = FrameSplitter(MAX_SIZE)

    splitter.feed(stream, max_frames=3, max_bytes=1000)
    assert splitter._unread is stream
    splitter.feed(b"", max_frames=3, max_bytes=1000)
    assert splitter._unread is stream


def test_bytes_that_trickle_in_are_looked_at_once_a_header_and_once_a_frame() -> None:
    stream = from_a_client(b"x" * 300)
    splitter = FrameSplitter(MAX_SIZE)
    looks = 0

    def count(_frame: object, event: str, called: object) -> None:
        nonlocal looks
        if event == "c_call" and getattr(called, "__name__", "") == "join":  # with the buffer
            looks += 1

    sys.setprofile(count)
    try:
        frames = fed(splitter, [bytes([byte]) for byte in stream])
    finally:
        sys.setprofile(None)

    assert frames == [b"x" * 300]
    assert looks == 3  # the length, the longer length with the mask, the frame


def test_a_frame_that_trickles_in_comes_out_whole() -> None:
    stream = from_a_client(b"x" * 300) + from_a_client(b"y")
    splitter = FrameSplitter(MAX_SIZE)

    assert fed(splitter, [bytes([byte]) for byte in stream]) == [b"x" * 300, b"y"]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(from_a_client(b"x" * (MAX_SIZE + 1)), id="too long"),
        pytest.param(b"\x81\xff" + b"\xff" * 8 + b"mask", id="absurdly long"),
        pytest.param(text_frame(b"unmasked"), id="unmasked"),
    ],
)
def test_what_cannot_be_cut_is_left_to_the_library_with_all_that_follows(bad: bytes) -> None:
    splitter = FrameSplitter(MAX_SIZE)
    behind = from_a_client(b"behind it")

    assert fed(splitter, [from_a_client(b"before") + bad + behind]) == [
        b"before",
        Other(bad + behind),
    ]
    assert splitter.gave_up


def test_a_length_beyond_the_limit_is_refused_before_anything_is_gathered() -> None:
    splitter = FrameSplitter(MAX_SIZE)
    header = from_a_client(b"x" * (MAX_SIZE + 1))[:14]

    assert splitter.feed(header, max_frames=1, max_bytes=1) == [Other(header)]
    assert splitter.gave_up
