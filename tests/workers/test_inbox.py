"""What waits for a worker's decision: each sender's in order, and all in turn."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.bus.envelopes import Acked, AckedByMany, CloseSession, GroupCopy, Receipt, ToWorker
from relay.bus.gathering import MOST_RIDERS
from tests import plain
from workers.inbox import PIECE, Haste, Inbox, Received

ONE, OTHER = b"front-0-1", b"front-1-2"


def batch(origin: bytes, number: int, count: int, *, peer: int | None = None) -> Received:
    """The `number`th batch of `count` items, which tell where they stand, of 10 bytes each."""
    items: list[ToWorker] = [CloseSession(number * 1000 + index) for index in range(count)]
    return Received(origin, peer, items, number=number, size=10 * count)


def taken(inbox: Inbox, pieces: int = 1000) -> list[Received]:
    found: list[Received] = []
    while inbox and len(found) < pieces:
        found.append(inbox.take())
    return found


def test_what_is_small_comes_whole_and_its_senders_in_turn() -> None:
    inbox = Inbox()
    one, other, another = batch(ONE, 1, PIECE), batch(OTHER, 1, 1), batch(ONE, 2, 2)
    inbox.add([one, another, other])

    assert taken(inbox) == [one, other, another]
    assert not inbox
    assert inbox.size == 0


def test_what_is_left_of_a_batch_is_of_the_same_number() -> None:
    left = batch(ONE, 3, 2 * PIECE).behind(PIECE)

    assert left.items == batch(ONE, 3, 2 * PIECE).items[PIECE:]
    assert (left.number, left.ends) == (3, True)


def test_a_large_batch_comes_in_pieces_and_others_in_between() -> None:
    inbox = Inbox()
    large, small = batch(ONE, 1, 3 * PIECE), batch(OTHER, 1, 1)
    inbox.add([large, small])

    first, second, third, fourth = taken(inbox)

    assert second == small
    assert [*first.items, *third.items, *fourth.items] == large.items
    assert [piece.ends for piece in (first, third, fourth)] == [False, False, True]
    assert {piece.number for piece in (first, third, fourth)} == {1}


def test_what_comes_later_is_served_in_turn_with_what_was_left() -> None:
    inbox = Inbox()
    inbox.add([batch(ONE, number, 1) for number in range(1, 100)])
    taken(inbox, 1)

    inbox.add([batch(OTHER, 1, 1)])

    assert batch(OTHER, 1, 1) in taken(inbox, 2)


def test_its_size_is_that_of_what_has_not_been_taken_whole() -> None:
    inbox = Inbox()
    inbox.add([batch(ONE, 1, 2 * PIECE), batch(OTHER, 1, 1)])
    assert inbox.size == 20 * PIECE + 10

    taken(inbox, 2)
    assert inbox.size == 20 * PIECE

    taken(inbox)
    assert inbox.size == 0


def test_what_a_dead_front_has_sent_is_forgotten_and_counted() -> None:
    inbox = Inbox()
    inbox.add([batch(ONE, 1, 2 * PIECE), batch(OTHER, 1, 1), batch(ONE, 2, 1)])
    taken(inbox, 1)

    assert inbox.forget(ONE) == 2
    assert inbox.forget(ONE) == 0

    assert taken(inbox) == [batch(OTHER, 1, 1)]
    assert inbox.size == 0


ACK = Acked("bob", ["M1"], 2, "alice", False, "bob", False, 1000)
LARGE_ACK = Acked("bob", ["M1"] * MOST_RIDERS, 2, "alice", False, "bob", False, 1000)
FEW = AckedByMany("M1", 2, "alice", "hike", ["bob", "carol"], [1000, -1])
MANY = AckedByMany("M1", 2, "alice", "hike", ["bob"] * MOST_RIDERS, [1000] * MOST_RIDERS)
RECEIPT = plain.durable(7, Receipt("alice", "", "M1", "bob", 2, 1000))
COPY = plain.durable(8, GroupCopy("alice", "hike", "M1", 1000, ["bob"], b"frame"))


@pytest.mark.parametrize(
    ("items", "haste"),
    [
        ([], Haste.NONE),
        ([plain.confirmed(1, 5), plain.confirmed(2, 6)], Haste.NONE),
        ([plain.confirmed(1, 5), ACK, RECEIPT], Haste.RIDES),
        ([ACK] * MOST_RIDERS, Haste.NOW),
        ([LARGE_ACK], Haste.NOW),
        ([FEW, ACK], Haste.RIDES),
        ([MANY], Haste.NOW),
        ([FEW] * (MOST_RIDERS // 2), Haste.NOW),
        ([ACK, COPY], Haste.NOW),
        ([plain.confirmed(1, 5), CloseSession(1)], Haste.NOW),
    ],
)
def test_only_confirmations_can_wait_and_a_few_acks_and_receipts_ride(
    items: list[ToWorker], haste: Haste
) -> None:
    received = Received(ONE, None, items)

    assert received.haste(rides=True) is haste
    assert received.haste(rides=False) is (Haste.NOW if haste else Haste.NONE)


SENDERS = [(ONE, None), (OTHER, None), (b"worker-1-2", 1), (b"", 1)]
TURNS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(SENDERS), st.integers(0, 3 * PIECE)), max_size=4),
        st.integers(0, 6),
    ),
    max_size=8,
)


@given(TURNS)
def test_everything_is_taken_once_and_in_its_senders_order(
    turns: list[tuple[list[tuple[tuple[bytes, int | None], int]], int]],
) -> None:
    inbox = Inbox()
    added: list[Received] = []
    found: list[Received] = []
    for received, pieces in turns:
        new = [
            batch(origin, len(added) + at, count, peer=peer)
            for at, ((origin, peer), count) in enumerate(received)
        ]
        added += new
        inbox.add(new)
        found += taken(inbox, pieces)
        found += taken(inbox)

    assert inbox.size == 0
    for origin, peer in SENDERS:
        mine = [each for each in found if (each.origin, each.peer) == (origin, peer)]
        sent = [each for each in added if (each.origin, each.peer) == (origin, peer)]
        assert list(chain.from_iterable(each.items for each in mine)) == list(
            chain.from_iterable(each.items for each in sent)
        )
        assert [each.number for each in mine if each.ends] == [each.number for each in sent]
        assert all(len(each.items) <= PIECE for each in mine)
