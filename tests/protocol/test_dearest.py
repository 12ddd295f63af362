"""No frame costs much more by the byte than plain text.

`python -m tests.bench.bench_frames` has the figures, and a limit of five. The bound here is wider,
so that a busy machine does not break it: what it is to find is twenty times as dear.
"""

from __future__ import annotations

import pytest

from relay.extensions.registry import load
from relay.protocol.codec import Codec
from relay.settings.tables import Settings
from tests.bench.bench_frames import ns_a_byte
from tests.bench.dearest import DEAREST, PLAIN

pytestmark = pytest.mark.ordeal

CODEC = Codec(Settings().limits, load().rows)


@pytest.mark.parametrize("name", DEAREST)
def test_a_byte_of_the_dearest_frames_costs_like_one_of_plain_text(name: str) -> None:
    frame = DEAREST[name]
    assert len(frame) <= Settings().limits.frame_bytes

    for _ in range(5):
        plain = ns_a_byte(CODEC, PLAIN, runs=2)
        if ns_a_byte(CODEC, frame, runs=2) <= 12 * plain:
            return
    raise AssertionError(f"{name}: over 12 times the {plain:.0f} ns of a byte of plain text")
