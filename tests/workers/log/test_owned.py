"""An owner's log over a connection that a test plays: commits, and what comes in their way."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from relay.clock import clock_ms
from relay.cluster.jetstream import Stored
from relay.cluster.natswire import Login, WireLost
from relay.errors import Fenced, NotConfirmed
from workers.log import owned
from workers.log.owned import OwnedLog
from workers.log.parts import Joiner
from workers.log.record import Claimed, Kind, decode, decode_handed, encode, encode_claimed
from workers.log.stream import Acked, Fill, Heard, Last, Refused, Stream
from workers.log.writer import PATIENCE_S, Publish, Writer

EPOCH = 3


def epoch_record(before: int, host: str) -> bytes:
    return encode(Kind.EPOCH, before, encode_claimed(Claimed(host, 1, host, "")))


class PlayedStream(Stream):
    """A log in memory, behind a connection that does what it is told to."""

    def __init__(self) -> None:
        super().__init__((), Login(user="", password="", ca=""), "c", 0, host="a", name="test")
        self.records = [b"", b"", epoch_record(0, "a")]  # that of number 1 first
        self.goes = True  # whether engines let anybody in
        self.up = True
        self.silent = 0  # so many answers are lost, though the records are stored
        self.deaf = 0  # so many publishes are lost
        self.leaderless = 0  # so many questions nobody answers, and publishes are refused till then
        self.is_mute = False  # whether nobody answers questions, though publishes are taken
        self.used: Fill | None = Fill(0, 8000, ("a", "b", "c"))
        self.full: tuple[str, ...] | None = ()  # hosts, None: the agent is silent
        self.breaks = 0  # so many publishes end the connection, once they are stored
        self.unsent = False
        self.end = os.eventfd(0)
        self._answers: deque[Heard] = deque()

    @property
    def is_connected(self) -> bool:
        return self.up

    def connect(self) -> bool:
        self.up = self.goes
        if self.up:
            self.end = os.eventfd(0)
        return self.up

    def fileno(self) -> int:
        return self.end

    @property
    def has_input(self) -> bool:
        return False

    @property
    def has_unsent(self) -> bool:
        return self.unsent

    def lose(self) -> None:
        if self.up:
            os.close(self.end)
        self.up = False
        self._answers.clear()

    def publish(self, step: Publish) -> None:
        if not self.up:
            raise WireLost("gone")
        if self.deaf:
            self.deaf -= 1
            return
        if step.expected != len(self.records) or self.leaderless:
            self._answers.append(Refused(step.number))
            return
        self.records.append(step.data)
        if self.breaks:
            self.breaks -= 1
            raise WireLost("gone")
        if self.silent:
            self.silent -= 1
            return
        self._answers.append(Acked(step.number))

    def receive(self, timeout_s: float) -> list[Heard]:
        if not self.up:
            raise WireLost("gone")
        answers = list(self._answers)
        self._answers.clear()
        return answers

    def ask_last(self) -> None:
        if not self.up:
            raise WireLost("gone")
        if self.leaderless:
            self.leaderless -= 1
            self._answers.append(Last(None))
        elif self.is_mute:
            self._answers.append(Last(None))
        else:
            self._answers.append(Last(Stored(len(self.records), self.records[-1], {})))

    def fill(self) -> Fill | None:
        return self.used

    def hosts_without_room(self) -> tuple[str, ...] | None:
        return self.full

    def read(self, first: int, count: int = 1) -> list[Stored] | None:
        return [
            Stored(number, self.records[number - 1], {})
            for number in range(first, min(first + count, len(self.records) + 1))
        ]


class Clock:
    """Passes when it is looked at."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        self.now_s += 0.01
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(owned, "_now_s", clock)
    return clock


@pytest.fixture
def stream() -> Iterator[PlayedStream]:
    stream = PlayedStream()
    yield stream
    stream.lose()


@pytest.fixture
def log(stream: PlayedStream, clock: Clock) -> Iterator[OwnedLog]:
    log = OwnedLog(stream, Writer(EPOCH, stream.records[-1]))
    log.on_wait = bounded(1000)
    yield log
    log.close()


