"""The q frame: always one, complete, ordered, ASCII, and not too large (R3 to R5)."""

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.protocol.queueframe import QueuePacker, pack

KIB_256 = 262_144
FRAME = b'["Msg",{"id":"1","ack":2}]'


def data_of(q_frame: bytes) -> str:
    """Return the data string of a q frame, after checking what every q frame must be."""
    assert q_frame.isascii()
    tag, body = json.loads(q_frame)
    assert tag == "q"
    assert list(body) == ["data", "from"]
    assert body["from"] == "backend"
    data: str = body["data"]
    assert data.isascii()
    assert "'" not in data
    return data


def frames_in(q_frames: Iterable[bytes]) -> list[Any]:
    """Return the frames in all q frames, parsed, after checking each q frame's shape."""
    held: list[Any] = []
    for q_frame in q_frames:
        sentinel, *frames = json.loads(data_of(q_frame))
        assert sentinel == []
        held += frames
    return held


def test_r3_nothing_waiting_is_one_empty_q() -> None:
    assert pack([], max_bytes=KIB_256) == [b'["q", {"data": "[[]]", "from": "backend"}]']


def test_r4_element_0_is_the_empty_list_in_every_q() -> None:
    q_frames = pack([FRAME] * 10, max_bytes=100)

    assert len(q_frames) > 1
    assert all(data_of(q_frame).startswith("[[],") for q_frame in q_frames)


def test_r5_the_q_of_the_protocol_text_is_met_byte_for_byte() -> None:
    frame = (
        b'["action",{"add":"relay"},[{"key":{"fromMe":false,"id":"3EB09E5B1E31CE48730C",'
        b'"remoteJid":"917069852821@s.whatsapp.com"},"message":{"conversation":"Test msg"},'
        b'"messageTimestamp":"1566970464"}]]'
    )

    assert pack([frame], max_bytes=KIB_256) == [
        b'["q", {"data": "[[],[\\"action\\",{\\"add\\":\\"relay\\"},'
        b'[{\\"key\\":{\\"fromMe\\":false,'
        b'\\"id\\":\\"3EB09E5B1E31CE48730C\\",\\"remoteJid\\":\\"917069852821@s.whatsapp.com\\"},'
        b'\\"message\\":{\\"conversation\\":\\"Test msg\\"},\\"messageTimestamp\\":'
        b'\\"1566970464\\"}]]]", "from": "backend"}]'
    ]


def test_r5_data_is_ascii_and_an_apostrophe_is_escaped() -> None:
    frame = json.dumps(["x", "it's é 🙂"], ensure_ascii=False).encode()

    (q_frame,) = pack([frame], max_bytes=KIB_256)

    assert data_of(q_frame) == r'[[],["x", "it\u0027s \u00e9 \ud83d\ude42"]]'
    assert frames_in([q_frame]) == [["x", "it's é 🙂"]]


def test_r5_data_parses_also_after_a_naive_quote_replacement() -> None:
    frame = json.dumps(["x", "it's 'quoted'"]).encode()

    (q_frame,) = pack([frame], max_bytes=KIB_256)

    assert json.loads(data_of(q_frame).replace("'", '"')) == [[], ["x", "it's 'quoted'"]]


def test_r5_backslashes_white_space_and_escapes_stay_what_they_were() -> None:
    frame = b'["x",\n\t{"a" : "\\\\n \\u0027 \\" \\/ \\ud83d\\ude42\\\\"}\r\n]'

    (q_frame,) = pack([frame], max_bytes=KIB_256)

    assert data_of(q_frame).encode() == b"[[]," + frame + b"]"


def test_a_full_q_is_followed_by_the_next() -> None:
    sole = len(pack([FRAME], max_bytes=KIB_256)[0])
    pair = len(pack([FRAME] * 2, max_bytes=KIB_256)[0])

    assert [len(q_frame) for q_frame in pack([FRAME] * 5, max_bytes=pair)] == [pair, pair, sole]
    assert [len(q_frame) for q_frame in pack([FRAME] * 3, max_bytes=pair - 1)] == [sole] * 3


def test_a_frame_larger_than_a_q_travels_alone() -> None:
    large = json.dumps(["x", "y" * 500]).encode()

    q_frames = pack([FRAME, large, FRAME, FRAME, large], max_bytes=200)

    assert [len(frames_in([q_frame])) for q_frame in q_frames] == [1, 1, 2, 1]


def test_batches_are_packed_as_if_they_were_one() -> None:
    frames = [json.dumps(["x", number]).encode() for number in range(50)]
    packer = QueuePacker(200)

    q_frames = [q for first in range(0, 50, 7) for q in packer.add(frames[first : first + 7])]
    q_frames += packer.add([])
    q_frames += packer.finish()

    assert q_frames == pack(frames, max_bytes=200)


def test_r3_only_the_sole_q_is_empty() -> None:
    packer = QueuePacker(200)

    assert packer.add([]) == []
    assert frames_in(packer.finish()) == []
    assert all(frames_in([q_frame]) for q_frame in pack([FRAME] * 50, max_bytes=10))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text(
    "'\"\\é🙂\x7f\n", max_size=20
)
values = st.lists(texts | st.integers() | st.dictionaries(texts, texts, max_size=3), max_size=4)


@st.composite
def encoded(draw: st.DrawFn) -> tuple[list[Any], bytes]:
    """A frame's value and one of its encodings."""
    value = draw(values)
    text = json.dumps(
        value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1, "\t"]))
    )
    return value, text.encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(encoded(), max_size=12), st.integers(1, 600), st.integers(1, 5))
def test_r5_every_frame_is_there_once_and_in_order_in_qs_within_the_bound(
    frames: list[tuple[list[Any], bytes]], max_bytes: int, batch: int
) -> None:
    packer = QueuePacker(max_bytes)
    raw = [frame for _, frame in frames]
    q_frames = [q for at in range(0, len(raw), batch) for q in packer.add(raw[at : at + batch])]
    q_frames += packer.finish()

    assert frames_in(q_frames) == [value for value, _ in frames]
    for q_frame in q_frames:
        held = frames_in([q_frame])
        assert held or len(q_frames) == 1
        assert len(q_frame) <= max_bytes or len(held) <= 1
