"""How a standby comes to own its range, and how it finds that it does not."""

from __future__ import annotations

import pytest

from relay.errors import LogLostData
from workers.log.claim import Beaten, CatchUp, Claim, ClaimStep, Won
from workers.log.reader import LogReader
from workers.log.record import Claimed, Kind, decode, encode, encode_claimed
from workers.log.writer import (
    ASK_AGAIN_S,
    LOST_AFTER_S,
    PATIENCE_S,
    PAUSE_S,
    Ask,
    Publish,
)

ANNA = Claimed("a", 1, "anna", "tcp://10.0.0.1:9100")
BERT = Claimed("b", 1, "bert", "tcp://10.0.0.2:9100")


def epoch(whose: Claimed, over: int, window: int = 1) -> bytes:
    return encode(Kind.EPOCH, over, encode_claimed(whose), window)


def data(epoch: int, window: int = 1) -> bytes:
    return encode(Kind.DATA, epoch, b"body", window)


class Range:
    """A log, and Bert's claim of it, who has applied so much."""

    def __init__(self, *records: bytes, applied: int = 0, in_flight: int = 1) -> None:
        self.log = list(records)
        self.reader = LogReader(0)
        self.read(applied)
        self.claim = Claim(self.reader, BERT, in_flight=in_flight)

    def read(self, up_to: int) -> None:
        for number in range(self.reader.number + 1, up_to + 1):
            self.reader.take(number, self.log[number - 1])

    def follow(self, now_s: float = 0.0) -> list[ClaimStep]:
        self.read(len(self.log))
        return self.claim.followed(now_s)

    def store(self, publish: ClaimStep) -> None:
        assert isinstance(publish, Publish)
        assert publish.expected == len(self.log)
        self.log.append(publish.data)


def test_a_range_that_nobody_has_ever_owned_is_claimed_by_its_first_record() -> None:
    range_ = Range()
    assert range_.claim.begin(0.0) == [Ask()]
    (publish,) = range_.claim.found(0, 0.0)
    assert publish == Publish(0, epoch(BERT, 0))

    range_.store(publish)
    assert range_.claim.acked(1, 0.1) == [CatchUp(1)]
    assert range_.follow() == [Won(1, epoch(BERT, 0))]
    assert range_.claim.wakes_s is None


def test_all_that_is_in_the_log_is_applied_before_the_range_is_claimed() -> None:
    range_ = Range(epoch(ANNA, 0), data(1), data(1), applied=1)
    range_.claim.begin(0.0)
    assert range_.claim.found(3, 0.0) == [CatchUp(3)]
    range_.read(2)
    assert range_.claim.followed(0.0) == [CatchUp(3)]

    (publish,) = range_.follow()
    assert publish == Publish(3, epoch(BERT, 1))
    range_.store(publish)
    assert range_.follow() == [Won(4, epoch(BERT, 1))], "its tail shows it before the ack does"
    assert range_.claim.acked(4, 0.0) == []


def test_what_the_old_owner_wrote_last_is_applied_before_the_next_try() -> None:
    range_ = Range(epoch(ANNA, 0), applied=1)
    range_.claim.begin(0.0)
    range_.claim.found(1, 0.0)
    range_.log.append(data(1))

    assert range_.claim.refused(2, 0.0) == [Ask()]
    assert range_.claim.found(2, 0.0) == [CatchUp(2)]
    (publish,) = range_.follow()
    assert publish == Publish(2, epoch(BERT, 1))


def test_what_is_refused_though_nothing_has_come_is_tried_again_after_a_pause() -> None:
    range_ = Range(epoch(ANNA, 0), applied=1)
    range_.claim.begin(0.0)
    (publish,) = range_.claim.found(1, 0.0)
    now_s = 0.0
    for _ in range(400):
        assert range_.claim.refused(2, now_s) == [Ask()]
        assert range_.claim.found(1, now_s) == []
        now_s += PAUSE_S
        assert range_.claim.woken(now_s - 0.01) == []
        assert range_.claim.woken(now_s) == [Ask()]
        assert range_.claim.found(1, now_s) == [publish]


def test_where_nobody_leads_the_log_a_claim_asks_again_at_once() -> None:
    range_ = Range(epoch(ANNA, 0), applied=1)
    assert range_.claim.begin(0.0) == [Ask()]

    range_.claim.unanswered(0.0)

    assert range_.claim.woken(ASK_AGAIN_S) == [Ask()]


