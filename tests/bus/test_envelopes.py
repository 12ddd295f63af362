"""Envelopes: every one of them crosses the bus unchanged, and none is taken for another."""

from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.bus.envelopes import (
    Carry,
    Content,
    Entry,
    FrontBatch,
    GroupCopy,
    Page,
    PeerBatch,
    Receipt,
    RequestNumber,
    Seq,
    StrayAck,
    ToFront,
    ToPeer,
    ToWorker,
    WorkerBatch,
    decode_front_batch,
    decode_peer_batch,
    decode_worker_batch,
    encode,
)
from tests import plain

# What msgpack holds; seqs are the largest of ours, at most 2**64 - 1.
INTEGERS = st.integers(-(2**63), 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)

TO_WORKER = get_args(ToWorker)
TO_FRONT = get_args(ToFront)
TO_PEER = (ToPeer,)


def any_of(envelope: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Return a strategy for instances with any content that the types allow."""
    return st.builds(
        envelope,
        **{field.name: _values(field.type) for field in msgspec.structs.fields(envelope)},
    )


def _values(kind: Any) -> st.SearchStrategy[Any]:
    if kind in (int, Seq, RequestNumber):
        return INTEGERS
    if kind is str:
        return TEXT
    if kind is bytes:
        return st.binary(max_size=50)
    if kind is bool:
        return st.booleans()
    if kind == list[int]:
        return st.lists(INTEGERS, max_size=5)
    if kind == list[str]:
        return st.lists(TEXT, max_size=5)
    if kind == list[bytes]:
        return st.lists(st.binary(max_size=50), max_size=5)
    if kind == list[Entry]:
        return st.lists(any_of(Entry), max_size=5)
    if kind == Content:
        return any_of(GroupCopy) | any_of(Receipt) | any_of(Carry)
    raise AssertionError(f"no strategy for a field of type {kind}")


def batches_of(envelopes: tuple[type[msgspec.Struct], ...]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(*(any_of(each) for each in envelopes)), max_size=5)


@settings(max_examples=30, deadline=None)
@given(INTEGERS, INTEGERS, INTEGERS, batches_of(TO_WORKER))
def test_a_batch_for_a_worker_arrives_as_it_was_sent(
    incarnation: int, number: int, received: int, items: list[Any]
) -> None:
    batch = WorkerBatch(incarnation, number, received, len(items), items)

    assert decode_worker_batch(encode(batch)) == batch


@settings(max_examples=30, deadline=None)
@given(INTEGERS, INTEGERS, batches_of(TO_FRONT))
def test_a_batch_for_a_front_arrives_as_it_was_sent(
    number: int, received: int, items: list[Any]
) -> None:
    batch = FrontBatch(number, received, items)

    assert decode_front_batch(encode(batch)) == batch


@settings(max_examples=30, deadline=None)
@given(batches_of(TO_PEER))
def test_the_answer_to_a_peer_arrives_as_it_was_sent(items: list[Any]) -> None:
    batch = PeerBatch(items)

    assert decode_peer_batch(encode(batch)) == batch


def test_no_two_envelopes_share_a_tag() -> None:
    envelopes = {*TO_WORKER, *TO_FRONT, *TO_PEER, GroupCopy, Receipt, StrayAck}
    tags = [each.__struct_config__.tag for each in envelopes]

    assert len(set(tags)) == len(tags)
    assert all(type(tag) is int for tag in tags)


@pytest.mark.parametrize("envelope", [*TO_WORKER, *TO_FRONT, *TO_PEER, GroupCopy, Receipt, Entry])
def test_every_envelope_is_a_frozen_array(envelope: type[msgspec.Struct]) -> None:
    assert envelope.__struct_config__.frozen
    assert envelope.__struct_config__.array_like


def test_a_frame_travels_as_the_bytes_it_is() -> None:
    frame = b'["action", \xff\x00 not even JSON]'

    assert frame in encode(FrontBatch(1, 0, [plain.deliver(1, 2, "", frame)]))


def test_only_the_entries_of_a_page_cost_it_more_than_a_few_bytes() -> None:
    entry = plain.entry(1_566_970_629_000_000, "", b"frame")
    one, two = (len(encode(Page(1, [entry] * n, True, True, False))) for n in (1, 2))

    assert two - one < len(entry.frame) + 16


def test_the_numbers_of_entries_and_requests_are_plain_on_the_wire() -> None:
    batch = FrontBatch(1, 0, [plain.stored(7, 1000), plain.deliver(2, 9, "", b"")])
    wire = [1, 0, [[25, 7, 1000], [23, 2, 9, "", b""]], 0]

    assert msgspec.msgpack.decode(encode(batch)) == wire
    assert decode_front_batch(msgspec.msgpack.encode(wire)) == batch


@pytest.mark.parametrize("item", [[25, "7", 1000], [23, 2, 9.5, "", b""], [24, [2], None, b""]])
def test_what_is_no_number_is_refused_where_an_entry_or_a_request_is_named(item: list[Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        decode_front_batch(msgspec.msgpack.encode([1, 0, [item]]))


@pytest.mark.parametrize(
    ("decode", "foreign"),
    [
        (decode_worker_batch, encode(FrontBatch(1, 0, [plain.deliver(1, 2, "", b"")]))),
        (decode_front_batch, encode(FrontBatch(1, 0, [plain.open_session(1, "bob", 0, 0)]))),  # type: ignore[list-item]
        (
            decode_worker_batch,
            encode(WorkerBatch(1, 1, 0, 1, [plain.open_session(1, "bob", 0, 0)]))[:-1],
        ),
        (decode_worker_batch, b""),
        (decode_peer_batch, b"\xc1"),
    ],
    ids=["for a front", "what only workers get", "truncated", "empty", "no msgpack"],
)
def test_what_is_no_batch_of_ours_is_refused(
    decode: Callable[[bytes], object], foreign: bytes
) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(foreign)
