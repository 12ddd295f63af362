"""JetStream as a cluster uses it: logs with one writer, read by others; keys; and its refusals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from relay.cluster import jetstream
from relay.cluster.jetstream import (
    ApiError,
    NoMajority,
    NoStream,
    Stored,
    StreamConfig,
    StreamDiffers,
    StreamFull,
    WrongLastSequence,
    append,
    appended,
)
from relay.cluster.natsframes import NO_HEADERS, Headers, Message
from relay.cluster.natswire import Wire
from relay.errors import RelayError
from tests.outside.waiting import poll_for

from .engines import Engines

pytestmark = pytest.mark.slow

WITHIN_S = 10.0
_ranges = count()


@pytest.fixture
def log(wire: Wire) -> Iterator[StreamConfig]:
    """The log of a range that no other test has."""
    config = jetstream.log_config("c", next(_ranges), replicas=3, max_bytes=4 << 20)
    jetstream.create_stream(wire, config, WITHIN_S)
    poll_for("all have a copy", lambda: jetstream.stream_info(wire, config.name, 5).is_whole)
    yield config
    wire.request(f"$JS.API.STREAM.DELETE.{config.name}", timeout_s=WITHIN_S)


def write(wire: Wire, config: StreamConfig, *payloads: bytes, after: int = 0) -> list[int]:
    """Append records, all in flight at once; return their numbers."""
    inbox = wire.new_inbox()
    for number, payload in enumerate(payloads, after):
        append(wire, config.subjects[0], payload, expected=number, reply=inbox)
    answers: list[Message] = []
    deadline_s = time.monotonic() + WITHIN_S
    while len(answers) < len(payloads):
        assert time.monotonic() < deadline_s
        answers += [each for each in wire.receive(0.2) if each.subject == inbox]
    return [appended(answer) for answer in answers]


def numbers(records: list[Stored]) -> list[int]:
    return [record.sequence for record in records]


# --- logs -------------------------------------------------------------------------------------


def test_records_in_flight_are_stored_in_order_without_a_gap(wire: Wire, log: StreamConfig) -> None:
    payloads = [b"%d" % number for number in range(40)]

    assert write(wire, log, *payloads) == list(range(1, 41))

    poll_for(
        "any replica has them",
        lambda: (
            [each.payload for each in jetstream.get_batch(wire, log.name, 1, 100, 1 << 20, 5)]
            == payloads
        ),
    )


def test_a_record_that_follows_another_one_is_refused(wire: Wire, log: StreamConfig) -> None:
    write(wire, log, b"1", b"2")

    with pytest.raises(WrongLastSequence) as refused:
        write(wire, log, b"other", after=1)

    assert refused.value.last == 2
    last = jetstream.last_record(wire, log.name, WITHIN_S)
    assert last is not None
    assert (last.sequence, last.payload) == (2, b"2")
    assert last.headers["Nats-Expected-Last-Sequence"] == "1"


def test_the_last_record_may_be_asked_for_and_its_answer_come_later(
    wire: Wire, log: StreamConfig
) -> None:
    def ask(stream: str) -> Message:
        inbox = wire.new_inbox()
        jetstream.ask_last(wire, stream, reply=inbox)
        [answer] = wire.receive(WITHIN_S)
        assert answer.subject == inbox
        return answer

    assert jetstream.last_in(ask(log.name)) is None
    write(wire, log, b"1", b"2")
    last = jetstream.last_in(ask(log.name))
    assert last is not None
    assert (last.sequence, last.payload) == (2, b"2")
    with pytest.raises(NoStream):
        jetstream.last_in(ask("none"))


def test_an_empty_log_has_no_last_record(wire: Wire, log: StreamConfig) -> None:
    assert jetstream.last_record(wire, log.name, WITHIN_S) is None
    assert jetstream.get_batch(wire, log.name, 1, 10, 1000, WITHIN_S) == []


def test_a_large_record_is_read_as_it_was_written(wire: Wire, log: StreamConfig) -> None:
    payload = bytes(range(256)) * 4096
    write(wire, log, payload)

    last = jetstream.last_record(wire, log.name, WITHIN_S)

    assert last is not None
    assert last.payload == payload


def test_a_batch_has_as_much_as_was_asked_for(wire: Wire, log: StreamConfig) -> None:
    write(wire, log, *[bytes(1000)] * 20)
    poll_for(
        "any replica has them",
        lambda: all(
            numbers(jetstream.get_batch(wire, log.name, 20, 1, 1000, 5)) == [20] for _ in range(6)
        ),
    )

    def batch(first: int, most: int, max_bytes: int) -> list[int]:
        return numbers(jetstream.get_batch(wire, log.name, first, most, max_bytes, WITHIN_S))

    assert batch(1, 5, 1 << 20) == [1, 2, 3, 4, 5]
    assert batch(18, 50, 1 << 20) == [18, 19, 20]
    assert batch(20, 1, 1 << 20) == [20]
    assert batch(21, 5, 1 << 20) == []
    assert batch(5, 20, 2500) == [5, 6, 7]


def test_what_is_purged_is_missing_before_the_first_of_a_batch(
    wire: Wire, log: StreamConfig
) -> None:
    write(wire, log, *[b"x"] * 10)

    assert jetstream.purge(wire, log.name, 6, WITHIN_S) == 6

    poll_for(
        "all have purged",
        lambda: all(
            numbers(jetstream.get_batch(wire, log.name, 1, 2, 1000, 5)) == [7, 8] for _ in range(6)
        ),
    )
    state = jetstream.stream_info(wire, log.name, WITHIN_S).state
    assert (state.first_seq, state.last_seq, state.messages) == (7, 10, 4)
    assert write(wire, log, b"next", after=10) == [11]


def test_the_tail_tells_each_record_once_it_is_stored(
    wire: Wire, engines: Engines, log: StreamConfig
) -> None:
    assert log.republish is not None
    reader = engines.wire(1)
    reader.subscribe(log.republish.dest)
    written = 0
    told: list[Stored] = []

    def is_told() -> bool:
        nonlocal written
        write(wire, log, b"%d" % written, after=written)
        written += 1
        told.extend(map(jetstream.stored, reader.receive(0.1)))
        return bool(told)

    poll_for("the subscription is known", is_told)
    write(wire, log, *[b"%d" % number for number in range(written, written + 20)], after=written)

    def is_whole() -> bool:
        told.extend(map(jetstream.stored, reader.receive(0.1)))
        return told[-1].sequence == written + 20

    poll_for("the rest is told", is_whole)
    first = told[0].sequence
    assert numbers(told) == list(range(first, written + 21))
    assert [record.payload for record in told] == [b"%d" % (number - 1) for number in numbers(told)]
    reader.close()


def test_a_log_is_created_once_and_found_from_then_on(wire: Wire, log: StreamConfig) -> None:
    write(wire, log, b"1")

    found = jetstream.create_stream(wire, log, WITHIN_S)

    assert (found.state.last_seq, found.config) == (1, log)
    with pytest.raises(StreamDiffers):
        jetstream.create_stream(
            wire, msgspec.structs.replace(log, max_bytes=log.max_bytes * 2), WITHIN_S
        )
    changed = msgspec.structs.replace(log, max_bytes=log.max_bytes * 2)
    assert jetstream.update_stream(wire, changed, WITHIN_S).config == changed


def test_a_full_log_says_so_and_keeps_what_it_has(wire: Wire, log: StreamConfig) -> None:
    payload = bytes(900_000)
    write(wire, log, *[payload] * 4)

    with pytest.raises(StreamFull):
        write(wire, log, payload, after=4)

    assert jetstream.stream_info(wire, log.name, WITHIN_S).state.first_seq == 1
    assert jetstream.account(wire, WITHIN_S).storage >= 4 * len(payload)


def test_who_leads_can_be_chosen(wire: Wire, engines: Engines, log: StreamConfig) -> None:
    def copies() -> jetstream.Copies:
        return jetstream.stream_info(wire, log.name, WITHIN_S).cluster

    follower = copies().replicas[0].name

    jetstream.step_down(wire, log.name, follower, WITHIN_S)

    poll_for("it leads", lambda: leads(wire, log, follower))
    assert {each.name for each in copies().replicas} == {*engines.names} - {follower}
    with pytest.raises(ApiError, match="already leader"):
        jetstream.step_down(wire, log.name, follower, WITHIN_S)


def leads(wire: Wire, config: StreamConfig, name: str) -> bool:
    try:
        return jetstream.stream_info(wire, config.name, 1.0).cluster.leader == name
    except (NoMajority, TimeoutError):
        return False


def test_many_streams_can_be_asked_for_at_once(wire: Wire, log: StreamConfig) -> None:
    write(wire, log, b"1")
    asked = {wire.new_inbox(): stream for stream in (log.name, "none")}

    for inbox, stream in asked.items():
        jetstream.ask_info(wire, stream, reply=inbox)
    answers: dict[str, Message] = {}
    while len(answers) < len(asked):
        messages = wire.receive(WITHIN_S)
        assert messages
        answers |= {asked[each.subject]: each for each in messages}

    assert jetstream.info_in(answers[log.name]).state.last_seq == 1
    with pytest.raises(NoStream):
        jetstream.info_in(answers["none"])


def test_a_stream_that_is_not_there_is_said_not_to_be(wire: Wire) -> None:
    with pytest.raises(NoStream):
        jetstream.stream_info(wire, "none", WITHIN_S)
    with pytest.raises(NoStream):
        jetstream.last_record(wire, "none", WITHIN_S)
    with pytest.raises(NoMajority):  # nobody listens there
        jetstream.get_batch(wire, "none", 1, 1, 1, WITHIN_S)
    config = jetstream.log_config("none", 0, replicas=3, max_bytes=1)
    with pytest.raises(NoMajority):
        write(wire, config, b"1")


# --- servers that are lost, or sleep ------------------------------------------------------------


@pytest.mark.ordeal
@pytest.mark.timeout(240)
def test_what_a_sleeping_leader_was_sent_is_unknown_and_stored_later(tmp_path: Path) -> None:
    with Engines(tmp_path) as engines:
        wire = engines.wire(0)
        config = jetstream.log_config("c", 0, replicas=3, max_bytes=4 << 20)
        jetstream.create_stream(wire, config, WITHIN_S)
        poll_for("it begins", lambda: goes_on(wire, config), deadline_s=60)

        # Where a machine is busy, another may lead before it sleeps, or while it does.
        poll_for("it is", lambda: stored_later(engines, wire, config, "n1"), deadline_s=120)
        wire.close()


def stored_later(engines: Engines, wire: Wire, config: StreamConfig, name: str) -> bool:
    """Let `name` lead and sleep; tell whether a record for it is acked when it wakes, not before.

    `wire` is of another server.
    """
    assert wire.server_name != name
    expected = led_by(wire, config, name)
    inbox = wire.new_inbox()
    engines.freeze(engines.index_of(name))
    append(wire, config.subjects[0], b"for who sleeps", expected=expected, reply=inbox)
    early = wire.receive(0.8)
    engines.thaw(engines.index_of(name))
    if early:
        return False  # of another, who leads by now
    answers = [each for each in wire.receive(WITHIN_S) if each.subject == inbox]
    try:
        return bool(answers) and appended(answers[0]) == expected + 1
    except ApiError:
        return False


def led_by(wire: Wire, config: StreamConfig, name: str) -> int:
    """Let `name` lead a log; return the number of its last record."""

    last: Stored | None = None

    def is_led() -> bool:
        nonlocal last
        if not leads(wire, config, name):
            return moved(wire, config, name)
        try:
            last = jetstream.last_record(wire, config.name, 1.0)
        except (ApiError, TimeoutError):
            return False
        return True

    poll_for(f"{name} leads", is_led, deadline_s=40)
    return last.sequence if last is not None else 0


def moved(wire: Wire, config: StreamConfig, name: str) -> bool:
    """Let another lead, and say that this has yet to be seen."""
    try:
        jetstream.step_down(wire, config.name, name, 1.0)
    except (RelayError, TimeoutError):
        pass
    return False


@pytest.mark.ordeal
@pytest.mark.timeout(240)
def test_without_a_majority_nothing_is_acked_and_a_refusal_is_no_fence(tmp_path: Path) -> None:
    with Engines(tmp_path) as engines:
        wire = engines.wire(0)
        config = jetstream.log_config("c", 0, replicas=3, max_bytes=4 << 20)
        jetstream.create_stream(wire, config, WITHIN_S)
        poll_for("it begins", lambda: goes_on(wire, config), deadline_s=60)
        last = 0

        def is_alone() -> bool:
            nonlocal last
            last = led_by(wire, config, "n0")
            engines.kill(1)
            engines.kill(2)
            if leads(wire, config, "n0"):
                return True
            engines.start(1)  # another led by then
            engines.start(2)
            return False

        poll_for("n0 leads nobody", is_alone, deadline_s=120)

        # The second one expects what is stored, and still is refused, or gets no answer: the leader
        # counts the first one, which it cannot store.
        inbox = wire.new_inbox()
        append(wire, config.subjects[0], b"2", expected=last, reply=inbox)
        append(wire, config.subjects[0], b"2", expected=last, reply=inbox)
        for answer in wire.receive(1.0):
            with pytest.raises((WrongLastSequence, NoMajority)):
                appended(answer)
        engines.start(1)

        # Nobody else was there: the log goes on behind what it says.
        poll_for("it goes on", lambda: goes_on(wire, config), deadline_s=60)
        wire.close()


def goes_on(wire: Wire, config: StreamConfig) -> bool:
    try:
        last = jetstream.last_record(wire, config.name, 1.0)
        number = last.sequence if last is not None else 0
        inbox = wire.new_inbox()
        append(wire, config.subjects[0], b"next", expected=number, reply=inbox)
        answers = [each for each in wire.receive(1.0) if each.subject == inbox]
        return bool(answers) and appended(answers[0]) == number + 1
    except (ApiError, TimeoutError):
        return False


# --- keys and values ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket(engines: Engines) -> str:
    wire = engines.wire()
    jetstream.create_stream(
        wire, jetstream.kv_config("bucket", replicas=3, max_bytes=1 << 20), WITHIN_S
    )
    wire.close()
    return "bucket"


def test_a_key_has_what_was_put_last(wire: Wire, bucket: str) -> None:
    assert jetstream.kv_get(wire, bucket, "none", WITHIN_S) is None

    first = jetstream.kv_put(wire, bucket, "bans", b"1", timeout_s=WITHIN_S)
    second = jetstream.kv_put(wire, bucket, "bans", b"2", expected=first, timeout_s=WITHIN_S)

    assert jetstream.kv_get(wire, bucket, "bans", WITHIN_S) == ("bans", b"2", second)


def test_of_two_who_change_a_key_at_once_one_is_refused(wire: Wire, bucket: str) -> None:
    jetstream.kv_put(wire, bucket, "new", b"1", expected=0, timeout_s=WITHIN_S)

    with pytest.raises(WrongLastSequence):
        jetstream.kv_put(wire, bucket, "new", b"2", expected=0, timeout_s=WITHIN_S)

    entry = jetstream.kv_get(wire, bucket, "new", WITHIN_S)
    assert entry is not None
    assert entry.value == b"1"


def test_who_watches_knows_all_keys_and_learns_of_changes(
    wire: Wire, engines: Engines, bucket: str
) -> None:
    other = engines.wire(1)
    revision = jetstream.kv_put(other, bucket, "watched.one", b"1", timeout_s=WITHIN_S)

    watch = jetstream.kv_watch(wire, bucket, WITHIN_S)
    poll_for("it is read", lambda: watch.refresh(5) is not None and "watched.one" in watch.entries)
    assert watch.entries["watched.one"] == ("watched.one", b"1", revision)

    def is_told() -> bool:
        jetstream.kv_put(other, bucket, "watched.one", b"2", timeout_s=WITHIN_S)
        heard = [watch.take(each) for each in wire.receive(0.1) if each.sid == watch.sid]
        return any(entry is not None and entry.value == b"2" for entry in heard)

    poll_for("it is told", is_told)
    assert watch.entries["watched.one"].value == b"2"
    poll_for("nothing is new", lambda: wire.receive(0.2) == [] and watch.refresh(5) == [])
    other.close()


# --- answers ----------------------------------------------------------------------------------


def answer(payload: bytes, status: int = 0) -> Message:
    return Message(1, "a", "", status, NO_HEADERS, payload)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (
            b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"}}',
            WrongLastSequence,
        ),
        (
            b'{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"}}',
            WrongLastSequence,
        ),
        (b'{"error":{"code":503,"err_code":10008,"description":"unavailable"}}', NoMajority),
        (
            b'{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}',
            StreamFull,
        ),
        (b'{"error":{"code":503,"err_code":10077,"description":"write error"}}', ApiError),
        (b'{"error":{"code":500,"err_code":1,"description":"other"}}', ApiError),
        (b'{"error":{}}', ApiError),
        (b'{"stream":"c-0"}', ApiError),
        (b"[]", ApiError),
        (b"{", ApiError),
        (b"", ApiError),
        (b'{"seq":"7"}', ApiError),
        (b'{"seq":-1}', ApiError),
        (b"\xff", ApiError),
        (b'{"error":{"description":"\xff"}}', ApiError),
        (b'{"more":' + b"[" * 100_000, ApiError),
        (b'{"seq":' + b"9" * 10_000 + b"}", ApiError),
    ],
)
def test_what_is_no_number_is_no_ack(payload: bytes, kind: type[ApiError]) -> None:
    with pytest.raises(ApiError) as refused:
        appended(answer(payload))

    assert type(refused.value) is kind


@pytest.mark.parametrize("words", ["wrong last sequence", "", "9" * 5000, "a " + "9" * 5000])
def test_a_refusal_without_a_number_has_none(words: str) -> None:
    assert WrongLastSequence(10071, words).last is None


def test_an_ack_is_the_number() -> None:
    assert appended(answer(b'{"stream":"c-0","seq":7,"domain":"x"}')) == 7


@pytest.mark.parametrize(("status", "kind"), [(503, NoMajority), (408, ApiError)])
def test_a_status_is_no_ack(status: int, kind: type[ApiError]) -> None:
    with pytest.raises(kind):
        appended(answer(b'{"seq":7}', status))


@pytest.mark.parametrize("number", ["", "x", "-1", "1.5", "²", "9" * 5000], ids=repr)
def test_a_message_without_a_number_is_no_record(number: str) -> None:
    block = f"NATS/1.0\r\nNats-Sequence: {number}\r\n\r\n".encode()

    with pytest.raises(ApiError, match="no record"):
        jetstream.stored(Message(1, "a", "", 0, Headers(block), b""))
