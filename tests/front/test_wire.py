"""Our framing of text: byte for byte what the websockets library makes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from relay.front.wire import text_frame


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
