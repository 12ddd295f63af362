"""The notes of a trace: bounded, fetched once, and ended by nobody's asking."""

from relay.inquiries.contract import MAX_ITEMS, NoAnswer
from relay.inquiries.tracing import (
    LEASE_MS,
    MAX_IDS,
    MAX_NOTED_BYTES,
    MAX_NOTES,
    MAX_TEXT_BYTES,
    MAX_TRACED,
    AskNotes,
    Trace,
    Traces,
)


def asking(user: str = "alice", *, until_us: int = 10**15, **more: object) -> AskNotes:
    return AskNotes(user, until_us, **more)  # type: ignore[arg-type]


def trace_of(traces: Traces, user: str, clock_ms: int = 0) -> Trace:
    trace = traces.asked(asking(user), now_us=1, clock_ms=clock_ms)
    assert isinstance(trace, Trace)
    return trace


def test_what_was_fetched_is_not_told_again() -> None:
    trace = Trace("alice", 1)
    for at_us in (10, 20, 30):
        trace.add("read", at_us)
    first = trace.notes(asking(until_us=20))
    second = trace.notes(asking(begun_us=1, after=first.notes[-1].number))

    assert [note.at_us for note in first.notes] == [10, 20]
    assert [note.at_us for note in second.notes] == [30]


def test_a_position_in_another_trace_means_nothing() -> None:
    trace = Trace("alice", 5)
    trace.add("read", 10)

    assert len(trace.notes(asking(begun_us=4, after=100)).notes) == 1


def test_an_answer_is_bounded_and_says_so() -> None:
    trace = Trace("alice", 1)
    for _ in range(MAX_ITEMS + 1):
        trace.add("read", 10)
    answer = trace.notes(asking())

    assert (len(answer.notes), answer.more) == (MAX_ITEMS, True)


def test_too_many_notes_lose_the_oldest_and_their_numbers_tell() -> None:
    trace = Trace("alice", 1)
    for _ in range(MAX_NOTES + 7):
        trace.add("read", 10)

    assert trace.notes(asking()).notes[0].number == 8


def test_texts_are_bounded_in_bytes_too() -> None:
    trace = Trace("alice", 1)
    trace.texts = True
    for _ in range(MAX_NOTES):
        trace.add("read", 10, text=b"x" * 10_000)
    notes = trace.notes(asking(texts=True)).notes

    assert len(notes) <= MAX_NOTED_BYTES // MAX_TEXT_BYTES
    assert {len(note.text or b"") for note in notes} == {MAX_TEXT_BYTES}


def test_texts_are_for_who_asks_for_them() -> None:
    trace = Trace("alice", 1)
    trace.add("read", 10, text=b"not asked for")
    trace.texts = True
    trace.add("read", 10, text=b"a secret")

    assert [note.text for note in trace.notes(asking()).notes] == [None, None]
    assert [note.text for note in trace.notes(asking(texts=True)).notes] == [None, b"a secret"]


def test_a_frame_of_many_names_some() -> None:
    trace = Trace("alice", 1)
    trace.add("read", 10, ids=tuple(map(str, range(MAX_IDS + 3))))
    (note,) = trace.notes(asking()).notes

    assert (len(note.ids), note.more_ids) == (MAX_IDS, 3)


def test_a_trace_ends_when_nobody_asks_for_its_time() -> None:
    traces = Traces()
    first, second = trace_of(traces, "alice"), trace_of(traces, "bob")
    trace_of(traces, "bob", clock_ms=LEASE_MS)

    assert list(traces.take_ended(LEASE_MS + 1)) == [first]
    assert list(traces.of.values()) == [second]


def test_one_user_too_many_is_refused() -> None:
    traces = Traces()
    for number in range(MAX_TRACED):
        trace_of(traces, f"user{number}")

    assert isinstance(traces.asked(asking("more"), now_us=1, clock_ms=0), NoAnswer)
    assert isinstance(traces.asked(asking("user0"), now_us=1, clock_ms=0), Trace)
