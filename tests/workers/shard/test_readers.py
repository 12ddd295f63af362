"""Readers: found by connection and by user; how far each has read, and what it waits for."""

from itertools import product

import pytest

from relay.bus.envelopes import LIVE, LOGIN, NO_SEQ, QUEUE, Seq
from tests import plain
from workers.shard.mailbox import Mailbox
from workers.shard.readers import TRANSITIONS, Reader, ReaderEvent, Readers, ReaderState
from workers.store.keys import box_of

FRONT, OTHER_FRONT = b"front-0-1", b"front-1-2"


def reader_of(user: str, *, front: bytes = FRONT, number: int = 1) -> Reader:
    return Reader(front, number, user, Mailbox(box_of(user)))


def test_a_session_is_found_by_its_connection_and_its_user() -> None:
    readers = Readers()
    reader = reader_of("bob")
    readers.add(reader)

    assert readers.of_user("bob") is reader
    assert readers.at(FRONT, 1) is reader
    assert readers.at(FRONT, 2) is None
    assert readers.at(OTHER_FRONT, 1) is None
    assert readers.of_user("alice") is None
    assert len(readers) == 1


def test_a_discarded_session_is_not_found() -> None:
    readers = Readers()
    reader = reader_of("bob")
    readers.add(reader)

    readers.discard(reader)

    assert readers.of_user("bob") is None
    assert readers.at(FRONT, 1) is None
    assert list(readers) == []


def test_a_user_has_one_session() -> None:
    readers = Readers()
    readers.add(reader_of("bob", number=1))

    with pytest.raises(AssertionError, match="one session"):
        readers.add(reader_of("bob", number=2))


def test_numbers_are_those_of_each_front() -> None:
    readers = Readers()
    bob, carol = reader_of("bob"), reader_of("carol", front=OTHER_FRONT)
    readers.add(bob)
    readers.add(carol)

    assert readers.at(FRONT, 1) is bob
    assert readers.at(OTHER_FRONT, 1) is carol
    assert readers.through(OTHER_FRONT) == [carol]
    assert readers.through(b"front-9-9") == []


def test_receipts_that_come_again_await_no_confirmation_before() -> None:
    reader = reader_of("bob")
    reader.sent(Seq(9))
    for seq in (3, 5, 9):
        reader.add_receipt(Seq(seq))

    reader.rewind(Seq(5))

    assert reader.cursor == 5
    assert list(reader.receipts) == [3, 5]


def test_a_pong_confirms_the_receipts_up_to_its_own() -> None:
    reader = reader_of("bob")
    assert list(reader.confirm_receipts(Seq(9), 9)) == []
    for seq in (3, 5, 9):
        reader.add_receipt(Seq(seq))

    assert list(reader.confirm_receipts(Seq(5), 9)) == [3, 5]
    assert list(reader.confirm_receipts(Seq(9), 9)) == [9]
    assert not reader.receipts
    reader.add_receipt(Seq(11))
    assert list(reader.confirm_receipts(Seq(11), 9)) == [11]


def test_receipts_of_an_earlier_incarnation_come_before_later_ones() -> None:
    reader = reader_of("bob")
    reader.sent_before = Seq(5)
    reader.add_receipt(Seq(9))

    reader.recall_receipts([Seq(3), Seq(5)])

    assert list(reader.confirm_receipts(Seq(4), 9)) == [3]
    assert list(reader.confirm_receipts(Seq(9), 9)) == [5, 9]
    assert reader.sent_before == 0


def test_what_an_earlier_incarnation_sent_in_vain_awaits_no_confirmation() -> None:
    reader = reader_of("bob")
    reader.sent_before = Seq(9)

    reader.rewind(Seq(5))
    assert reader.sent_before == 5
    reader.rewind(Seq(7))
    assert reader.sent_before == 5

    reader.forget_receipts()
    assert reader.sent_before == 0


# --------------------------------------------------------------------------------------- states

LEGAL = sorted(TRANSITIONS, key=str)
ILLEGAL = [pair for pair in product(ReaderState, ReaderEvent) if pair not in TRANSITIONS]


