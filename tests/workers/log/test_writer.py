"""The writer of a log: numbers, fences, what it does where it does not know."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.errors import Fenced, LogLostData
from workers.log.record import Claimed, Kind, decode, encode, encode_claimed
from workers.log.writer import (
    ASK_AGAIN_S,
    LOST_AFTER_S,
    NOTHING,
    PATIENCE_S,
    PAUSE_S,
    Ask,
    Found,
    Publish,
    Step,
    Writer,
    look_at,
)

EPOCH = 10
EPOCH_DATA = encode(Kind.EPOCH, 3, encode_claimed(Claimed("a", 1, "anna", "tcp://")))
OTHERS = encode(Kind.EPOCH, EPOCH, encode_claimed(Claimed("b", 1, "bert", "tcp://")))


def data(body: bytes, window: int = 1) -> bytes:
    return encode(Kind.DATA, EPOCH, body, window)


def found(number: int, record: bytes) -> Found:
    return look_at(number, record)


@pytest.fixture
def writer() -> Writer:
    return Writer(EPOCH, EPOCH_DATA)


def test_a_record_is_published_for_the_number_behind_the_last(writer: Writer) -> None:
    assert writer.append(b"one", 0.0) == [Publish(10, data(b"one"))]
    assert (writer.committed, writer.last_number, writer.has_room) == (10, 11, False)

    assert writer.acked(11, 0.1) == []
    assert (writer.committed, writer.has_room, writer.wakes_s) == (11, True, None)
    assert writer.append(b"two", 0.2) == [Publish(11, data(b"two"))]


def test_a_range_is_handed_on_by_a_record_like_any(writer: Writer) -> None:
    (step,) = writer.append(b"to b", 0.0, Kind.HANDED)

    assert isinstance(step, Publish)
    assert decode(step.data).kind is Kind.HANDED


def test_acks_commit_in_order_however_they_come() -> None:
    writer = Writer(EPOCH, EPOCH_DATA, in_flight=3)
    for body in (b"one", b"two", b"three"):
        writer.append(body, 0.0)
    assert not writer.has_room

    committed = []
    for number in (12, 13, 12, 11, 11):
        writer.acked(number, 0.1)
        committed.append(writer.committed)

    assert committed == [10, 10, 10, 13, 13]


def test_what_is_not_answered_in_time_is_looked_for(writer: Writer) -> None:
    writer.append(b"one", 5.0)
    assert writer.wakes_s == 5.0 + PATIENCE_S
    assert writer.woken(5.0 + PATIENCE_S - 0.01) == []

    assert writer.woken(5.0 + PATIENCE_S) == [Ask()]


def test_where_nobody_leads_the_log_a_writer_asks_again_at_once(writer: Writer) -> None:
    writer.append(b"one", 5.0)
    assert writer.refused(11, 5.0) == [Ask()]

    writer.unanswered(5.0)

    assert writer.woken(5.0 + ASK_AGAIN_S) == [Ask()]
    assert writer.found(found(10, EPOCH_DATA), 5.1) == [Publish(10, data(b"one"))]


def test_whoever_is_elected_while_nobody_answers_is_asked_and_gets_the_record_at_once(
    writer: Writer,
) -> None:
    """However long that takes, and though the record was sent in vain before."""
    writer.append(b"one", 0.0)
    writer.refused(11, 0.0)
    assert writer.found(found(10, EPOCH_DATA), 0.0) == [Publish(10, data(b"one"))]
    now_s = PATIENCE_S
    assert writer.woken(now_s) == [Ask()]
    for _ in range(80):
        now_s += ASK_AGAIN_S
        assert writer.woken(now_s)[0] == Ask()

    assert writer.found(found(10, EPOCH_DATA), now_s) == [Publish(10, data(b"one"))]


def test_where_nobody_answers_for_long_a_record_goes_by_whoever_takes_it(writer: Writer) -> None:
    """Who leads a log takes records also while the engines have nobody to lead them all."""
    writer.append(b"one", 0.0)
    assert writer.refused(11, 0.0) == [Ask()]
    now_s = 0.0
    while now_s < PATIENCE_S - ASK_AGAIN_S / 2:
        now_s += ASK_AGAIN_S
        writer.unanswered(now_s)
    steps = writer.woken(now_s + ASK_AGAIN_S)
    assert steps == [Ask(), Publish(10, data(b"one"))]

    assert writer.acked(11, now_s + ASK_AGAIN_S) == []
    assert (writer.committed, writer.wakes_s) == (11, None)
    assert writer.append(b"two", now_s + 1) == [Publish(11, data(b"two"))]
    assert writer.found(found(10, EPOCH_DATA), now_s + 1) == [], "it is asked no more"


def test_while_nobody_answers_a_record_is_sent_again_now_and_then(writer: Writer) -> None:
    writer.append(b"one", 0.0)
    writer.refused(11, 0.0)

    sent_s = []
    for tick in range(1, 90):
        now_s = tick * ASK_AGAIN_S
        writer.unanswered(now_s - ASK_AGAIN_S)
        steps = writer.woken(now_s)
        assert steps[:1] == [Ask()]
        sent_s += [now_s] * steps.count(Publish(10, data(b"one")))

    assert 7 <= len(sent_s) <= 9, sent_s


def test_the_ack_of_one_record_has_the_rest_sent_again() -> None:
    writer = Writer(EPOCH, EPOCH_DATA, in_flight=3)
    for body in (b"one", b"two"):
        writer.append(body, 0.0)
    writer.refused(11, 0.0)
    assert writer.woken(PATIENCE_S) == [Ask(), Publish(10, data(b"one", 3))]

    assert writer.acked(11, PATIENCE_S) == [Publish(11, data(b"two", 3))]
    assert writer.refused(12, PATIENCE_S) == [Ask()]


def test_a_writer_of_which_nothing_waits_asks_no_sooner(writer: Writer) -> None:
    assert writer.suspect(5.0) == [Ask()]

    writer.unanswered(5.0)

    assert writer.woken(5.0 + PATIENCE_S - 0.01) == []


def test_what_the_log_has_is_committed_and_what_it_lacks_is_sent_again() -> None:
    writer = Writer(EPOCH, EPOCH_DATA, in_flight=4)
    bodies = [b"one", b"two", b"three", b"four"]
    for body in bodies:
        writer.append(body, 0.0)
    assert writer.refused(13, 0.1) == [Ask()]
    assert writer.refused(14, 0.1) == [], "it looks already"

    assert writer.found(found(12, data(b"two", 4)), 0.2) == [Ask(11)]
    assert writer.found(found(11, data(b"one", 4)), 0.2) == [Ask(12)]
    steps = writer.found(found(12, data(b"two", 4)), 0.2)

    assert steps == [Publish(12, data(b"three", 4)), Publish(13, data(b"four", 4))]
    assert writer.committed == 12


def test_what_is_refused_though_the_log_lacks_it_is_sent_again_after_a_pause(
    writer: Writer,
) -> None:
    """A leader without a majority counts records that it has not committed."""
    writer.append(b"one", 0.0)

    assert writer.refused(11, 0.0) == [Ask()]
    assert writer.found(found(10, EPOCH_DATA), 0.0) == [Publish(10, data(b"one"))], "once"
    for round_ in range(400):
        now_s = float(round_)
        assert writer.refused(11, now_s) == [Ask()]
        assert writer.found(found(10, EPOCH_DATA), now_s) == []
        assert writer.wakes_s == now_s + PAUSE_S
        assert writer.woken(now_s + PAUSE_S) == [Publish(10, data(b"one"))]

    writer.acked(11, 500.0)
    assert writer.committed == 11


def test_an_ack_that_comes_late_counts_whatever_the_writer_does_meanwhile(writer: Writer) -> None:
    writer.append(b"one", 0.0)
    writer.woken(PATIENCE_S)
    writer.acked(11, 1.1)
    assert writer.committed == 11

    assert writer.found(found(11, data(b"one")), 1.2) == []
    assert writer.append(b"two", 1.3) == [Publish(11, data(b"two"))]


def test_the_refusal_of_a_record_that_is_committed_means_nothing(writer: Writer) -> None:
    writer.append(b"one", 0.0)
    writer.acked(11, 0.1)

    assert writer.refused(11, 0.2) == []


def test_anothers_epoch_ends_it_wherever_it_is_found() -> None:
    writer = Writer(EPOCH, EPOCH_DATA, in_flight=2)
    writer.append(b"one", 0.0)
    writer.append(b"two", 0.0)
    writer.acked(12, 0.1)
    assert writer.committed == 10, "the one before it is not acked"
    writer.refused(11, 0.1)

    assert writer.found(found(12, data(b"two", 2)), 0.2) == [Ask(11)]
    with pytest.raises(Fenced) as raised:
        writer.found(found(11, OTHERS), 0.3)
    assert (raised.value.epoch, writer.committed) == (11, 10)


def test_who_has_slept_finds_that_it_is_fenced(writer: Writer) -> None:
    assert writer.suspect(100.0) == [Ask()]
    with pytest.raises(Fenced):
        writer.found(found(11, OTHERS), 100.1)


def test_who_finds_all_as_it_was_goes_on(writer: Writer) -> None:
    assert writer.suspect(100.0) == [Ask()]
    assert writer.suspect(100.0) == []
    assert writer.found(found(10, EPOCH_DATA), 100.1) == []

    assert writer.wakes_s is None
    assert writer.append(b"one", 100.2) == [Publish(10, data(b"one"))]


def test_what_is_appended_while_it_looks_is_sent_behind_that(writer: Writer) -> None:
    writer.suspect(0.0)
    assert writer.append(b"one", 0.1) == []

    assert writer.found(found(10, EPOCH_DATA), 0.2) == [Publish(10, data(b"one"))]


def test_a_log_that_ends_before_what_it_acked_has_lost_data_if_it_stays_so(
    writer: Writer,
) -> None:
    """A former leader may say so for a while, and nothing is lost."""
    now_s = 0.0
    writer.append(b"one", now_s)
    writer.acked(11, now_s)
    writer.suspect(now_s)
    while now_s < LOST_AFTER_S - 1:
        assert writer.found(found(10, EPOCH_DATA), now_s) == []
        now_s += PAUSE_S
        assert writer.woken(now_s) == [Ask()]
    writer.append(b"two", now_s)
    writer.found(found(10, EPOCH_DATA), LOST_AFTER_S - 0.1)
    assert writer.woken(LOST_AFTER_S + PAUSE_S) == [Ask()], "it sends nothing meanwhile"

    with pytest.raises(LogLostData) as raised:
        writer.found(found(10, EPOCH_DATA), LOST_AFTER_S + PAUSE_S)
    assert (raised.value.acked, raised.value.found) == (11, 10)


@pytest.mark.parametrize("breaks", ["an ack", "a timeout", "a connection", "an answer"])
def test_a_log_that_was_short_and_then_not_heard_of_is_not_taken_for_lost(
    writer: Writer, breaks: str
) -> None:
    writer.append(b"one", 0.0)
    writer.acked(11, 0.0)
    writer.append(b"two", 0.0)
    writer.refused(12, 0.0)
    writer.found(found(10, EPOCH_DATA), 0.0)
    writer.woken(PAUSE_S)
    match breaks:
        case "an ack":
            writer.acked(12, 1.0)
        case "a timeout":
            assert writer.woken(PAUSE_S + PATIENCE_S)[0] == Ask()
        case "a connection":
            writer.connection_lost()
            writer.connected(2.0)
        case "an answer":
            writer.found(found(11, data(b"one")), 1.0)
            writer.woken(2.0)
            writer.refused(12, 2.0)

    writer.found(found(10, EPOCH_DATA), LOST_AFTER_S + 10)


@pytest.mark.parametrize(
    "record",
    [
        found(11, encode(Kind.DATA, EPOCH, b"other")),
        found(11, encode(Kind.DATA, EPOCH - 1, b"one")),
        found(10, encode(Kind.DATA, EPOCH, b"other")),
        found(12, data(b"two")),
    ],
)
def test_a_log_that_has_what_nobody_can_have_written_there_ends_it(
    writer: Writer, record: Found
) -> None:
    writer.append(b"one", 0.0)
    writer.refused(11, 0.0)

    def look() -> None:
        for step in writer.found(record, 0.1):
            assert step == Ask(11)
            writer.found(found(11, data(b"one")), 0.1)
            writer.found(record, 0.2)

    with pytest.raises(LogLostData):
        look()


def test_an_ack_for_a_number_that_was_never_given_is_looked_into(writer: Writer) -> None:
    writer.append(b"one", 0.0)

    assert writer.acked(12, 0.1) == [Ask()]
    assert writer.committed == 10


def test_a_leader_that_lacks_what_it_had_is_asked_again(writer: Writer) -> None:
    writer = Writer(EPOCH, EPOCH_DATA, in_flight=2)
    writer.append(b"one", 0.0)
    writer.append(b"two", 0.0)
    writer.refused(12, 0.0)
    assert writer.found(found(12, data(b"two", 2)), 0.1) == [Ask(11)]

    assert writer.found(NOTHING, 0.2) == []
    assert len(writer.woken(0.2 + PAUSE_S)) == 2


def test_without_a_connection_nothing_is_sent_and_behind_it_the_log_is_looked_at(
    writer: Writer,
) -> None:
    writer.append(b"one", 0.0)
    writer.connection_lost()
    assert writer.wakes_s is None
    assert writer.woken(100.0) == []
    assert writer.suspect(100.0) == []

    assert writer.connected(101.0) == [Ask()]
    writer.found(found(11, data(b"one")), 101.1)
    assert writer.committed == 11

    writer.connection_lost()
    assert writer.append(b"two", 102.0) == []
    writer.connected(103.0)
    assert writer.found(found(11, data(b"one")), 103.1) == [Publish(11, data(b"two"))]


def test_engines_that_let_it_in_and_end_the_connection_get_a_record_after_a_pause(
    writer: Writer,
) -> None:
    writer.append(b"one", 0.0)
    for now_s in (1.0, 2.0, 3.0):
        writer.connection_lost()
        assert writer.connected(now_s) == [Ask()]
        sent = writer.found(found(10, EPOCH_DATA), now_s)
        assert bool(sent) == (now_s == 1.0)
        if not sent:
            assert writer.woken(now_s + PAUSE_S) == [Publish(10, data(b"one"))]


def test_an_answer_to_what_was_not_asked_means_nothing(writer: Writer) -> None:
    assert writer.found(found(9, data(b"old")), 0.0) == []
    assert writer.committed == 10


# ---------------------------------------------------------------------------- against a real model


class Engine(RuleBasedStateMachine):
    """One writer, and a stream with three replicas that is led by one who may lose the majority.

    A publish waits on its way for as long as it likes, is lost, or comes to the leader, which
    proposes it if the number is right, counting what it has proposed before. A majority commits
    proposals in order, or a new leader forgets them. Acks and refusals are late, lost, repeated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.stored: list[bytes] = [b""] * (EPOCH - 1) + [EPOCH_DATA]
        self.proposed: list[bytes] = []
        self.on_the_way: list[Publish] = []
        self.answers: list[tuple[bool, int]] = []
        self.asked: list[Ask] = []
        self.bodies: list[bytes] = []
        self.is_fenced = False
        self.is_connected = True
        self.writer = Writer(EPOCH, EPOCH_DATA, in_flight=3)

    def do(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, Publish):
                self.on_the_way.append(step)
            else:
                self.asked = [*self.asked, step]

    @precondition(lambda self: not self.is_fenced and self.writer.has_room)
    @rule()
    def append(self) -> None:
        body = b"%d" % len(self.bodies)
        self.bodies.append(body)
        self.do(self.writer.append(body, self.now_s))

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        # TCP keeps the order of what is sent; but what a server held before may come any time.
        publish = self.on_the_way.pop(data.draw(st.integers(0, len(self.on_the_way) - 1)))
        if publish.expected == len(self.stored) + len(self.proposed):
            self.proposed.append(publish.data)
        else:
            self.answers.append((False, publish.number))

    @precondition(lambda self: self.proposed)
    @rule()
    def commit(self) -> None:
        self.stored.append(self.proposed.pop(0))
        self.answers.append((True, len(self.stored)))

    @rule()
    def forget_proposals(self) -> None:
        self.proposed.clear()

    @precondition(lambda self: self.on_the_way or self.answers)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        which: list[object] = data.draw(
            st.sampled_from([each for each in (self.on_the_way, self.answers) if each])
        )
        which.pop(data.draw(st.integers(0, len(which) - 1)))

    @precondition(lambda self: self.answers and not self.is_fenced and self.is_connected)
    @rule(data=st.data(), repeats=st.booleans())
    def answer(self, data: st.DataObject, repeats: bool) -> None:
        index = data.draw(st.integers(0, len(self.answers) - 1))
        is_ack, number = self.answers[index]
        if not repeats:
            del self.answers[index]
        if is_ack and self.epoch_at(number) != EPOCH:
            return  # it went to whose it is
        act = self.writer.acked if is_ack else self.writer.refused
        self.do(act(number, self.now_s))

    def epoch_at(self, number: int) -> int:
        return look_at(number, self.stored[number - 1]).epoch

    @precondition(lambda self: self.asked and not self.is_fenced and self.is_connected)
    @rule(data=st.data())
    def answer_ask(self, data: st.DataObject) -> None:
        asked = self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1)))
        behind = data.draw(st.integers(0, 2))  # who answers may have been leader before
        last = max(EPOCH, len(self.stored) - behind)
        number = asked.number or last
        record = found(number, self.stored[number - 1]) if number <= last else NOTHING
        try:
            self.do(self.writer.found(record, self.now_s))
        except Fenced as error:
            self.is_fenced = self.epoch_at(error.epoch) == error.epoch > EPOCH
            if not self.is_fenced:
                raise

    @rule()
    def time_passes(self) -> None:
        self.now_s += 0.3
        if not self.is_fenced:
            self.do(self.writer.woken(self.now_s))

    @precondition(lambda self: self.is_connected and not self.is_fenced)
    @rule()
    def disconnect(self) -> None:
        self.is_connected = False
        self.answers.clear()
        self.asked.clear()
        self.writer.connection_lost()

    @precondition(lambda self: not self.is_connected and not self.is_fenced)
    @rule()
    def reconnect(self) -> None:
        self.is_connected = True
        self.do(self.writer.connected(self.now_s))

    @rule()
    def another_claims(self) -> None:
        if not self.proposed and len(self.stored) > EPOCH + 3:
            self.stored.append(OTHERS)

    @invariant()
    def what_is_committed_is_stored_in_order_and_once(self) -> None:
        ours = self.writer.committed - EPOCH
        mine = [
            body
            for number, body in enumerate(map(body_of, self.stored[EPOCH:]), start=EPOCH + 1)
            if self.epoch_at(number) == EPOCH
        ]
        assert mine[:ours] == self.bodies[:ours]
        assert len(mine) == len(set(mine))
        assert [body_of(each) for each in self.stored[EPOCH : EPOCH + ours]] == self.bodies[:ours]

    def teardown(self) -> None:
        """Behind all trouble everything is committed, or the writer knows that it is fenced."""
        if not self.is_connected and not self.is_fenced:
            self.reconnect()
        for _ in range(60):
            if self.is_fenced or self.writer.committed == EPOCH + len(self.bodies):
                return
            self.now_s += 0.3
            try:
                self.do(self.writer.woken(self.now_s))
                while self.on_the_way or self.proposed or self.asked or self.answers:
                    self.settle()
            except Fenced:
                return
        raise AssertionError(f"{self.writer.committed} of {EPOCH + len(self.bodies)}")

    def settle(self) -> None:
        if self.proposed:
            self.commit()
        elif self.on_the_way:
            publish = self.on_the_way.pop(0)
            if publish.expected == len(self.stored):
                self.proposed.append(publish.data)
            else:
                self.answers.append((False, publish.number))
        elif self.asked:
            asked = self.asked.pop(0)
            number = asked.number or len(self.stored)
            self.do(self.writer.found(found(number, self.stored[number - 1]), self.now_s))
        else:
            is_ack, number = self.answers.pop(0)
            if not is_ack or self.epoch_at(number) == EPOCH:
                self.do((self.writer.acked if is_ack else self.writer.refused)(number, self.now_s))


def body_of(record: bytes) -> bytes:
    return decode(record).body


TestEngine = Engine.TestCase
TestEngine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
