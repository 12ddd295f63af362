"""NATS servers of the operator are taken only if they sync always, and say so."""

import pytest

from relay.cluster.enginefacts import Facts, facts_of, least_payload_bytes, unfit
from relay.settings.agreement import MOST_COPIES_BYTES
from relay.settings.sizes import KIB, MIB
from workers.log import stream
from workers.log.parts import HEAD_BYTES, MOST_PARTS

LEAST = 1 * MIB


def answer(name: str, config: str) -> Facts:
    found = facts_of(b'{"server":{"name":"%s"},"data":{%s}}' % (name.encode(), config.encode()))
    assert found
    return found


def always(name: str) -> Facts:
    return answer(name, '"config":{"sync_interval":120000000000,"sync_always":true}')


def test_three_that_sync_always_are_fit() -> None:
    assert unfit([always("a"), always("b"), always("c")], {"a": LEAST}, LEAST) == ""


def test_one_that_does_not_is_named() -> None:
    lazy = answer("b", '"config":{"sync_interval":120000000000}')

    problem = unfit([always("a"), lazy, always("c")], {}, LEAST)

    assert "NATS server b acks what it has not synced" in problem
    assert "sync_interval: always" in problem


def test_those_without_jetstream_do_not_count() -> None:
    without = answer("d", '"disabled":true')

    assert unfit([always("a"), always("b"), always("c"), without], {}, LEAST) == ""
    assert "2 NATS servers with JetStream have answered" in unfit(
        [always("a"), always("b"), without], {}, LEAST
    )
    assert "0 NATS servers" in unfit([], {}, LEAST)


@pytest.mark.parametrize("payload", [b"", b"no", b"[]", b'{"data":{"config":7}}', b"[" * 100_000])
def test_what_is_no_answer_says_nothing(payload: bytes) -> None:
    assert facts_of(payload) is None


def test_one_that_takes_too_little_is_named_and_what_it_must_take() -> None:
    three = [always("a"), always("b"), always("c")]

    problem = unfit(three, {"a": LEAST, "b": LEAST - 1}, LEAST)

    assert f"NATS server b takes messages of {LEAST - 1} bytes at most" in problem
    assert f"set max_payload: {LEAST}" in problem


@pytest.mark.parametrize(
    ("message_bytes", "ranges"), [(64 * KIB, 16), (64 * KIB, 256), (16 * MIB, 2), (8 * MIB, 4)]
)
def test_what_each_must_take_has_room_for_the_largest_record(
    message_bytes: int, ranges: int
) -> None:
    largest = message_bytes * ranges
    assert largest <= MOST_COPIES_BYTES, "no more may be configured"
    least = least_payload_bytes(message_bytes=message_bytes, ranges=ranges)

    part = min(stream._MOST_BYTES, least - stream._BESIDES_BYTES) - HEAD_BYTES

    # The largest is what comes on top of a quarter (workers.loop); some is left for what is not
    # counted.
    assert largest * 3 // 2 <= MOST_PARTS * part
    assert MIB <= least <= 8 * MIB
