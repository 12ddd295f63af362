"""What is held, left at the relay, or forgotten, where there is too much."""

import pytest

from relay.client.events import Connected, Level, Message, Receipt, Sent
from tests.client.fake_relay import AUTH_OK, ack, message, queue
from tests.client.protocol_harness import BEN, Harness


def test_messages_beyond_the_bound_are_fetched_again_once_the_held_ones_were_taken() -> None:
    harness = Harness(held_messages=2)
    everything = [message(i) for i in "ABCDE"]
    harness.log_in(queue(*everything))
    harness.receive(message("F"))
    assert harness.written() == [], "not before there is room"

    assert harness.taken_ids() == ["A", "B"]
    written = harness.written()
    assert [frame[0] for frame in written] == ["Msg", "Msg", "auth"]

    harness.receive(message("G"), AUTH_OK, queue(*everything[2:], message("F"), message("G")))
    assert harness.taken_ids() == ["C", "D"]
    harness.written()
    harness.receive(AUTH_OK, queue(everything[4], message("F"), message("G")))
    assert harness.taken_ids() == ["E", "F"]
    harness.written()
    harness.receive(AUTH_OK, queue(message("G")))
    assert harness.taken_ids() == ["G"]
    assert [frame[0] for frame in harness.written()] == ["Msg"]


def test_fetching_again_is_neither_a_new_connection_nor_a_reason_to_send_again() -> None:
    harness = Harness(held_messages=1)
    harness.log_in(queue(message("A"), message("B")))
    harness.submit("S")
    assert len(harness.written()) == 1
    harness.take()
    assert [frame[0] for frame in harness.written()] == ["Msg", "auth"]

    assert harness.receive(AUTH_OK) == []
    assert harness.written() == []
    assert harness.receive(ack("S")) == [Sent("S", BEN, 1566970629)]


def test_messages_are_held_up_to_a_number_of_bytes_but_always_one() -> None:
    harness = Harness(held_bytes=1000)
    harness.log_in(queue(message("A", "x" * 5000), message("B")))

    assert harness.taken_ids() == ["A"]
    assert [frame[0] for frame in harness.written()] == ["Msg", "auth"]
    harness.receive(AUTH_OK, queue(message("B"), message("C")))
    assert harness.taken_ids() == ["B", "C"]


@pytest.mark.parametrize("asked_again", [False, True])
def test_a_connection_lost_before_the_rest_was_fetched_is_like_any_other(asked_again: bool) -> None:
    harness = Harness(held_messages=1)
    harness.log_in(queue(message("A"), message("B")))
    harness.submit("S")
    if asked_again:
        harness.take()
        harness.written()
    harness.lose()

    assert Connected() in harness.log_in(queue(message("A"), message("B")))

    assert "action" in [frame[0] for frame in harness.written()]
    assert harness.taken_ids() == (["B"] if asked_again else ["A"])


def test_acks_and_receipts_are_read_however_many_messages_are_held() -> None:
    harness = Harness(held_messages=1)
    harness.log_in(queue(message("A"), message("B"), message("C")))
    harness.submit("S")

    assert harness.receive(ack("S"), ack("S", 2)) == [
        Sent("S", BEN, 1566970629),
        Receipt("S", BEN, BEN, Level.DELIVERED, 1566970629),
    ]


def test_of_other_events_the_newest_are_kept() -> None:
    harness = Harness(held_notices=3)
    harness.log_in(message("M"))

    harness.receive(*(ack(f"{n}", 2) for n in range(5)))

    events = harness.take()
    assert [e.id for e in events if isinstance(e, Receipt)] == ["2", "3", "4"]
    assert [e.id for e in events if isinstance(e, Message)] == ["M"]
    assert harness.protocol.dropped_notices == 3


def test_memory_for_repeats_is_bounded() -> None:
    harness = Harness(remembered=2)
    harness.log_in()
    harness.receive(message("A"), message("B"), message("C"))
    harness.take()
    assert [frame[1]["id"] for frame in harness.written()] == ["B", "C"]

    harness.receive(message("A"), message("C"), *(ack(i, 2) for i in "XYZX"))

    events = harness.take()
    assert [e.id for e in events if isinstance(e, Message)] == ["A"]
    assert [e.id for e in events if isinstance(e, Receipt)] == ["X", "Y", "Z", "X"]
