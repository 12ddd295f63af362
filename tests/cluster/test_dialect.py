"""Hosts of two neighbouring versions understand each other: what may change, and what may not."""

from __future__ import annotations

from typing import Final
from zlib import crc32

import msgspec
import pytest

from relay.bus.envelopes import FrontBatch, Stored, decode_front_batch, encode
from relay.cluster.placement import Plan
from tests import plain

from .dialect import PATH, Dialect, Field, Shape, as_text, breaks, from_text, ours

# What this version understands and does not say yet; the next one may.
HEARD_FIRST: Final[frozenset[str]] = frozenset()
HOW: Final = (
    "ARCHITECTURE.md, Two versions at a time, says what may change; tests.cluster.dialect --write"
)


def test_the_version_before_and_this_one_understand_each_other() -> None:
    assert list(breaks(from_text(PATH.read_text()), ours(), HEARD_FIRST)) == [], HOW


def test_a_dialect_is_read_as_it_was_written() -> None:
    assert from_text(as_text(ours())) == ours()


def test_every_envelope_and_record_is_in_it() -> None:
    dialect = ours()

    assert {"kind of record DATA", "format of data"} <= dialect.numbers.keys()
    for name in ("bus.envelopes.Stored", "bus.envelopes.Carry", "cluster.beats.EngineFacts"):
        assert f"relay.{name}" in dialect.shapes
    assert "workers.log.record.Claimed" in dialect.shapes


BEFORE: Final = Dialect(
    {"format": 1},
    {
        "Pair": Shape(True, "1", (Field("a", "int"), Field("b", "str", True))),
        "Beat": Shape(False, "None", (Field("host", "str"), Field("mood", "str", True))),
    },
)


def after(name: str, *fields: Field, is_array: bool = True, tag: str = "1") -> Dialect:
    """Return the dialect with another shape of a struct."""
    return Dialect(BEFORE.numbers, {**BEFORE.shapes, name: Shape(is_array, tag, fields)})


A, B = BEFORE.shapes["Pair"].fields
HOST, MOOD = BEFORE.shapes["Beat"].fields
MORE = Field("more", "int", True)


@pytest.mark.parametrize(
    "now",
    [
        BEFORE,
        after("Pair", A, B, MORE),
        after("Beat", MORE, MOOD, HOST, is_array=False, tag="None"),
    ],
)
def test_what_comes_besides_and_may_lack_is_understood(now: Dialect) -> None:
    assert list(breaks(BEFORE, now, frozenset())) == []


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (after("Pair", A, MORE, B), "b str is not where"),
        (after("Pair", A), "b str is not where"),
        (after("Pair", Field("a", "int|none"), B), "a int is not where"),
        (after("Pair", A, B, Field("more", "int")), "more is new and has no default"),
        (after("Pair", A, B, tag="2"), "another tag"),
        (after("Pair", A, B, is_array=False), "another form"),
        (after("Beat", HOST, is_array=False, tag="None"), "mood str is not where"),
        (after("News"), "News is new"),
        (Dialect({"format": 2}, BEFORE.shapes), "format was 1, and is 2"),
        (Dialect({"format": 1, "kind": 4}, BEFORE.shapes), "kind is new"),
        (Dialect({"format": 1}, {"Pair": BEFORE.shapes["Pair"]}), "Beat is not known any more"),
    ],
)
def test_what_a_neighbour_would_not_understand_is_found(now: Dialect, why: str) -> None:
    assert any(why in each for each in breaks(BEFORE, now, frozenset()))


def test_what_is_understood_and_not_said_yet_is_no_break() -> None:
    assert list(breaks(BEFORE, after("News"), frozenset({"News"}))) == []


def test_a_batch_may_have_more_behind_what_is_known() -> None:
    batch = FrontBatch(3, 2, [plain.stored(1, 7)], 1)
    array = msgspec.msgpack.decode(encode(batch))
    array[2][0].append("more of a stanza")

    assert decode_front_batch(msgspec.msgpack.encode([*array, "more"])) == batch
    assert isinstance(batch.items[0], Stored)


def test_an_envelope_that_is_not_known_is_not_passed_over() -> None:
    unknown = msgspec.msgpack.encode([1, 0, [[99, "?"]]])

    with pytest.raises(msgspec.ValidationError):
        decode_front_batch(unknown)


def test_hosts_of_one_mark_place_ranges_alike() -> None:
    """Only the mark tells them that they do: where placement changes, so must it."""
    plans = [
        Plan(tuple("abcde"[:hosts]), ranges, standbys, away=frozenset(away), pins=pins)
        for hosts in (3, 4, 5)
        for ranges in (4, 16)
        for standbys in (1, 2)
        for away, pins in (("", {}), ("b", {0: "c"}))
    ]

    placed = [(plan.mark, [plan.ranked(range_) for range_ in range(plan.ranges)]) for plan in plans]

    assert crc32(repr(placed).encode()) == 4_258_535_254, HOW