def test_whoever_is_elected_while_nobody_answers_is_asked_and_gets_the_epoch_record_at_once() -> (
    None
):
    range_ = Range(epoch(ANNA, 0), applied=1)
    range_.claim.begin(0.0)
    (publish,) = range_.claim.found(1, 0.0)
    assert range_.claim.refused(2, 0.0) == [Ask()]
    now_s = 0.0
    for _ in range(80):
        now_s += ASK_AGAIN_S
        assert range_.claim.woken(now_s) == [Ask()]

    assert range_.claim.found(1, now_s) == [publish]


def test_what_is_not_answered_is_sent_again_as_it_was_and_stored_once() -> None:
    range_ = Range(epoch(ANNA, 0), applied=1)
    range_.claim.begin(0.0)
    assert range_.claim.woken(PATIENCE_S) == [Ask()]
    (publish,) = range_.claim.found(1, 1.0)
    assert range_.claim.woken(1.0 + PATIENCE_S) == [Ask()]
    assert range_.claim.found(1, 2.0) == [publish]

    range_.store(publish)  # the first, late
    assert range_.claim.refused(2, 3.0) == [Ask()]  # the second
    assert range_.claim.found(2, 3.0) == [CatchUp(2)]
    assert range_.follow() == [Won(2, epoch(BERT, 1))]


def test_who_finds_a_newer_owner_stays_a_standby() -> None:
    range_ = Range(epoch(ANNA, 0), applied=1)
    range_.claim.begin(0.0)
    range_.claim.found(1, 0.0)
    carl = Claimed("c", 1, "carl", "tcp://")
    range_.log += [epoch(carl, 1), data(2)]

    assert range_.follow() == [Beaten(2)]
    assert range_.claim.refused(2, 0.1) == []
    assert range_.claim.begin(0.2) == []
    assert range_.claim.woken(100.0) == []


def test_a_claim_that_was_given_up_and_came_true_late_is_ended_by_the_next() -> None:
    range_ = Range(epoch(ANNA, 0), applied=1)
    range_.claim.begin(0.0)
    (late,) = range_.claim.found(1, 0.0)
    range_.store(late)
    range_.read(2)
    again = Claim(range_.reader, BERT)
    again.begin(10.0)
    (publish,) = again.found(2, 10.0)

    assert publish == Publish(2, epoch(BERT, 2))
    range_.store(publish)
    range_.read(3)
    assert again.followed(10.0) == [Won(3, epoch(BERT, 2))]


def test_no_record_of_the_old_owner_can_come_behind_the_epoch_that_counts() -> None:
    range_ = Range(epoch(ANNA, 0, 3), data(1, 3), applied=2, in_flight=2)
    range_.claim.begin(0.0)
    (publish,) = range_.claim.found(2, 0.0)
    range_.store(publish)
    # Of Anna's three records on their way the first is refused, and the second comes behind.
    range_.log.append(data(1, 3))
    (publish,) = range_.follow()
    assert publish == Publish(4, epoch(BERT, 3, 2))
    range_.store(publish)

    assert range_.follow() == [Won(5, epoch(BERT, 3, 2))], "2 + 3: hers are numbered no higher"
    assert decode(range_.log[-1]).window == 2


def test_a_log_that_ends_before_what_is_applied_has_lost_data_if_it_stays_so() -> None:
    range_ = Range(epoch(ANNA, 0), data(1), applied=2)
    range_.claim.begin(0.0)
    now_s = 0.0
    while now_s < LOST_AFTER_S:
        assert range_.claim.found(1, now_s) == []
        now_s += PAUSE_S
        assert range_.claim.woken(now_s) == [Ask()]

    with pytest.raises(LogLostData):
        range_.claim.found(1, now_s)


def test_what_was_asked_on_a_connection_that_is_lost_is_asked_again_on_the_next() -> None:
    range_ = Range(epoch(ANNA, 0), applied=1)
    range_.claim.begin(0.0)
    (publish,) = range_.claim.found(1, 0.0)

    assert range_.claim.begin(5.0) == [Ask()]
    assert range_.claim.found(1, 5.1) == [publish]