def commit(log: OwnedLog, number: int, body: bytes) -> int:
    """Append a record, and wait until it is confirmed; return its last number."""
    last = log.append(number, body)
    while log.confirmed < last:
        log.wait()
    return last


def bounded(most: int) -> Callable[[], None]:
    left = iter(range(most))

    def wait() -> None:
        assert next(left, None) is not None, "it waits for ever"

    return wait


def bodies(stream: PlayedStream) -> list[bytes]:
    """Return what was committed behind the epoch record."""
    return [decode(data).body for data in stream.records[EPOCH:]]


def test_a_commit_is_in_the_log_when_it_returns(log: OwnedLog, stream: PlayedStream) -> None:
    commit(log, 4, b"one")
    commit(log, 5, b"two")

    assert bodies(stream) == [b"one", b"two"]
    assert {decode(data).epoch for data in stream.records[EPOCH:]} == {EPOCH}


def test_a_large_record_goes_in_parts_and_has_the_number_of_the_last(
    log: OwnedLog, stream: PlayedStream
) -> None:
    stream.most_bytes = 10

    assert commit(log, 4, b"0123456789") == 4
    assert commit(log, 5, b"0123456789abcdefghi") == 7
    assert commit(log, 8, b"end") == 8

    joiner = Joiner()
    whole = [joiner.take(body) for body in bodies(stream)]
    assert whole == [b"0123456789", b"", b"", b"0123456789abcdefghi", b"end"]


@pytest.mark.parametrize("trouble", ["silent", "deaf", "breaks"])
def test_what_is_lost_on_the_way_is_found_out_and_done(
    log: OwnedLog, stream: PlayedStream, trouble: str
) -> None:
    setattr(stream, trouble, 2)
    commit(log, 4, b"one")
    commit(log, 5, b"two")

    assert bodies(stream) == [b"one", b"two"]


