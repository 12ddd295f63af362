"""The sends under way, by themselves."""

import math
import time

import pytest

from relay.client.events import Failed, Sent, Waiting
from relay.client.outbox import ClientOutbox

BEN, CARL = "919428284313", "919354513536"
HI = {"conversation": "hi"}


@pytest.fixture
def outbox() -> ClientOutbox:
    """Sends A, B and C to Ben, of which B is the longest."""
    outbox = ClientOutbox(limit=4)
    for message_id, frame in (("A", "frame a"), ("B", "a longer frame b"), ("C", "frame c")):
        outbox.add(message_id, BEN, HI, frame)
    return outbox


def written(outbox: ClientOutbox, *, up: float = 0.0) -> list[str]:
    frames = []
    while (frame := outbox.next_frame(up=up)) is not None:
        frames.append(frame)
        outbox.written()
    return frames


def test_frames_are_written_once_in_order(outbox: ClientOutbox) -> None:
    assert outbox.next_frame(up=0) == outbox.next_frame(up=0) == "frame a"
    assert written(outbox) == ["frame a", "a longer frame b", "frame c"]
    assert written(outbox) == []
    assert len(outbox) == 3


def test_starting_again_writes_what_is_not_answered(outbox: ClientOutbox) -> None:
    written(outbox)
    outbox.accept("B", BEN, t=1)

    outbox.start_again()

    assert written(outbox) == ["frame a", "frame c"]


def test_what_is_answered_before_it_was_written_is_not_written(outbox: ClientOutbox) -> None:
    outbox.accept("A", BEN, t=1)
    outbox.fail("B", 404, "unknown group")

    assert written(outbox) == ["frame c"]


def test_ack_1_ends_a_send_to_that_chat_once(outbox: ClientOutbox) -> None:
    assert outbox.accept("A", CARL, t=7) is None
    assert "A" in outbox
    assert outbox.accept("A", BEN, t=7) == Sent("A", BEN, 7)
    assert "A" not in outbox
    assert outbox.accept("A", BEN, t=7) is None


def test_a_failure_ends_a_send_with_its_reason(outbox: ClientOutbox) -> None:
    assert outbox.fail("A", 429, "slow down", 2.5) == Failed("A", BEN, 429, "slow down", 2.5)
    assert "A" not in outbox


def test_the_largest_frame_is_given_up_first(outbox: ClientOutbox) -> None:
    failed = [outbox.fail_largest(413, "too big") for _ in range(4)]

    assert [each and each.id for each in failed] == ["B", "A", "C", None]


def test_there_is_room_up_to_the_limit(outbox: ClientOutbox) -> None:
    assert outbox.has_room
    outbox.add("D", BEN, HI, "frame d")
    assert not outbox.has_room
    outbox.fail("A", 404, "unknown group")
    assert outbox.has_room


def test_a_repeat_is_the_same_message_to_the_same_chat(outbox: ClientOutbox) -> None:
    assert outbox.repeats("A", BEN, dict(HI))
    assert not outbox.repeats("D", BEN, HI)
    for chat, message in ((CARL, HI), (BEN, {"conversation": "ho"})):
        with pytest.raises(ValueError, match="the id A is under way with another message"):
            outbox.repeats("A", chat, message)


def test_a_chat_that_is_held_keeps_its_order_and_no_other_waits_for_it(
    outbox: ClientOutbox,
) -> None:
    assert outbox.next_frame(up=0) == "frame a"
    outbox.written()
    outbox.add("D", CARL, HI, "frame d")

    outbox.delay("A", until=5.0)
    outbox.add("E", BEN, HI, "frame e")

    assert outbox.due_at == 5.0
    assert written(outbox, up=4.9) == ["frame d"]
    assert written(outbox, up=5.0) == ["frame a", "a longer frame b", "frame c", "frame e"]
    assert outbox.due_at == math.inf


def test_two_delays_of_a_chat_are_the_longer_one(outbox: ClientOutbox) -> None:
    written(outbox)

    outbox.delay("B", until=7.0)
    outbox.delay("A", until=5.0)
    outbox.delay("A", until=6.0)

    assert outbox.tries_of("A") == 2
    assert written(outbox, up=6.9) == []
    assert written(outbox, up=7.0) == ["frame a", "a longer frame b"]


def test_a_flood_that_is_refused_costs_little() -> None:
    outbox = ClientOutbox(limit=10_000)
    for number in range(10_000):
        outbox.add(f"{number}", BEN, HI, f"{number}")
    written(outbox)

    began = time.process_time()
    for number in reversed(range(10_000)):
        outbox.delay(f"{number}", until=5.0)

    # Half a second where each is looked for among all.
    assert time.process_time() - began < 0.3
    assert written(outbox, up=5.0) == [f"{number}" for number in range(10_000)]


def test_a_flood_to_many_chats_that_is_refused_costs_little() -> None:
    outbox = ClientOutbox(limit=10_000)
    for number in range(10_000):
        outbox.add(f"{number}", f"{number}", HI, f"{number}")
    written(outbox)

    began = time.process_time()
    for number in range(10_000):
        outbox.delay(f"{number}", until=5.0 + number)
        assert outbox.next_frame(up=1.0) is None

    # Ten seconds where all chats that wait are looked at each time.
    assert time.process_time() - began < 1
    assert outbox.due_at == 5.0
    assert written(outbox, up=5.0) == ["0"]
    assert outbox.due_at == 6.0


def test_what_is_answered_while_it_waits_is_not_written_again(outbox: ClientOutbox) -> None:
    written(outbox)
    outbox.delay("A", until=5.0)
    outbox.delay("B", until=5.0)

    outbox.accept("A", BEN, t=7)

    assert written(outbox, up=5.0) == ["a longer frame b"]


def test_a_new_connection_is_told_all_at_once(outbox: ClientOutbox) -> None:
    written(outbox)
    outbox.delay("B", until=5.0)

    outbox.start_again()

    assert written(outbox) == ["frame a", "a longer frame b", "frame c"]
    assert written(outbox, up=5.0) == []


def test_what_waits_is_told_oldest_first(outbox: ClientOutbox) -> None:
    outbox.accept("A", BEN, t=7)

    assert outbox.waiting == [Waiting("B", BEN, HI), Waiting("C", BEN, HI)]