def in_state(state: ReaderState) -> Reader:
    """A reader that came to `state` as readers do."""
    reader = reader_of("bob")
    ways = {
        ReaderState.READING: (),
        ReaderState.LIVE: (ReaderEvent.CAUGHT_UP,),
        ReaderState.PAUSED: (ReaderEvent.CAUGHT_UP, ReaderEvent.SLOWED),
        ReaderState.STARVED: (ReaderEvent.HELD_BACK,),
    }
    for event in ways[state]:
        reader.undergo(event)
    assert reader.state is state
    return reader


def named(pair: tuple[ReaderState, ReaderEvent]) -> str:
    return f"{pair[0].name} {pair[1].name}"


@pytest.mark.parametrize("pair", LEGAL, ids=named)
def test_a_reader_changes_as_the_table_says(pair: tuple[ReaderState, ReaderEvent]) -> None:
    state, event = pair
    reader = in_state(state)

    reader.undergo(event)

    assert reader.state is TRANSITIONS[pair]


@pytest.mark.parametrize("pair", ILLEGAL, ids=named)
def test_what_the_table_does_not_have_is_an_error_and_changes_nothing(
    pair: tuple[ReaderState, ReaderEvent],
) -> None:
    state, event = pair
    reader = in_state(state)

    with pytest.raises(AssertionError, match=f"{state.name} was {event.name}"):
        reader.undergo(event)
    assert reader.state is state


def test_the_table_allows_no_more_than_can_happen() -> None:
    """Only a page that is made ends a wait, and only what was held back is given room."""
    assert len(LEGAL) == 17
    assert len(ILLEGAL) == len(ReaderState) * len(ReaderEvent) - 17
    for event, only in (
        (ReaderEvent.CAUGHT_UP, ReaderState.READING),
        (ReaderEvent.PAGED, ReaderState.READING),
        (ReaderEvent.HELD_BACK, ReaderState.READING),
        (ReaderEvent.GIVEN_ROOM, ReaderState.STARVED),
        (ReaderEvent.PASSED_BY, ReaderState.LIVE),
    ):
        assert [state for state, each in LEGAL if each is event] == [only]


@pytest.mark.parametrize("state", ReaderState)
def test_a_slow_client_goes_on_behind_what_was_written_unless_a_page_is_on_its_way(
    state: ReaderState,
) -> None:
    reader = in_state(state)
    reader.sent(Seq(9))

    reader.pause(Seq(5))

    on_its_way = state is ReaderState.READING
    assert reader.cursor == (9 if on_its_way else 5)
    assert reader.state is (ReaderState.READING if on_its_way else ReaderState.PAUSED)


# ---------------------------------------------------------------------------------------- logins


def test_a_login_reads_the_queue_from_the_start_up_to_what_waits_now() -> None:
    reader = in_state(ReaderState.LIVE)
    reader.sent(Seq(7))
    reader.add_receipt(Seq(7))

    reader.open(plain.open_session(1, "bob", LOGIN, 0), last_seq=Seq(9))

    assert (reader.cursor, reader.barrier, reader.pages, list(reader.receipts)) == (0, 9, 0, [])
    assert (reader.state, reader.is_announced) == (ReaderState.READING, False)


@pytest.mark.parametrize(("phase", "barrier"), [(QUEUE, 9), (LIVE, 0)])
def test_an_announced_session_goes_on_behind_its_cursor(phase: int, barrier: int) -> None:
    reader = reader_of("bob")

    reader.open(plain.open_session(1, "bob", phase, 5, asked_ms=77), last_seq=Seq(9))

    assert (reader.cursor, reader.barrier, reader.sent_before) == (5, barrier, 5)
    assert (reader.is_announced, reader.asked_ms) == (True, 77)


def test_a_queue_has_a_barrier_where_nothing_was_ever_stored() -> None:
    reader = reader_of("bob")

    reader.open(plain.open_session(1, "bob", LOGIN, 0), last_seq=NO_SEQ)

    assert reader.barrier == 1