def test_while_engines_let_nobody_in_it_waits_and_asks_whether_it_may(
    log: OwnedLog, stream: PlayedStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    stream.lose()
    stream.goes = False
    waits = 0

    def wait() -> None:
        nonlocal waits
        waits += 1
        stream.goes = waits >= 3

    log.on_wait = wait
    commit(log, 4, b"one")

    assert waits >= 3
    assert bodies(stream) == [b"one"]


def test_who_may_not_wait_on_gets_what_was_raised(log: OwnedLog, stream: PlayedStream) -> None:
    stream.deaf = 1000

    def give_up() -> None:
        raise NotConfirmed("no time")

    log.on_wait = give_up

    with pytest.raises(NotConfirmed):
        commit(log, 4, b"one")


def test_a_commit_behind_another_s_epoch_is_fenced(log: OwnedLog, stream: PlayedStream) -> None:
    stream.records.append(epoch_record(EPOCH, "b"))

    with pytest.raises(Fenced):
        commit(log, 4, b"one")
    assert len(stream.records) == 4


def test_without_work_it_notices_another_s_epoch_after_a_while(
    log: OwnedLog, stream: PlayedStream, clock: Clock
) -> None:
    stream.records.append(epoch_record(EPOCH, "b"))
    log.tick(0)  # it was just confirmed

    clock.now_s += 3
    log.tick(500)
    with pytest.raises(Fenced):
        log.look()  # at the answer


def test_without_work_it_is_looked_after_twice_a_second(log: OwnedLog) -> None:
    log.tick(10_000)

    assert log.due_ms == 10_500


def test_a_lost_connection_is_made_anew_without_work(log: OwnedLog, stream: PlayedStream) -> None:
    stream.lose()

    log.tick(0)

    assert stream.up
    os.eventfd_write(stream.end, 1)
    assert select.select([log.descriptor], [], [], 0)[0], "whoever waits hears the new one"
    commit(log, 4, b"one")
    assert bodies(stream) == [b"one"]


def test_it_says_when_the_log_is_nearly_full_and_when_it_is_no_more(
    log: OwnedLog, stream: PlayedStream, clock: Clock
) -> None:
    stream.used = Fill(7001, 8000)
    log.tick(0)
    assert log.refusal == "the log is full: 7001 bytes used of 8000, 1000 are kept"

    clock.now_s += 6
    stream.used = None  # nobody answers
    log.tick(1000)
    assert log.refusal
    clock.now_s += 6
    stream.used = Fill(7000, 8000)
    log.tick(2000)
    assert log.refusal == ""
    clock.now_s += 6
    stream.used = Fill(7000, -1)  # it may have any size
    log.tick(3000)
    assert log.refusal == ""


def test_it_takes_nothing_that_asks_for_room_when_no_majority_of_its_copies_has_any(
    log: OwnedLog, stream: PlayedStream, clock: Clock
) -> None:
    for full in (("c",), ("c", "x", "y")):
        stream.full = full
        clock.now_s += 6
        log.tick(0)
        assert log.refusal == ""

    stream.full = ("b", "c")
    clock.now_s += 6
    log.tick(0)
    assert log.refusal == "the disks of hosts b and c are full, which have copies of the log"
    commit(log, 4, b"an ack is taken all the same")

    stream.full = None
    clock.now_s += 6
    log.tick(0)
    assert log.refusal, "nobody has said otherwise"

    stream.full = ("b",)
    clock.now_s += 6
    log.tick(0)
    assert log.refusal == ""


def test_the_last_word_is_whose_the_range_is_to_be(log: OwnedLog, stream: PlayedStream) -> None:
    commit(log, 4, b"one")
    log.hand_over(5, "b")

    last = decode(stream.records[-1])
    assert (last.kind, decode_handed(last.body), last.epoch) == (Kind.HANDED, "b", EPOCH)


def test_several_records_are_on_their_way_and_are_confirmed_in_order(
    stream: PlayedStream, clock: Clock
) -> None:
    log = OwnedLog(stream, Writer(EPOCH, stream.records[-1], in_flight=3))
    for number, body in enumerate((b"one", b"two", b"three"), start=4):
        assert log.has_room
        log.append(number, body)
    assert not log.has_room
    assert log.confirmed == EPOCH

    log.look()

    assert (log.confirmed, log.has_room) == (6, True)
    assert bodies(stream) == [b"one", b"two", b"three"]
    log.close()


def test_what_is_on_its_way_is_looked_after_as_long_as_it_is(
    log: OwnedLog, stream: PlayedStream, clock: Clock
) -> None:
    stream.silent = 1
    log.tick(200_000)
    log.append(4, b"one")
    patience_ends_ms = 1000 * (clock.now_s + PATIENCE_S)
    assert abs(log.due_ms - patience_ends_ms) < 50

    stream.lose()
    stream.goes = False
    log.tick(200)
    assert log.due_ms == 300, "it is not long until it tries to connect again"


def test_what_the_socket_has_not_taken_is_tried_again_soon(
    log: OwnedLog, stream: PlayedStream
) -> None:
    log.tick(clock_ms())
    stream.unsent = True

    assert log.due_ms <= clock_ms() + 2


def test_a_commit_amid_a_change_of_the_logs_leader_waits_for_that_alone(
    log: OwnedLog, stream: PlayedStream, clock: Clock
) -> None:
    stream.leaderless = 1
    begun_s = clock.now_s

    commit(log, 4, b"one")

    assert bodies(stream) == [b"one"]
    assert clock.now_s - begun_s < 0.5


def test_a_commit_goes_on_with_the_logs_leader_though_the_engines_have_none(
    log: OwnedLog, stream: PlayedStream, clock: Clock
) -> None:
    """Then nobody says what the log has, but whoever leads it takes records."""
    stream.leaderless, stream.is_mute = 1, True
    begun_s = clock.now_s

    commit(log, 4, b"one")
    commit(log, 5, b"two")

    assert bodies(stream) == [b"one", b"two"]
    assert clock.now_s - begun_s < 2 * PATIENCE_S
