"""Beats: what is told comes back, also from another version, and nothing else is taken for one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cluster.beats import (
    Beat,
    BeatUnreadable,
    EngineFacts,
    Owned,
    decode_beat,
    encode_beat,
)

WHOLE = Beat(
    host="a",
    boot=3,
    number=17,
    owned={0: Owned(9, "tcp://10.0.0.1:9100"), 5: Owned(12, "tcp://10.0.0.1:9101")},
    standing={7: 1234},
    fronts=("front-a-0-50331649",),
    draining=True,
    moving=5,
    plan=2**32 - 1,
    accord=4,
    accord_refused="too large",
    version="1.2.3",
    engine=EngineFacts(leads=(7,), current=(0, 7), last={0: 9, 7: 1300}),
)
# Arrays of one in each other, in msgpack.
DEEP = b"\x91" * 100_000 + b"\xc0"


@pytest.mark.parametrize("beat", [WHOLE, Beat(host="b", boot=1, number=1)])
def test_what_is_told_comes_back(beat: Beat) -> None:
    assert decode_beat(encode_beat(beat)) == beat


def test_a_beat_of_sixteen_ranges_is_a_few_hundred_bytes() -> None:
    owned = {range_: Owned(2**40, "tcp://10.0.0.1:9100") for range_ in range(16)}

    assert len(encode_beat(Beat(host="a", boot=1, number=1, owned=owned))) < 700


def test_what_a_later_version_tells_besides_is_passed_over() -> None:
    told = msgspec.msgpack.decode(encode_beat(WHOLE)) | {"news": [1, 2]}

    assert decode_beat(msgspec.msgpack.encode(told)) == WHOLE


@given(st.binary(max_size=60))
def test_what_is_none_is_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(BeatUnreadable):
        decode_beat(data)


def test_what_is_nested_too_deeply_in_what_nobody_knows_is_refused_too() -> None:
    told = msgspec.msgpack.decode(encode_beat(WHOLE)) | {"news": msgspec.Raw(DEEP)}

    with pytest.raises(BeatUnreadable):
        decode_beat(msgspec.msgpack.encode(told))


@pytest.mark.parametrize("length", range(0, 100, 7))
def test_a_beat_that_was_cut_is_refused(length: int) -> None:
    with pytest.raises(BeatUnreadable):
        decode_beat(encode_beat(WHOLE)[:length])


def test_a_later_beat_has_the_greater_order_also_behind_a_restart() -> None:
    orders = [Beat(host="a", boot=b, number=n).order for b, n in ((1, 1), (1, 2), (2, 1))]

    assert orders == sorted(orders)
